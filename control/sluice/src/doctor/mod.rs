//! `sluice doctor`: what this host can do, and what to do about what it cannot.

mod cpu;
mod finding;
mod kernel;
mod memory;
mod network;
mod nic;
mod privileges;
mod queues;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use sluice_server::Config;

use finding::{Finding, Level, Report};

use crate::output;

/// What `sluice doctor` may be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Look at this network interface only; may be repeated. Default: all but loopback.
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// Configuration file: queues are held against its workers and `queues`. Default: as without a file.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Looks at everything; exit status 0 if nothing fails.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let config = arguments.config.as_deref().map(Config::load).transpose()?;
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(kernel::examine());
    findings.extend(privileges::examine());
    findings.extend(cpu::examine());
    findings.extend(memory::examine());
    findings.extend(network::examine());
    findings.extend(nic::examine(&arguments.interface, config.as_ref()));
    let report = Report::new(findings);
    if arguments.json {
        output::json(&serde_json::to_value(&report)?)?;
    } else {
        output::print(&report.text())?;
    }
    Ok(if report.worst() == Level::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The trimmed text of a file under /proc or /sys.
fn read(path: impl AsRef<std::path::Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// A number in a file under /proc or /sys.
fn read_number(path: impl AsRef<std::path::Path>) -> Option<u64> {
    read(path)?.parse().ok()
}
