//! `just bench-wire`: what one core forwards on the wire, Sluice and others side by side, in one run.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use sluice_bench::machine;
use sluice_bench::wire::{record, relay::Relay, rtpengine::Packaged};
use sluice_tools::bench::engine::Sluice;
use sluice_tools::bench::forwarder::Forwarder;
use sluice_tools::bench::rows::{self, Style};
use sluice_tools::bench::through::{PassThrough, Reflecting};
use sluice_tools::bench::{self, Options};

/// Measures Sluice beside other gateways between a generator and a sink that checks every packet (root).
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Write rows, plot and page under bench/record, in a folder named for the CPU.
    #[arg(long)]
    record: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let begin = Instant::now();
    let mut devices: Vec<&dyn Forwarder> = vec![&Sluice::AfXdp, &Sluice::IoUring, &Relay];
    if Packaged::installed().is_some() {
        devices.push(&Packaged);
    } else {
        println!("MISSING: rtpengine: apt-get install rtpengine-daemon");
    }
    devices.extend([&PassThrough as &dyn Forwarder, &Reflecting]);
    let mut summary = bench::describe(&args.options, &devices)?;
    summary += &format!("- CPU: {}\n", machine::cpu());
    println!("{summary}");

    let rows = bench::wire(&args.options, &devices)?;
    print!("{}", rows::tables(&rows, Style::Terminal));
    if args.record {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/record"));
        println!("wrote {}", record::write(&folder, &rows, &summary)?.display());
    }
    println!("took {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}
