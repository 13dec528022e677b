//! Machines that are not this one: guests of qemu (TCG, so that no permission is needed), which boot Debian's cloud
//! kernel with the daemon, and this very test program, as their only processes.
//!
//! ```text
//! test on the host ─▶ Image (kernel, initrd) ─▶ Guest (qemu) ─▶ /init ─▶ the same program, a test of `inside`
//! ```

mod image;
mod inside;
mod legs;
mod machine;

use std::time::Duration;

use anyhow::Result;
use image::Image;
use machine::Guest;

/// Two nodes of four CPUs. CPU 1 is switched off, 2 and 6 are isolated. A network card of each node is the daemon's;
/// two others are its peers'.
#[test]
fn on_two_nodes_worker_umem_and_queue_are_together() -> Result<()> {
    let Some(image) = Image::build("placement")? else { return Ok(()) };
    let guest = Guest::new(&image, 1024).with_cards().parameter("isolcpus=2,6");
    let told = guest.run("inside::workers_umem_and_queues_are_on_the_cards_nodes", Duration::from_mins(3))?;
    eprintln!("{told}");
    Ok(())
}

/// As many legs as `SLUICE_GUEST_LEGS` says, each with a port of its own: 100,000 by hand, fewer in a usual run.
#[test]
fn many_legs_with_a_port_each_stay_within_the_stated_memory() -> Result<()> {
    let Some(image) = Image::build("legs")? else { return Ok(()) };
    let legs = std::env::var("SLUICE_GUEST_LEGS").unwrap_or_else(|_| "20000".to_owned());
    let many: u32 = legs.parse()?;
    let (memory, patience) = (1024 + many / 40, Duration::from_secs(u64::from(60 + many / 20)));
    let guest = Guest::new(&image, memory).parameter(&format!("legs={legs}"));
    let told = guest.run("legs::each_has_its_port_and_media", patience)?;
    eprintln!("{told}");
    Ok(())
}
