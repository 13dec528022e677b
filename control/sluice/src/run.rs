//! `sluice run`: the daemon.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use sluice_datapath::WorkerMemory;
use sluice_proto::v1;
use sluice_server::{Config, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Run the gateway.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Configuration file (TOML); `docs/sluice.example.toml` shows every key.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Only check the configuration.
    #[arg(long)]
    check: bool,
}

pub(crate) fn execute(args: &Arguments) -> Result<ExitCode> {
    let config = Config::load(&args.config)?;
    if args.check {
        println!("{}: correct", args.config.display());
        // How many queues a worker gets, the host will show; their rings are small beside the rest.
        let memory = WorkerMemory::of(&config.engine(), 1);
        println!(
            "each worker sets aside {} MiB: packets {}, tables {}, I/O and queues {}",
            memory.total() >> 20,
            memory.packets >> 20,
            memory.tables >> 20,
            (memory.io + memory.queues) >> 20
        );
        return Ok(ExitCode::SUCCESS);
    }
    log_to_stderr(config.log.level.name())?;
    // Two threads: the API is quiet, and the workers have the cores. On one core a second would only be in the way.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(2))
        .thread_name("sluice-api")
        .enable_all()
        .build()
        .context("cannot start the API's threads")?;
    runtime.block_on(serve(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<()> {
    let socket = config.api.socket.0.clone();
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let server = Server::start(config).await?;
    server.leave_workers_their_cpus();
    let info = server.info();
    for interface in &info.interfaces {
        info!(
            interface.name,
            interface.path,
            sockets = interface.socket_mode,
            interface.multi_buffer,
            interface.queues,
            interface.took_over,
            "interface"
        );
        for reason in &interface.degraded {
            warn!(interface.name, reason, "degraded");
        }
    }
    info.workers.iter().for_each(tell_of_worker);
    let memory_mib = info.memory_bytes >> 20;
    info!(version = info.version, kernel = info.kernel, workers = info.workers.len(), memory_mib, "started");
    // The one line that supervisors and tests wait for.
    println!("ready: api unix:{} path {} kernel {}", socket.display(), info.path, info.kernel);
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: shutting down"),
            _ = interrupt.recv() => info!("SIGINT: shutting down"),
        }
    };
    server.run(shutdown).await?;
    info!("stopped");
    Ok(())
}

/// Where a worker is, and what is not as it should be.
fn tell_of_worker(worker: &v1::Worker) {
    let v1::Worker { index, cpu, numa_node, cache, memory_node, .. } = worker;
    let queues = worker.queues.join(" ");
    info!(index, cpu, numa_node, cache, memory_node, worker.huge_pages, queues, "worker");
    if !worker.unbound_reason.is_empty() {
        warn!(index, worker.unbound_reason, "worker is not bound to a CPU");
    }
    if memory_node.is_some() && numa_node.is_some() && memory_node != numa_node {
        warn!(index, numa_node, memory_node, "worker's packet memory is on another node: that one is full");
    }
}

/// Log lines go to standard error; `SLUICE_LOG` overrides the configured level.
fn log_to_stderr(level: &str) -> Result<()> {
    let filter = match std::env::var("SLUICE_LOG") {
        Ok(directives) => EnvFilter::try_new(&directives)
            .with_context(|| format!("SLUICE_LOG={directives:?} is no log filter; try SLUICE_LOG=debug"))?,
        // It warns of every malformed attribute that anybody cares to send.
        Err(_) => EnvFilter::new(format!("{level},stun_types=off")),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
