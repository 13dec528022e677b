//! Rings that are shared with local applications.

use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Command, LegSetup, Origin};
use sluice_io::shared::{ApplicationEnd, GatewayEnd, Geometry};
use sluice_io::{
    Component, FrameBatch, PacketIo, Pool, Ring, SocketToken, TxMeta, application_address, ring_address,
};
use sluice_srtp::Suite;

use crate::support::{Bench, PACKETS, packets};

#[test]
fn rings_of_local_applications_allocate_nothing_both_ways() {
    let mut bench = Bench::new();
    bench.leg(1, Plain, Srtp, Suite::AesCm128HmacSha1_80);
    bench.apply(Command::AddLeg(Box::new(LegSetup::for_application(2, Arc::default()))));
    bench.route(1, 1, 2);
    bench.route(2, 2, 1);
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (end, offer) = GatewayEnd::create(Geometry::default(), near).unwrap();
    let mut application = ApplicationEnd::open(offer, far).unwrap();
    bench.apply(Command::AttachRing { leg: 2, ring: Box::new(Ring::new(end, Arc::default())) });
    let mut turn = |media: &[Vec<u8>]| {
        let count = media.len();
        for packet in media {
            application.put(packet).unwrap();
        }
        application.flush();
        let (mut rx, mut sent) = (FrameBatch::new(), 0);
        let Bench { pipeline, pool, io, .. } = &mut bench;
        // Half of a batch at a time: the other half is left for what the wire brings.
        while sent < count {
            io.receive(pool, &mut rx);
            if rx.is_empty() {
                break;
            }
            sent += rx.len();
            // What came from the application is sent back to it, as that is what this test has.
            pipeline.process(&mut rx, Origin::Io, pool, &mut |pool: &mut Pool, tx: &mut FrameBatch| {
                for frame in tx.iter_mut() {
                    let socket = SocketToken { leg: 2, component: Component::Rtp };
                    let (local, remote) = (ring_address(2), application_address(2));
                    frame.set_egress(TxMeta { socket, local, remote, next_hop: None, dscp: 0 });
                }
                io.transmit(pool, tx);
            });
        }
        let mut heard = 0;
        let incoming = application.incoming();
        while incoming.peek().unwrap().is_some() {
            incoming.advance();
            heard += 1;
        }
        incoming.release();
        heard
    };
    let media = packets(9);
    turn(&media[..2]);
    let mut heard = 0;
    let allocations = allocation_counter::measure(|| heard = turn(&media[2..]));
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
    assert_eq!(heard, PACKETS);
}
