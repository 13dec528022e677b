//! `sluice ctl`.

use std::process::ExitCode;

/// What `sluice ctl` may be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Runs it.
pub(crate) fn execute(_: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not part of this build")
}
