//! `just bench-srtp`: SRTP engines side by side, on one core, in one run.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use sluice_bench::engine::Peer;
use sluice_bench::matrix::Matrix;
use sluice_bench::packets::RING;
use sluice_bench::report::{self, REFERENCE_BATCH, Style};
use sluice_bench::run::STRETCH;
use sluice_bench::{install, machine, peers, record, run, sluice, verify};

/// Measures Sluice beside other SRTP engines and other crypto, on one pinned core.
#[derive(Parser)]
struct Args {
    /// 1000 sessions and single payload sizes only, in fewer rounds.
    #[arg(long)]
    quick: bool,
    /// Write every figure as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write CSV, plot and page under bench/record, in a folder named for the CPU.
    #[arg(long)]
    record: bool,
    /// Run on this core.
    #[arg(long)]
    core: Option<usize>,
    /// Rounds; the best of each engine counts.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let begin = Instant::now();
    let mut matrix = if args.quick { Matrix::quick() } else { Matrix::full() };
    if let Some(rounds) = args.rounds {
        matrix.rounds = rounds.into();
    }

    let core = machine::pin(args.core)?;
    let (mut engines, missing) = (vec![sluice::whole()?, sluice::kernels()?], peers::all());
    engines.extend(missing.0);
    let mut summary = describe(core, &matrix, &engines);
    for missing in missing.1 {
        let _ = writeln!(summary, "- MISSING: {missing}");
    }
    print!("{summary}");

    for engine in &engines {
        verify::verify(engine, &matrix.suites)?;
    }
    summary += "\nEvery engine's output was checked against Sluice's before the run, octet for octet.\n";
    println!("\nverified: all engines give the same octets, and refuse forged ones");

    let quiet = machine::Quiet::start(core);
    let rows = run::run(&matrix, &engines, |next| {
        eprintln!("[{:4.0} s] {next}", begin.elapsed().as_secs_f64());
    })?;
    let footer = footer(&matrix, &quiet);
    println!("{}\n{footer}", report::tables(&rows, Style::Terminal));

    if let Some(path) = &args.json {
        fs::write(path, report::json(&rows)?).with_context(|| path.display().to_string())?;
        println!("wrote {}", path.display());
    }
    if args.record {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/record"));
        println!("wrote {}", record::write(&folder, &rows, &format!("{summary}\n{footer}"))?.display());
    }
    println!("took {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn describe(core: usize, matrix: &Matrix, engines: &[Peer]) -> String {
    let mut text = format!(
        "- CPU: {}, pinned to core {core}\n- best of {} rounds of {} packets per engine, in stretches of {}\n",
        machine::cpu(),
        matrix.rounds,
        matrix.passes * RING,
        STRETCH * RING,
    );
    let clock = machine::clock_cost();
    let _ = writeln!(
        text,
        "- the clock's {clock:.0} ns per {RING} packets add {:.1} ns to every figure",
        clock / RING as f64
    );
    for Peer { name, version, scope, .. } in engines {
        let _ = writeln!(text, "- {name} ({scope}): {version}");
    }
    text
}

fn footer(matrix: &Matrix, quiet: &machine::Quiet) -> String {
    let (own, others) = (quiet.own_core(), quiet.other_cores());
    let mut text = format!("Ratios are to Sluice in batches of {REFERENCE_BATCH}.\n\n");
    let installs = install::sluice(matrix.rounds);
    let _ = writeln!(
        text,
        "Key installs, AES_CM_128_HMAC_SHA1_80, one core: sluice {:.2} M/s, {:.0} % of the target of {:.1} M/s",
        installs / 1e6,
        installs / install::TARGET * 100.0,
        install::TARGET / 1e6
    );
    #[cfg(feature = "peers")]
    {
        let theirs = install::libsrtp(matrix.rounds);
        let _ = writeln!(text, "(libsrtp: {:.3} M/s)", theirs / 1e6);
    }
    let _ = writeln!(
        text,
        "The bench had its core for {:.0} % of the time; other cores were busy for {:.0} %.",
        own * 100.0,
        others * 100.0
    );
    if own < 0.97 || others > 0.2 {
        text += "WARNING: not a quiet machine. Neighbours share caches, which may hurt engines with large \
                 contexts most and flatter Sluice. Run again.\n";
    }
    text
}
