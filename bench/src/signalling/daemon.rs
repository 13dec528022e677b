//! Sluice's daemon on one CPU with all its threads.

use std::fmt::Write as _;

use anyhow::Result;
use sluice_tools::bench::bed::{Bed, DEVICE};

use crate::daemon::Daemon;

/// The way of packets that the daemon sets calls up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// AF_XDP: each leg is made known to the XDP program as well.
    AfXdp,
    /// io_uring on kernel sockets.
    IoUring,
}

impl Way {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfXdp => "sluice, af_xdp",
            Self::IoUring => "sluice, io_uring",
        }
    }

    /// Starts a daemon on the device's CPU, in its namespace.
    pub fn start(self, bed: &Bed) -> Result<Daemon> {
        Daemon::start(|program| bed.device.command(program), |socket| self.configuration(bed, socket))
    }

    fn configuration(self, bed: &Bed, socket: &str) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "[api]\nsocket = {socket}")?;
        writeln!(text, "[media]\naddresses = [\"{DEVICE}\"]\nports = \"10000-59999\"")?;
        let mode = if self == Self::AfXdp { "auto" } else { "io_uring" };
        // All its threads are on its CPU already.
        writeln!(text, "[datapath]\nmode = \"{mode}\"\nworkers = 1\npin = false")?;
        writeln!(text, "[log]\nlevel = \"warn\"")?;
        if self == Self::AfXdp {
            writeln!(text, "[[interface]]\nname = {}", serde_json::to_string(&bed.device.interface)?)?;
        }
        Ok(text)
    }
}
