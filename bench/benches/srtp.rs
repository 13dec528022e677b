//! Whole SRTP, packet in, packet out: every suite, three payload sizes, alone and in batches.
//!
//! Every packet is protected once and unprotected once, with its own sequence number, so that no
//! replay check, no index and no tag is spared; buffers are filled outside of the timed part.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sluice_srtp::{
    Inbound, Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys,
    Suite, protect, unprotect,
};

const PAYLOADS: [usize; 3] = [20, 160, 1200];
const BATCHES: [usize; 2] = [1, 32];
const HEADER: usize = 12;
/// Streams used round-robin, each with its own key.
const SESSIONS: usize = 64;

/// Senders and receivers of all streams, and where each stream is.
struct Streams {
    outbound: Vec<Outbound>,
    inbound: Vec<Inbound>,
    sequences: Vec<u16>,
    next: usize,
}

impl Streams {
    fn new(suite: Suite) -> Self {
        let keys: Vec<_> = (0..SESSIONS).map(|i| keys(suite, i)).collect();
        let inbound = |(i, keys): (usize, &Arc<SessionKeys>)| {
            Inbound::new(i as u32, keys.clone(), ReplayWindow::default(), 0)
        };
        Self {
            outbound: keys
                .iter()
                .enumerate()
                .map(|(i, keys)| Outbound::new(i as u32, keys.clone(), 0))
                .collect(),
            inbound: keys.iter().enumerate().map(inbound).collect(),
            sequences: vec![0; SESSIONS],
            next: 0,
        }
    }

    /// Writes a new packet of the next stream into `buffer`.
    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let stream = self.next;
        self.next = (stream + 1) % SESSIONS;
        self.sequences[stream] = self.sequences[stream].wrapping_add(1);
        buffer[..2].copy_from_slice(&[0x80, 96]);
        buffer[2..4].copy_from_slice(&self.sequences[stream].to_be_bytes());
        buffer[8..HEADER].copy_from_slice(&(stream as u32).to_be_bytes());
        stream
    }
}

fn keys(suite: Suite, id: usize) -> Arc<SessionKeys> {
    let material: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|i| (i * 7 + id) as u8).collect();
    let master = MasterKey::from_concatenated(suite, &material).expect("lengths of the suite");
    Arc::new(SessionKeys::derive(KeyId(id as u64), &master, Mki::NONE, Lifetime::MAX).expect("a kernel"))
}

#[derive(Clone, Copy)]
enum Direction {
    Protect,
    Unprotect,
}

/// Packets prepared at a time, so that reading the clock weighs nothing on each.
const ROUND: usize = 256;

/// Times `count` packets of one direction in batches.
fn run(streams: &mut Streams, direction: Direction, payload: usize, batch: usize, count: u64) -> Duration {
    let len = HEADER + payload;
    let mut buffers = vec![vec![0_u8; len + MAX_OVERHEAD]; ROUND];
    let mut time = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let size = left.min(ROUND as u64) as usize;
        let mut jobs: Vec<Job<'_>> = buffers[..size]
            .iter_mut()
            .map(|buffer| {
                let stream = streams.fill(buffer);
                Job::new(stream, Kind::Rtp, buffer, len)
            })
            .collect();
        let begin = Instant::now();
        for jobs in jobs.chunks_mut(batch) {
            protect(&mut streams.outbound[..], black_box(jobs));
        }
        let between = Instant::now();
        for jobs in jobs.chunks_mut(batch) {
            unprotect(&mut streams.inbound[..], black_box(jobs));
        }
        time += match direction {
            Direction::Protect => between - begin,
            Direction::Unprotect => between.elapsed(),
        };
        assert!(jobs.iter().all(|job| job.result.is_ok()), "every packet is valid and new");
        left -= size as u64;
    }
    time
}

fn srtp(criterion: &mut Criterion) {
    println!("kernel: {:?}", sluice_srtp::selected_kernel().expect("a kernel"));
    for suite in Suite::ALL {
        for (direction, name) in [(Direction::Protect, "protect"), (Direction::Unprotect, "unprotect")] {
            let mut group = criterion.benchmark_group(format!("{suite}/{name}"));
            group.throughput(Throughput::Elements(1));
            for payload in PAYLOADS {
                for batch in BATCHES {
                    let mut streams = Streams::new(suite);
                    group.bench_function(BenchmarkId::new(format!("{payload}B"), batch), |bencher| {
                        bencher.iter_custom(|count| run(&mut streams, direction, payload, batch, count));
                    });
                }
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = srtp
}
criterion_main!(benches);
