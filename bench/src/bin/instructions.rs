//! Instructions per packet, counted by callgrind: repeatable where nanoseconds are not.
//!
//! ```text
//! instructions                count, and compare with bench/record/instructions.csv: fails on +5 %
//! instructions --record       count, and write the record anew
//! ```
//!
//! Valgrind knows no SHA-NI and no AVX-512, so that the kernel is `portable`: what is watched is the
//! engine around the kernels (header, index, replay, layout, keys) and the reference.

use std::error::Error;
use std::fmt::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::{env, fs};

use sluice_srtp::{
    Inbound, Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys,
    Suite, protect, unprotect,
};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/record/instructions.csv");
const HEADER: usize = 12;
const SESSIONS: usize = 32;
/// Packets of the shorter of the two runs whose difference is taken.
const PACKETS: usize = 512;
/// Set in the process that callgrind watches: the case to run.
const CASE: &str = "SLUICE_INSTRUCTIONS_CASE";

fn main() -> ExitCode {
    let result = match env::var(CASE) {
        Ok(case) => run_case(&case).map(|()| true),
        Err(_) => count_all(env::args().any(|argument| argument == "--record")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts every case; whether none has grown by more than 5 %.
fn count_all(record: bool) -> Result<bool, Box<dyn Error>> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIP: valgrind is missing; ./justw installs it");
        return Ok(true);
    }
    let before = fs::read_to_string(RECORD).unwrap_or_default();
    let mut table = String::from("suite,payload,batch,instructions_protect,instructions_both\n");
    let mut grown = false;
    for suite in Suite::ALL {
        for (payload, batch) in [(20, 1), (20, 32), (160, 32), (1200, 32)] {
            let case = format!("{suite},{payload},{batch}");
            let [protect, both] = [count(&case, false)?, count(&case, true)?];
            writeln!(table, "{case},{protect},{both}")?;
            let line = before.lines().find_map(|line| line.strip_prefix(&case)?.strip_prefix(','));
            let was = line.and_then(|line| line.split_once(',')).and_then(|(protect, both)| {
                Some([protect.parse::<u64>().ok()?, both.trim().parse::<u64>().ok()?])
            });
            let verdict = match was {
                None => "no record",
                Some([p, b]) if protect * 20 > p * 21 || both * 20 > b * 21 => {
                    grown = true;
                    "MORE THAN 5 % ABOVE THE RECORD"
                }
                Some(_) => "ok",
            };
            println!("{case}: {protect} to protect, {both} to protect and unprotect: {verdict}");
        }
    }
    if record {
        fs::write(RECORD, table)?;
        println!("written: {RECORD}");
        return Ok(true);
    }
    if grown {
        eprintln!("instructions: if this is the price of something worth it, --record and say so");
    }
    Ok(!grown)
}

/// Instructions per packet: the difference of two runs, so that start and set-up do not count.
fn count(case: &str, both: bool) -> Result<u64, Box<dyn Error>> {
    let [short, long] = [PACKETS, 2 * PACKETS].map(|packets| watch(&format!("{case},{both},{packets}")));
    Ok(long?.saturating_sub(short?).div_ceil(PACKETS as u64))
}

fn watch(case: &str) -> Result<u64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .env(CASE, case)
        .env("SLUICE_KERNEL", "portable")
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let total = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    total.ok_or_else(|| format!("callgrind told no count for {case}:\n{text}").into())
}

/// What callgrind watches.
fn run_case(case: &str) -> Result<(), Box<dyn Error>> {
    let parts: Vec<_> = case.split(',').collect();
    let [suite, payload, batch, both, packets] = parts[..] else { return Err("not a case".into()) };
    let (suite, payload, batch): (Suite, usize, usize) = (suite.parse()?, payload.parse()?, batch.parse()?);
    let (both, packets): (bool, usize) = (both.parse()?, packets.parse()?);

    let mut keys = Vec::new();
    for id in 0..SESSIONS {
        let material: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|i| (i * 7 + id) as u8).collect();
        let master = MasterKey::from_concatenated(suite, &material)?;
        keys.push(Arc::new(SessionKeys::derive(KeyId(id as u64), &master, Mki::NONE, Lifetime::MAX)?));
    }
    let of = |index: usize| (index as u32, Arc::clone(&keys[index]));
    let mut outbound: Vec<_> =
        (0..SESSIONS).map(of).map(|(ssrc, keys)| Outbound::new(ssrc, keys, 0)).collect();
    let window = ReplayWindow::default();
    let mut inbound: Vec<_> =
        (0..SESSIONS).map(of).map(|(ssrc, keys)| Inbound::new(ssrc, keys, window, 0)).collect();
    let len = HEADER + payload;
    let mut buffers = vec![vec![0_u8; len + MAX_OVERHEAD]; batch];
    for first in (0..packets).step_by(batch) {
        let mut jobs = Vec::with_capacity(batch);
        for (number, buffer) in (first..).zip(&mut buffers) {
            let (session, sequence) = (number % SESSIONS, (number / SESSIONS) as u16);
            buffer[..2].copy_from_slice(&[0x80, 96]);
            buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
            buffer[8..HEADER].copy_from_slice(&(session as u32).to_be_bytes());
            jobs.push(Job::new(session, Kind::Rtp, buffer, len));
        }
        protect(&mut outbound[..], &mut jobs);
        if both {
            unprotect(&mut inbound[..], &mut jobs);
        }
        if let Some(failed) = jobs.iter().find_map(|job| job.result.err()) {
            return Err(failed.into());
        }
    }
    Ok(())
}
