//! Whether the time that a packet takes tells anything of its secrets, asked as dudect does (Reparaz,
//! Balasch, Verbauwhede: "dude, is my code constant time?"): two classes of input, drawn at random,
//! and Welch's t-test on their times.
//!
//! ```text
//! constant-time [SAMPLES]     each suite on each kernel that this CPU has
//! ```
//!
//! | question | class one | class two |
//! | -------- | --------- | --------- |
//! | tag      | forged in the tag's first octet | forged in its last |
//! | payload  | protects zeros | protects random octets |
//! | control  | compares and leaves at the first octet | leaves at the last: this one must be found |
//!
//! It fails if a |t| is above ten in each of three tries, or if the control is not found. A machine with
//! other work on it shows noise, not leaks: the classes are mixed, both suffer alike.

use std::error::Error;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;
use std::{env, process};

use sluice_bench::machine;
use sluice_kernels::Kernel;
use sluice_srtp::{
    Inbound, Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys,
    Suite, protect, unprotect,
};

/// Above this dudect is certain.
const CERTAIN: f64 = 10.0;
const TRIES: usize = 3;
const SAMPLES: usize = 200_000;
const LEN: usize = 12 + 160;
/// Set in the processes that measure one kernel each.
const CHILD: &str = "SLUICE_CONSTANT_TIME_CHILD";

fn main() -> ExitCode {
    let samples = env::args().nth(1).and_then(|samples| samples.parse().ok()).unwrap_or(SAMPLES);
    let result = if env::var_os(CHILD).is_some() { measure(samples) } else { every_kernel() };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("constant-time: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A process for each: what is selected is selected once.
fn every_kernel() -> Result<bool, Box<dyn Error>> {
    println!("{}, core {}", machine::cpu(), machine::pin(None)?);
    let mut passed = true;
    for kernel in Kernel::available() {
        println!("kernel {}", kernel.name());
        let mut child = Command::new(env::current_exe()?);
        child.args(env::args().skip(1)).env(CHILD, "1").env("SLUICE_KERNEL", kernel.name());
        passed &= child.status()?.success();
    }
    Ok(passed)
}

fn measure(samples: usize) -> Result<bool, Box<dyn Error>> {
    let mut random = Random(u64::from(process::id()) << 32 | 0x9e37_79b9);
    let mut passed = true;
    let control = leaving_early(samples, &mut random);
    println!("  control: |t| {control:.1}");
    if control < CERTAIN {
        println!("  NOT FOUND: with so much noise, or so few samples, the rest proves nothing");
        passed = false;
    }
    for suite in Suite::ALL {
        let mut setup = Setup::new(suite)?;
        for (name, ask) in [("tag", Setup::tag as fn(&mut _, _, &mut _) -> _), ("payload", Setup::payload)] {
            let mut tries = Vec::new();
            while tries.last().is_none_or(|t| *t > CERTAIN) && tries.len() < TRIES {
                tries.push(ask(&mut setup, samples, &mut random));
            }
            let leaks = tries.iter().all(|t| *t > CERTAIN);
            let shown: Vec<_> = tries.iter().map(|t| format!("{t:.1}")).collect();
            println!("  {suite} {name}: |t| {}{}", shown.join(", "), if leaks { " LEAKS" } else { "" });
            passed &= !leaks;
        }
    }
    Ok(passed)
}

/// What must be found: a comparison that leaves at the first octet that differs.
fn leaving_early(samples: usize, random: &mut Random) -> f64 {
    let right = [7_u8; 64];
    let forged = [0, 63].map(|at| {
        let mut forged = right;
        forged[at] ^= 1;
        forged
    });
    let classes = |class: bool| forged[usize::from(class)];
    t_test(samples, random, classes, |forged| {
        let mut same = true;
        for (a, b) in black_box(&right).iter().zip(black_box(forged)) {
            if black_box(a) != b {
                same = false;
                break;
            }
        }
        black_box(same);
    })
}

struct Setup {
    inbound: [Inbound; 1],
    outbound: [Outbound; 1],
    /// A protected packet that was never received.
    packet: Vec<u8>,
    tag: usize,
    sequence: u16,
}

impl Setup {
    fn new(suite: Suite) -> Result<Self, Box<dyn Error>> {
        let material: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|i| (i * 7) as u8).collect();
        let master = MasterKey::from_concatenated(suite, &material)?;
        let keys = Arc::new(SessionKeys::derive(KeyId(1), &master, Mki::NONE, Lifetime::MAX)?);
        let mut setup = Self {
            inbound: [Inbound::new(7, Arc::clone(&keys), ReplayWindow::default(), 0)],
            outbound: [Outbound::new(7, keys, 0)],
            packet: Vec::new(),
            tag: suite.rtp_overhead(),
            sequence: 0,
        };
        let mut packet = rtp(0, &[3; LEN - 12]);
        let mut jobs = [Job::new(0, Kind::Rtp, &mut packet, LEN)];
        protect(&mut setup.outbound[..], &mut jobs);
        jobs[0].result?;
        let len = jobs[0].len;
        packet.truncate(len);
        setup.packet = packet;
        Ok(setup)
    }

    /// What is refused leaves the context as it was: every sample meets the same one.
    fn tag(&mut self, samples: usize, random: &mut Random) -> f64 {
        let Self { inbound, packet, tag, .. } = self;
        let classes = |class: bool| {
            let mut forged = packet.clone();
            let at = if class { forged.len() - 1 } else { forged.len() - *tag };
            forged[at] ^= 0x55;
            forged
        };
        t_test(samples, random, classes, |packet| {
            let len = packet.len();
            let mut jobs = [Job::new(0, Kind::Rtp, packet, len)];
            unprotect(&mut inbound[..], &mut jobs);
            assert!(jobs[0].result.is_err(), "a forged packet was taken");
        })
    }

    fn payload(&mut self, samples: usize, random: &mut Random) -> f64 {
        let mut octets = Random(random.next());
        let Self { outbound, sequence, .. } = self;
        let packets = |class: bool| {
            *sequence = sequence.wrapping_add(1);
            // Drawn and masked for either class: what is before a sample must not differ.
            let mask = 0xff_u8.wrapping_mul(u8::from(class));
            let mut payload = [0; LEN - 12];
            payload.fill_with(|| (octets.next() >> 32) as u8 & mask);
            rtp(*sequence, &payload)
        };
        t_test(samples, random, packets, |packet| {
            let mut jobs = [Job::new(0, Kind::Rtp, packet, LEN)];
            protect(&mut outbound[..], &mut jobs);
            assert!(jobs[0].result.is_ok(), "{:?}", jobs[0].result);
        })
    }
}

/// A packet with room for what protection adds.
fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(payload);
    packet.resize(LEN + MAX_OVERHEAD, 0);
    packet
}

/// |t| of the times that `run` takes for inputs of either class, drawn at random. The slowest tenth are
/// interrupts, not answers.
fn t_test<I>(
    samples: usize,
    random: &mut Random,
    mut input: impl FnMut(bool) -> I,
    mut run: impl FnMut(&mut I),
) -> f64 {
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        let class = random.next() >> 63 == 1;
        let mut input = black_box(input(class));
        let begun = Instant::now();
        run(&mut input);
        times.push((begun.elapsed().as_nanos() as f64, class));
    }
    let mut sorted: Vec<f64> = times.iter().map(|(time, _)| *time).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(limit) = sorted.get(samples * 9 / 10) else { return 0.0 };
    let of = |wanted: bool| {
        let kept = times.iter().filter(|(time, class)| *class == wanted && time <= limit);
        Moments::of(kept.map(|(time, _)| *time))
    };
    let (one, two) = (of(false), of(true));
    let spread = (one.variance / one.count + two.variance / two.count).sqrt();
    if spread > 0.0 { ((one.mean - two.mean) / spread).abs() } else { 0.0 }
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count().max(2) as f64;
        let mean = values.clone().sum::<f64>() / count;
        let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

/// xorshift64*: which class comes next must not follow a pattern; nothing secret comes of it.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
