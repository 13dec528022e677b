//! A packet's way to the application and back: through both rings, in batches, beside UDP sockets on loopback.
//!
//! All on one thread, so that what is counted is the work of both sides and no waiting: puts, copies, batches made
//! known; for the sockets a send and a receive each way.

use std::hint::black_box;
use std::net::UdpSocket;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sluice_ring::{ApplicationEnd, GatewayEnd, Geometry};

/// Packets between two looks at the rings.
const BATCHES: [usize; 3] = [1, 8, 64];
/// 20 ms of G.711 and what fills an Ethernet frame, with the RTP header.
const SIZES: [usize; 2] = [172, 1212];

fn ends() -> (GatewayEnd, ApplicationEnd) {
    let kind = SocketType::SEQPACKET;
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let (gateway, offer) = GatewayEnd::create(Geometry::default(), near).unwrap();
    (gateway, ApplicationEnd::open(offer, far).unwrap())
}

/// Takes all that is there.
macro_rules! take {
    ($end:expr, $into:expr) => {{
        let incoming = $end.incoming();
        while let Some(length) = incoming.peek().unwrap() {
            incoming.read(&mut $into[..length]);
            incoming.advance();
        }
        incoming.release();
    }};
}

fn both_ways(bench: &mut Criterion) {
    for size in SIZES {
        let mut group = bench.benchmark_group(format!("there and back, {size} octets"));
        let (packet, mut into) = (vec![0x5a; size], vec![0; 2048]);
        for batch in BATCHES {
            // Each packet goes there and back.
            group.throughput(Throughput::Elements(2 * batch as u64));
            let (mut gateway, mut application) = ends();
            group.bench_function(format!("ring, batches of {batch}"), |bencher| {
                bencher.iter(|| {
                    for _ in 0..batch {
                        gateway.put(black_box(&packet)).unwrap();
                    }
                    gateway.flush();
                    take!(application, into);
                    for _ in 0..batch {
                        application.put(black_box(&packet)).unwrap();
                    }
                    application.flush();
                    take!(gateway, into);
                });
            });
        }
        let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        near.connect(far.local_addr().unwrap()).unwrap();
        far.connect(near.local_addr().unwrap()).unwrap();
        group.throughput(Throughput::Elements(2));
        group.bench_function("UDP on loopback", |bencher| {
            bencher.iter(|| {
                near.send(black_box(&packet)).unwrap();
                far.recv(&mut into).unwrap();
                far.send(black_box(&packet)).unwrap();
                near.recv(&mut into).unwrap();
            });
        });
        group.finish();
    }
}

/// What it costs to wake a side that sleeps, once for a batch.
fn waking(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("waking");
    let (mut gateway, mut application) = ends();
    let (packet, mut into) = (vec![0x5a; 172], vec![0; 2048]);
    group.bench_function("the application", |bencher| {
        bencher.iter(|| {
            assert!(application.incoming().arm());
            gateway.put(&packet).unwrap();
            gateway.flush();
            assert!(application.hear());
            take!(application, into);
        });
    });
    group.bench_function("the gateway", |bencher| {
        bencher.iter(|| {
            assert!(gateway.incoming().arm());
            application.put(&packet).unwrap();
            application.flush();
            take!(gateway, into);
        });
    });
    group.finish();
}

criterion_group!(benches, both_ways, waking);
criterion_main!(benches);
