//! HMAC-SHA1 alone, per packet: every kernel, batch sizes around the crossover, three payloads and a mix.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sluice_kernels::{Kernel, MacJob, MacKey, hmac_sha1};

fn hmac(criterion: &mut Criterion) {
    for (name, payloads) in [
        ("20", [20; 10]),
        ("160", [160; 10]),
        ("1200", [1200; 10]),
        ("mix", [160, 160, 1200, 160, 160, 160, 1200, 160, 160, 1200]),
    ] {
        let mut group = criterion.benchmark_group(format!("hmac_sha1/{name}"));
        group.throughput(Throughput::Elements(1));
        for kernel in Kernel::available() {
            let keys: Vec<_> = (0..64_u8).map(|key| MacKey::new(kernel, &[key; 20])).collect();
            let packets: Vec<Vec<u8>> =
                (0..64).map(|number| vec![number as u8; 12 + payloads[number % 10]]).collect();
            for batch in [1, 2, 3, 4, 6, 8, 12, 16, 32, 64] {
                let mut jobs: Vec<_> = keys
                    .iter()
                    .zip(&packets)
                    .take(batch)
                    .map(|(key, packet)| MacJob { key, data: [packet, &[0, 0, 0, 1]], tag: [0; 20] })
                    .collect();
                group.bench_function(BenchmarkId::new(kernel.name(), batch), |bencher| {
                    bencher.iter_custom(|packets| {
                        let rounds = packets.div_ceil(batch as u64);
                        let begin = Instant::now();
                        for _ in 0..rounds {
                            hmac_sha1(kernel, black_box(&mut jobs));
                        }
                        begin.elapsed().mul_f64(packets as f64 / (rounds * batch as u64) as f64)
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .sample_size(15);
    targets = hmac
}
criterion_main!(benches);
