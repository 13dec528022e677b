//! The `sluice` binary: one subcommand per module.
#![forbid(unsafe_code)]

mod ctl;
mod doctor;
mod options;
mod output;
mod pcap;
mod run;
mod secret;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The packet path allocates nothing; setting up a call does, a quarter faster with this than with the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A kernel-bypass SRTP gateway.
#[derive(Parser)]
#[command(
    name = "sluice",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Run(run::Arguments),
    /// Control a running gateway: sessions, legs, routes, keys, statistics, events.
    Ctl(Box<ctl::Arguments>),
    /// Say what this host can do, and what to do about what it cannot.
    Doctor(doctor::Arguments),
    /// Decrypt or encrypt the SRTP streams of a capture file.
    Pcap(Box<pcap::Arguments>),
    /// Show the main job on real media between ffmpeg and GStreamer, and prove it.
    Demo(sluice_tools::demo::Options),
    /// Serve a page that calls from a browser, and shows which way its media goes and under which keys.
    DemoBrowser(sluice_tools::demo_browser::Options),
    /// Measure it on this machine.
    #[command(subcommand)]
    Bench(sluice_tools::bench::Bench),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(arguments) => run::execute(&arguments),
        Command::Ctl(arguments) => ctl::execute(*arguments),
        Command::Doctor(arguments) => doctor::execute(&arguments),
        Command::Pcap(arguments) => pcap::execute(&arguments),
        Command::Demo(options) => demo(&options),
        Command::DemoBrowser(options) => demo_browser(&options),
        Command::Bench(bench) => sluice_tools::bench::run(&bench).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // A reader that has gone (`sluice … | head`) is no error.
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("sluice: {error:#}");
        ExitCode::FAILURE
    })
}

fn demo(options: &sluice_tools::demo::Options) -> anyhow::Result<ExitCode> {
    let passed = sluice_tools::demo::run(options, &std::env::current_exe()?)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn demo_browser(options: &sluice_tools::demo_browser::Options) -> anyhow::Result<ExitCode> {
    sluice_tools::demo_browser::run(options, &std::env::current_exe()?)?;
    Ok(ExitCode::SUCCESS)
}
