//! `sluice pcap`.

use std::process::ExitCode;

/// What `sluice pcap` may be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Runs it.
pub(crate) fn execute(_: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not part of this build")
}
