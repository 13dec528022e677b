//! AES per packet, with one of 1,000 keys after another: in batches of 32, and one packet a call.
//! The time is that of 64 packets, and includes filling in the jobs.

use std::cell::Cell;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluice_kernels::{CtrJob, CtrKey, GcmJob, GcmKey, Kernel, ctr, gcm_open, gcm_seal};

const KEYS: usize = 1000;
const PACKETS: usize = 64;
const STRIDE: usize = 2048;
const HEADER: usize = 12;

/// Keys taken in turn.
struct Ring<K> {
    keys: Vec<K>,
    next: Cell<usize>,
}

impl<K> Ring<K> {
    fn new(make: impl Fn(&[u8]) -> K, key_len: usize) -> Self {
        Self { keys: (0..KEYS).map(|i| make(&vec![i as u8; key_len])).collect(), next: Cell::new(0) }
    }

    /// The keys of the next packets.
    fn turn(&self) -> impl Iterator<Item = &K> {
        self.next.set((self.next.get() + PACKETS) % KEYS);
        self.keys[self.next.get()..].iter().chain(&self.keys).take(PACKETS)
    }
}

fn counter_mode(c: &mut Criterion) {
    for (kernel, key_len, len, batch) in shapes() {
        let keys = Ring::new(|key| CtrKey::new(kernel, key).unwrap(), key_len);
        let mut memory = vec![0; PACKETS * STRIDE];
        let mut group = c.benchmark_group(format!("ctr-{}/{len}", key_len * 8));
        group.throughput(Throughput::Elements(PACKETS as u64));
        group.bench_function(format!("{kernel}/{batch}"), |b| {
            b.iter(|| {
                let packets = memory.chunks_exact_mut(STRIDE).map(|packet| &mut packet[HEADER..HEADER + len]);
                let mut jobs: Vec<_> =
                    packets.zip(keys.turn()).map(|(data, key)| CtrJob { key, iv: [7; 16], data }).collect();
                jobs.chunks_mut(batch).for_each(|jobs| ctr(kernel, jobs));
            });
        });
    }
}

fn galois_counter_mode(c: &mut Criterion) {
    for (kernel, key_len, len, batch) in shapes() {
        let keys = Ring::new(|key| GcmKey::new(kernel, key).unwrap(), key_len);
        for open in [false, true] {
            let name = if open { "open" } else { "seal" };
            let mut group = c.benchmark_group(format!("gcm-{}-{name}/{len}", key_len * 8));
            group.throughput(Throughput::Elements(PACKETS as u64));
            group.bench_function(format!("{kernel}/{batch}"), |b| {
                b.iter_batched_ref(
                    || {
                        // Packets that are fresh and right, sealed outside of what is timed.
                        let mut packets: Vec<_> =
                            keys.turn().map(|key| (key, vec![0; HEADER + len], [0; 16])).collect();
                        if open {
                            gcm_seal(kernel, &mut jobs(&mut packets));
                        }
                        packets
                    },
                    |packets| {
                        let mut jobs = jobs(packets);
                        for jobs in jobs.chunks_mut(batch) {
                            if open { gcm_open(kernel, jobs) } else { gcm_seal(kernel, jobs) }
                        }
                        assert!(jobs.iter().all(|job| job.ok));
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

/// A key, header and text, a tag.
type Packet<'a> = (&'a GcmKey, Vec<u8>, [u8; 16]);

fn jobs<'a>(packets: &'a mut [Packet<'_>]) -> Vec<GcmJob<'a>> {
    let job = |(key, packet, tag): &'a mut Packet<'_>| {
        let (aad, data) = packet.split_at_mut(HEADER);
        GcmJob { key, iv: [7; 12], aad, data, tag, ok: false }
    };
    packets.iter_mut().map(job).collect()
}

fn keys(c: &mut Criterion) {
    for kernel in Kernel::available() {
        for len in [16, 24, 32] {
            let name = format!("{kernel}/{}", len * 8);
            c.bench_function(&format!("ctr-key/{name}"), |b| {
                b.iter(|| CtrKey::new(kernel, std::hint::black_box(&[7; 32][..len])));
            });
            c.bench_function(&format!("gcm-key/{name}"), |b| {
                b.iter(|| GcmKey::new(kernel, std::hint::black_box(&[7; 32][..len])));
            });
        }
    }
}

/// Kernels, octets of key, octets of packet, packets a call.
fn shapes() -> impl Iterator<Item = (Kernel, usize, usize, usize)> {
    Kernel::available().flat_map(|kernel| {
        [16, 32].into_iter().flat_map(move |key_len| {
            [20, 160, 1200]
                .into_iter()
                .flat_map(move |len| [32, 1].map(|batch| (kernel, key_len, len, batch)))
        })
    })
}

criterion_group!(benches, counter_mode, galois_counter_mode, keys);
criterion_main!(benches);
