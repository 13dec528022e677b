//! `sluice run`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

/// What `sluice run` may be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/sluice/sluice.toml")]
    config: PathBuf,
}

/// Runs the gateway until it is told to stop.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{}: the daemon is not part of this build", arguments.config.display())
}
