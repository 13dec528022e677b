//! Legs whose peers are local applications.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sluice_io::memory::{MemoryIo, Wire};
use sluice_io::shared::{ApplicationEnd, GatewayEnd, Geometry};
use sluice_io::{Path, Ring, RingSnapshot, RingStats, ring_address};
use sluice_srtp::{KeyId, Lifetime, MasterKey, Mki, SessionKeys, Suite};

use super::tests::{leg, limits, peer, put, rtp, worker};
use super::*;
use crate::{
    CommandError, Direction, LegSetup, LegStats, LegUpdate, Protection, RocOnRekey, RouteOptions, Shared,
    Signalled,
};

/// Leg 1 is a peer's, leg 2 an application's; routes lead both ways.
struct Room {
    workers: Vec<Worker<MemoryIo>>,
    wires: Vec<Wire>,
    local: SocketAddr,
    stats: Arc<LegStats>,
    rings: Arc<RingStats>,
}

const SLOTS: usize = 16;

impl Room {
    fn new(outbound: Protection) -> Self {
        let (shared, _events) = Shared::new(&limits(), 2);
        let (workers, wires) = (0..2).map(|n| worker(n, &shared)).unzip();
        let mut one = leg(1);
        one.outbound = outbound;
        let (local, stats) = (one.local, Arc::new(LegStats::new()));
        let mut room = Self { workers, wires, local, stats: Arc::clone(&stats), rings: Arc::default() };
        room.apply(Command::AddLeg(one)).unwrap();
        room.apply(Command::AddLeg(Box::new(LegSetup::for_application(2, stats)))).unwrap();
        for (from, to) in [(1, 2), (2, 1)] {
            let options = RouteOptions::default();
            room.apply(Command::AddRoute { route: from, from, to, options }).unwrap();
        }
        room
    }

    fn apply(&mut self, command: Command) -> Result<(), CommandError> {
        let ticket = put(&self.workers[0], command);
        self.rounds();
        ticket.wait(Duration::ZERO).expect("it was applied")
    }

    fn rounds(&mut self) {
        for _ in 0..2 {
            for worker in &mut self.workers {
                worker.round();
            }
        }
    }

    fn ring(&self) -> (Box<Ring>, ApplicationEnd) {
        let kind = SocketType::SEQPACKET;
        let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        let (end, offer) = GatewayEnd::create(Geometry::new(SLOTS, 512).unwrap(), near).unwrap();
        let application = ApplicationEnd::open(offer, far).unwrap();
        (Box::new(Ring::new(end, Arc::clone(&self.rings))), application)
    }

    fn attach(&mut self) -> ApplicationEnd {
        let (ring, application) = self.ring();
        self.apply(Command::AttachRing { leg: 2, ring }).unwrap();
        application
    }

    /// The peer sends packets of these sequence numbers.
    fn play(&mut self, sequences: std::ops::Range<u16>) {
        for sequence in sequences {
            self.wires[0].send(peer(1), self.local, &rtp(sequence));
        }
        self.rounds();
    }

    /// What the peer got.
    fn sent(&self) -> Vec<Vec<u8>> {
        self.wires.iter().flat_map(Wire::sent).map(|sent| sent.payload).collect()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.stats.snapshot().dropped.get(reason)
    }

    /// Every datagram is accounted for, and every chunk is back.
    fn check(&self) {
        for worker in &self.workers {
            let stats = worker.pipeline.stats().snapshot();
            assert_eq!(stats.unaccounted(), 0, "{stats:?}");
            assert_eq!(u64::from(worker.pool.outstanding()), stats.held);
        }
    }
}

/// Whether the application is told that its ring has ended, by a thread that is not the worker's.
fn ended(application: &ApplicationEnd) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while application.hear() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// All that is on the application's ring.
fn heard(application: &mut ApplicationEnd) -> Vec<Vec<u8>> {
    let incoming = application.incoming();
    let mut packets = Vec::new();
    while let Some(length) = incoming.peek().unwrap() {
        let mut packet = vec![0; length];
        incoming.read(&mut packet);
        incoming.advance();
        packets.push(packet);
    }
    incoming.release();
    packets
}

fn packets(sequences: std::ops::Range<u16>) -> Vec<Vec<u8>> {
    sequences.map(rtp).collect()
}

#[test]
fn media_goes_to_the_application_and_comes_from_it_like_any_other() {
    let mut room = Room::new(Protection::Plain);
    let mut application = room.attach();
    room.play(0..10);
    assert_eq!(heard(&mut application), packets(0..10));
    for packet in packets(100..110) {
        application.put(&packet).unwrap();
    }
    application.put(b"no RTP").unwrap();
    application.flush();
    room.rounds();
    assert_eq!(room.sent(), packets(100..110));
    let stats = room.stats.snapshot();
    assert_eq!((stats.received_rtp.packets, stats.sent_rtp.packets), (10, 10));
    assert_eq!((stats.path, stats.dropped.total()), (Some(Path::Ring), 1), "{:?}", stats.dropped);
    let io = room.workers[0].pipeline.stats().snapshot().io;
    assert_eq!((io.received[Path::Ring as usize], io.sent[Path::Ring as usize]), (11, 10));
    assert_eq!(room.rings.snapshot(), RingSnapshot { received: 11, sent: 10, ..RingSnapshot::default() });
    room.check();
}

#[test]
fn what_the_application_sends_is_encrypted_for_the_peer() {
    let mut room = Room::new(Protection::Srtp);
    let suite = Suite::AesCm128HmacSha1_80;
    let master = MasterKey::from_concatenated(suite, &[7; 30]).unwrap();
    let keys = vec![Arc::new(SessionKeys::derive(KeyId(1), &master, Mki::NONE, Lifetime::MAX).unwrap())];
    let direction = Direction::Outbound;
    room.apply(Command::InstallKeys {
        leg: 1,
        direction,
        keys,
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow: false,
    })
    .unwrap();
    let mut application = room.attach();
    for packet in packets(0..3) {
        application.put(&packet).unwrap();
    }
    application.flush();
    room.rounds();
    let sent = room.sent();
    assert_eq!(sent.len(), 3);
    for (packet, plain) in sent.iter().zip(packets(0..3)) {
        assert_eq!((packet.len(), &packet[..12]), (plain.len() + 10, &plain[..12]));
        assert_ne!(packet[12..plain.len()], plain[12..]);
    }
}

#[test]
fn without_its_application_a_leg_goes_on_and_what_is_for_it_is_counted() {
    let mut room = Room::new(Protection::Plain);
    room.play(0..5);
    assert_eq!(room.dropped(DropReason::NoApplication), 5);
    let mut first = room.attach();
    room.play(5..8);
    assert_eq!(heard(&mut first), packets(5..8));
    room.apply(Command::DetachRing { leg: 2 }).unwrap();
    assert!(ended(&first), "it is told");
    room.play(8..10);
    assert_eq!(room.dropped(DropReason::NoApplication), 7);
    let mut second = room.attach();
    room.play(10..12);
    assert_eq!((heard(&mut first), heard(&mut second)), (vec![], packets(10..12)), "in fresh memory");
    let mut third = room.attach();
    assert!(ended(&second), "there is one at a time");
    room.play(12..13);
    assert_eq!(heard(&mut third), packets(12..13));
    room.apply(Command::RemoveLeg { leg: 2 }).unwrap();
    assert!(ended(&third));
    assert_eq!(room.apply(Command::DetachRing { leg: 2 }), Err(CommandError::UnknownLeg(2)));
    room.check();
}

#[test]
fn what_an_application_put_before_it_went_is_still_heard() {
    for moves in [false, true] {
        let mut room = Room::new(Protection::Plain);
        let mut application = room.attach();
        for packet in packets(0..SLOTS as u16) {
            application.put(&packet).unwrap();
        }
        application.flush();
        let left = put(&room.workers[0], Command::DetachRing { leg: 2 });
        let moved = moves.then(|| put(&room.workers[0], Command::MoveLegs { legs: vec![1, 2], to: 1 }));
        room.rounds();
        assert_eq!(left.wait(Duration::ZERO), Some(Ok(())));
        assert_eq!(moved.and_then(|moved| moved.wait(Duration::ZERO)), moves.then_some(Ok(())));
        room.rounds();
        assert_eq!(room.sent(), packets(0..SLOTS as u16), "moved: {moves}");
        assert!(ended(&application), "it is told, whatever it still puts there");
        room.play(0..2);
        assert_eq!(room.dropped(DropReason::NoApplication), 2, "nobody hears it any more");
        room.check();
    }
}

#[test]
fn an_application_that_does_not_keep_up_loses_the_newest_and_nobody_else_anything() {
    let mut room = Room::new(Protection::Plain);
    let mut application = room.attach();
    room.play(0..40);
    let full = 40 - SLOTS as u64;
    assert_eq!(room.rings.snapshot(), RingSnapshot { sent: 16, full, ..RingSnapshot::default() });
    assert_eq!(room.workers[0].pipeline.stats().snapshot().io.ring_full, full);
    assert_eq!(heard(&mut application), packets(0..16));
    room.play(40..44);
    assert_eq!(heard(&mut application), packets(40..44), "it recovers by itself");
    let large = [rtp(44), vec![1; 600]].concat();
    room.wires[0].send(peer(1), room.local, &large);
    room.rounds();
    assert_eq!(room.rings.snapshot().too_large, 1);
    let io = room.workers[0].pipeline.stats().snapshot().io;
    assert_eq!((io.ring_too_large, io.send_too_big), (1, 0));
    room.check();
}

/// What was in front of the slot that cannot be is taken, forwarded and counted.
#[test]
fn packets_in_front_of_a_broken_slot_are_in_the_books() {
    let mut room = Room::new(Protection::Plain);
    let kind = SocketType::SEQPACKET;
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let (end, offer) = GatewayEnd::create(Geometry::new(SLOTS, 512).unwrap(), near).unwrap();
    let memory = std::fs::File::from(offer.memory.try_clone().unwrap());
    let mut application = ApplicationEnd::open(offer, far).unwrap();
    let ring = Box::new(Ring::new(end, Arc::clone(&room.rings)));
    room.apply(Command::AttachRing { leg: 2, ring }).unwrap();
    for packet in packets(0..4) {
        application.put(&packet).unwrap();
    }
    // The length of the fourth: the slots of the ring to the gateway follow those of the other one.
    let slot = 4096 + (SLOTS as u64 + 3) * 512;
    std::os::unix::fs::FileExt::write_at(&memory, &u64::MAX.to_ne_bytes(), slot).unwrap();
    application.flush();
    room.rounds();
    assert_eq!(room.sent(), packets(0..3));
    assert_eq!(room.rings.snapshot(), RingSnapshot { received: 3, broken: 1, ..RingSnapshot::default() });
    assert_eq!(room.workers[0].pipeline.stats().snapshot().io.received[Path::Ring as usize], 3);
    room.check();
}

/// The whole memory is the application's to write: here it says that it put more than there is room for.
#[test]
fn an_application_that_breaks_its_ring_loses_it_and_nobody_else_anything() {
    let mut room = Room::new(Protection::Plain);
    let kind = SocketType::SEQPACKET;
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let (end, offer) = GatewayEnd::create(Geometry::new(SLOTS, 512).unwrap(), near).unwrap();
    let memory = std::fs::File::from(offer.memory.try_clone().unwrap());
    let application = ApplicationEnd::open(offer, far).unwrap();
    let ring = Box::new(Ring::new(end, Arc::clone(&room.rings)));
    room.apply(Command::AttachRing { leg: 2, ring }).unwrap();
    // The index of what goes to the gateway: docs of sluice-ring's layout, line 4.
    std::os::unix::fs::FileExt::write_at(&memory, &u64::MAX.to_ne_bytes(), 4 * 128).unwrap();
    room.rounds();
    assert!(ended(&application), "it is told");
    assert_eq!(room.rings.snapshot().broken, 1);
    room.play(0..3);
    assert_eq!(room.workers[0].pipeline.stats().snapshot().io.send_failed, 3, "until control knows");
    room.apply(Command::DetachRing { leg: 2 }).unwrap();
    let mut application = room.attach();
    room.play(3..6);
    assert_eq!(heard(&mut application), packets(3..6));
    room.check();
}

#[test]
fn a_ring_moves_with_its_leg_and_with_what_is_in_it() {
    let mut room = Room::new(Protection::Plain);
    let mut application = room.attach();
    room.play(0..3);
    let put_both = |application: &mut ApplicationEnd, sequences| {
        for packet in packets(sequences) {
            application.put(&packet).unwrap();
        }
        application.flush();
    };
    put_both(&mut application, 100..103);
    let moved = put(&room.workers[0], Command::MoveLegs { legs: vec![1, 2], to: 1 });
    room.rounds();
    assert_eq!(moved.wait(Duration::ZERO), Some(Ok(())));
    put_both(&mut application, 103..106);
    room.play(3..6);
    room.rounds();
    assert_eq!(heard(&mut application), packets(0..6));
    assert_eq!(room.sent(), packets(100..106));
    let received =
        |worker: usize| room.workers[worker].pipeline.stats().snapshot().io.received[Path::Ring as usize];
    assert_eq!(received(0) + received(1), 6);
    assert!(received(1) >= 3);
    room.check();
}

#[test]
fn a_worker_that_sleeps_is_woken_by_the_application() {
    let mut room = Room::new(Protection::Plain);
    let mut application = room.attach();
    let mut worker = room.workers.remove(0);
    for round in 0..20_u16 {
        assert!(!worker.round());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(2));
                application.put(&rtp(round)).unwrap();
                application.flush();
            });
            worker.io.wait(Duration::from_secs(20));
        });
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(worker.round());
    }
    assert_eq!(room.sent().len(), 20);
}

#[test]
fn what_no_application_s_leg_can_be_is_refused() {
    let mut room = Room::new(Protection::Plain);
    let field = |error: CommandError| match error {
        CommandError::InvalidLeg { field, .. } => field,
        other => panic!("{other}"),
    };
    let (ring, application) = room.ring();
    assert_eq!(field(room.apply(Command::AttachRing { leg: 1, ring }).unwrap_err()), "ring");
    assert!(!application.hear());
    let told = Some(Signalled { rtp: peer(9), rtcp: None });
    let update = Command::UpdateLeg(LegUpdate { remote: told, ..LegUpdate::new(2) });
    assert_eq!(field(room.apply(update).unwrap_err()), "remote");
    type Change = fn(&mut LegSetup);
    let changes: [(&str, Change); 4] = [
        ("inbound", |setup| setup.inbound = Protection::Srtp),
        ("local", |setup| setup.local = ring_address(4)),
        ("remote", |setup| setup.remote = Some(peer(9))),
        ("rtcp", |setup| setup.rtcp = leg(3).rtp),
    ];
    for (name, change) in changes {
        let mut setup = LegSetup::for_application(3, Arc::default());
        change(&mut setup);
        assert_eq!(field(room.apply(Command::AddLeg(Box::new(setup))).unwrap_err()), name);
    }
}

/// Encryption makes packets longer, and a chunk that a packet just fits into has no room for that.
#[test]
fn a_packet_as_large_as_a_small_chunk_has_room_for_its_tag() {
    let mut room = Room::new(Protection::Srtp);
    let suite = Suite::AesCm128HmacSha1_80;
    let master = MasterKey::from_concatenated(suite, &[7; 30]).unwrap();
    let keys = vec![Arc::new(SessionKeys::derive(KeyId(1), &master, Mki::NONE, Lifetime::MAX).unwrap())];
    let direction = Direction::Outbound;
    room.apply(Command::InstallKeys {
        leg: 1,
        direction,
        keys,
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow: false,
    })
    .unwrap();
    let kind = SocketType::SEQPACKET;
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let (end, offer) = GatewayEnd::create(Geometry::new(SLOTS, 8192).unwrap(), near).unwrap();
    let mut application = ApplicationEnd::open(offer, far).unwrap();
    let ring = Box::new(Ring::new(end, Arc::clone(&room.rings)));
    room.apply(Command::AttachRing { leg: 2, ring }).unwrap();
    // Two, as the first of a source is held until the second one comes.
    for mut packet in packets(0..2) {
        packet.resize(sluice_io::SMALL - sluice_io::HEADROOM - 2, 1);
        application.put(&packet).unwrap();
    }
    application.flush();
    room.rounds();
    let lengths: Vec<_> = room.sent().iter().map(Vec::len).collect();
    assert_eq!(lengths, [sluice_io::SMALL - sluice_io::HEADROOM + 8; 2]);
    room.check();
}
