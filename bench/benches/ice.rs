//! What a STUN check costs the agent that answers it: the peer's own, which comes every few seconds from each browser of each
//! call; one under a wrong password, which anybody can send; and what is no STUN message at all.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_keying::ice::{Agent, Candidate, Credentials, Output, OwnIce, PeerIce};
use stun_types::attribute::{AttributeType, RawAttribute, Username};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageWrite, MessageWriteExt, MessageWriteVec,
    ShortTermCredentials,
};

const PASSWORD: &str = "gatewaygatewaygatewaygat";

fn checks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ice");
    group.throughput(Throughput::Elements(1));
    let (good, forged) = (check(PASSWORD), check("forgedforgedforgedforged"));
    let mut bit = good.clone();
    bit[60] ^= 1;
    for (name, datagram, taken) in
        [("answered", &good, true), ("forged", &forged, false), ("broken", &bit, false)]
    {
        let (local, remote): (SocketAddr, SocketAddr) =
            ("192.0.2.1:5000".parse().unwrap(), "198.51.100.7:6000".parse().unwrap());
        let mut now = Instant::now();
        let mut agent = agent(local, remote, now);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // Not more than an agent answers in a second.
                now += Duration::from_millis(20);
                let result = agent.handle_datagram(now, local, remote, 1, black_box(datagram));
                assert_eq!(result.is_ok(), taken);
                while !matches!(black_box(agent.poll()), Output::Timeout(_)) {}
            });
        });
    }
    group.finish();
}

/// A lite one that knows its peer.
fn agent(local: SocketAddr, remote: SocketAddr, now: Instant) -> Agent {
    let credentials = Credentials::new("gatewayg", PASSWORD).unwrap();
    let own = OwnIce { credentials, candidates: vec![Candidate::host(1, local, 65535)], lite: true };
    let mut agent = Agent::new(&own, false, now);
    let credentials = Credentials::new("peer", "peerpeerpeerpeerpeerpeer").unwrap();
    let candidates = vec![Candidate::host(1, remote, 65535)];
    agent.set_peer(&PeerIce { credentials, candidates, lite: false, more: false }, now);
    agent
}

/// As Chromium writes it, but for its own attribute on the network's cost.
fn check(password: &str) -> Vec<u8> {
    let mut writer = Message::builder_request(BINDING, MessageWriteVec::new());
    writer.add_attribute(&Username::new("gatewayg:peer").unwrap()).unwrap();
    let attributes: [(u16, &[u8]); 3] = [(0x802a, &[7; 8]), (0x0025, &[]), (0x0024, &[0x6e, 0, 1, 255])];
    for (kind, value) in attributes {
        writer.add_attribute(&RawAttribute::new(AttributeType::new(kind), value)).unwrap();
    }
    let key = ShortTermCredentials::new(password.to_owned()).into();
    writer.add_message_integrity(&key, IntegrityAlgorithm::Sha1).unwrap();
    writer.add_fingerprint().unwrap();
    writer.finish()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = checks
}
criterion_main!(benches);
