//! `just bench-handshakes`: what DTLS-SRTP handshakes cost, beside `openssl s_server`, and what media feels of them.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use sluice_bench::handshakes::measure::{self, Options};
use sluice_bench::handshakes::record;
use sluice_bench::handshakes::rows::Style;
use sluice_bench::machine;

/// Measures DTLS-SRTP handshakes of one core, media beside them, and how soon their keys are in use (root).
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Write rows and page under bench/record, in a folder named for the CPU.
    #[arg(long)]
    record: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let begin = Instant::now();
    let summary = measure::describe(&args.options) + &format!("- CPU: {}\n", machine::cpu());
    println!("{summary}");
    let rows = measure::measure(&args.options)?;
    print!("{}", rows.tables(Style::Terminal));
    if args.record {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/record"));
        println!("wrote {}", record::write(&folder, &rows, &summary)?.display());
    }
    println!("took {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}
