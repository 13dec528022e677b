//! Legs that move between workers: nothing is lost, nothing is sent twice, no index is repeated.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluice_io::memory::{MemoryIo, Sent, Wire};
use sluice_srtp::{
    Inbound, Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys,
    Suite, protect, unprotect,
};

use super::tests::{leg, limits, pair, peer, put, rtp, worker};
use super::*;
use crate::{
    CommandError, Direction, EarlyCount, EarlyMedia, LegId, LegUpdate, Limits, OnSsrcClash, Protection,
    RocOnRekey, RouteOptions, Shared, Ticket,
};

fn keys(id: u64) -> Arc<SessionKeys> {
    let master = MasterKey::from_concatenated(Suite::AesCm128HmacSha1_80, &[id as u8; 30]).unwrap();
    Arc::new(SessionKeys::derive(KeyId(id), &master, Mki::NONE, Lifetime::MAX).unwrap())
}

fn done(ticket: &Ticket) -> Option<Result<(), CommandError>> {
    ticket.wait(Duration::ZERO)
}

fn move_legs(worker: &Worker<MemoryIo>, legs: &[LegId], to: usize) -> Ticket {
    put(worker, Command::MoveLegs { legs: legs.to_vec(), to })
}

/// Makes legs 1 (SRTP in, key 1) and 2 (SRTP out, key 2) with a route between them on the worker; where 1 is.
fn call(owner: &mut Worker<MemoryIo>, options: RouteOptions) -> SocketAddr {
    let (mut one, mut two) = (leg(1), leg(2));
    (one.inbound, two.outbound) = (Protection::Srtp, Protection::Srtp);
    let local = one.local;
    let install = |leg, direction| Command::InstallKeys {
        leg,
        direction,
        keys: vec![keys(leg.into())],
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow: false,
    };
    let commands = [
        Command::AddLeg(one),
        Command::AddLeg(two),
        install(1, Direction::Inbound),
        install(2, Direction::Outbound),
        Command::AddRoute { route: 1, from: 1, to: 2, options },
    ];
    let tickets = commands.map(|command| put(owner, command));
    owner.round();
    assert!(tickets.iter().all(|ticket| done(ticket) == Some(Ok(()))));
    local
}

/// The peers of such a call.
struct Ends {
    sends: [Outbound; 1],
    hears: HashMap<u32, [Inbound; 1]>,
}

impl Ends {
    fn new() -> Self {
        Self { sends: [Outbound::new(9, keys(1), 0)], hears: HashMap::new() }
    }

    fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = [packet, &[0; MAX_OVERHEAD]].concat();
        let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, packet.len())];
        protect(&mut self.sends[..], &mut jobs);
        let len = jobs[0].len;
        buffer.truncate(len);
        buffer
    }

    /// The sequence number of what was sent, which is authentic and was never heard before.
    fn hear(&mut self, sent: Sent) -> u16 {
        let mut buffer = sent.payload;
        let ssrc = sluice_srtp::rtp::ssrc(&buffer).unwrap();
        let window = ReplayWindow::new(32_768).unwrap();
        let context = self.hears.entry(ssrc).or_insert_with(|| [Inbound::new(ssrc, keys(2), window, 0)]);
        let len = buffer.len();
        let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, len)];
        unprotect(&mut context[..], &mut jobs);
        assert_eq!(jobs[0].result, Ok(()));
        u16::from_be_bytes([buffer[2], buffer[3]])
    }
}

/// Long enough for anything to get from one to the other and back.
fn rounds(workers: &mut [Worker<MemoryIo>]) {
    for _ in 0..3 {
        for worker in &mut *workers {
            worker.round();
        }
    }
}

#[test]
fn a_call_moves_between_packets_and_its_contexts_go_on() {
    for options in [
        RouteOptions::default(),
        RouteOptions { ssrcs: vec![(9, 90)], on_ssrc_clash: OnSsrcClash::Rewrite, ..RouteOptions::default() },
    ] {
        let (shared, _events) = Shared::new(&limits(), 2);
        let (mut workers, wires): (Vec<_>, Vec<_>) = (0..2).map(|n| worker(n, &shared)).unzip();
        let local = call(&mut workers[0], options);
        let mut ends = Ends::new();
        let mut heard = Vec::new();
        for sequence in 65_500..65_560_u32 {
            // The packets' queue changes by itself, and every ten packets so does the call's worker.
            wires[(sequence % 3 == 0) as usize].send(peer(1), local, &ends.protect(&rtp(sequence as u16)));
            rounds(&mut workers);
            if sequence % 10 == 0 {
                let from = (sequence / 10 % 2) as usize;
                let ticket = move_legs(&workers[from], &[1, 2], 1 - from);
                rounds(&mut workers);
                assert_eq!(done(&ticket), Some(Ok(())), "{sequence}");
            }
            heard.extend(wires.iter().flat_map(Wire::sent).map(|sent| ends.hear(sent)));
        }
        assert_eq!(heard, (65_500..65_560_u32).map(|n| n as u16).collect::<Vec<_>>());
        let stats: Vec<_> = workers.iter().map(|worker| worker.pipeline.stats().snapshot()).collect();
        assert!(stats.iter().all(|stats| stats.unaccounted() == 0 && stats.handed_out > 0), "{stats:?}");
        let sums = [stats[0].legs + stats[1].legs, stats[0].routes + stats[1].routes];
        assert_eq!((sums, stats[0].egress_contexts + stats[1].egress_contexts), ([2, 1], 1));
        assert!(workers.iter().all(|worker| worker.pool.outstanding() == 0));
    }
}

#[test]
fn a_packet_on_probation_moves_along() {
    let (mut owner, owner_wire, mut other, other_wire, local) = pair();
    owner_wire.send(peer(1), local, &rtp(1));
    owner.round();
    let ticket = move_legs(&owner, &[1, 2], 1);
    owner.round();
    other.round();
    assert_eq!(done(&ticket), Some(Ok(())));
    other_wire.send(peer(1), local, &rtp(2));
    other.round();
    let sent: Vec<_> = other_wire.sent().into_iter().map(|sent| sent.payload).collect();
    assert_eq!(sent, [rtp(1), rtp(2)]);
    let (from, to) = (owner.pipeline.stats().snapshot(), other.pipeline.stats().snapshot());
    assert_eq!((from.unaccounted(), to.unaccounted(), from.held, to.held), (0, 0, 0, 0));
}

#[test]
fn media_that_waits_for_its_key_moves_along_and_plays_out_where_the_leg_is_then() {
    media_moves_along(false);
}

#[test]
fn media_that_waits_for_another_key_than_its_leg_has_moves_along_as_well() {
    media_moves_along(true);
}

/// Of leg 1, which awaits key 1: its first one, or another than the one that it has.
fn media_moves_along(rekeying: bool) {
    let (shared, _events) = Shared::new(&limits(), 2);
    let (mut workers, wires): (Vec<_>, Vec<_>) = (0..2).map(|n| worker(n, &shared)).unzip();
    let (mut one, two) = (leg(1), leg(2));
    one.inbound = Protection::Srtp;
    one.early_media = EarlyMedia::Hold { packets: 8, time: Duration::from_secs(5) };
    let (local, stats) = (one.local, Arc::clone(&one.stats));
    let install = |key| Command::InstallKeys {
        leg: 1,
        direction: Direction::Inbound,
        keys: vec![keys(key)],
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow: false,
    };
    let route = Command::AddRoute { route: 1, from: 1, to: 2, options: RouteOptions::default() };
    let mut commands = vec![Command::AddLeg(one), Command::AddLeg(two), route];
    if rekeying {
        let update = LegUpdate { rekeying: Some(true), ..LegUpdate::new(1) };
        commands.extend([install(3), Command::UpdateLeg(update)]);
    }
    let tickets: Vec<_> = commands.into_iter().map(|command| put(&workers[0], command)).collect();
    workers[0].round();
    assert!(tickets.iter().all(|ticket| done(ticket) == Some(Ok(()))));
    let mut ends = Ends::new();
    for sequence in 1..4 {
        wires[0].send(peer(1), local, &ends.protect(&rtp(sequence)));
    }
    workers[0].round();
    let ticket = move_legs(&workers[0], &[1, 2], 1);
    rounds(&mut workers);
    assert_eq!(done(&ticket), Some(Ok(())));
    // The packets' queue does not change.
    wires[0].send(peer(1), local, &ends.protect(&rtp(4)));
    rounds(&mut workers);
    assert_eq!(stats.snapshot().early.held, 4);
    let ticket = put(&workers[1], install(1));
    rounds(&mut workers);
    assert_eq!(done(&ticket), Some(Ok(())));
    let sent: Vec<_> = wires[1].sent().into_iter().map(|sent| sent.payload).collect();
    assert_eq!(sent, (1..5).map(rtp).collect::<Vec<_>>());
    let counted = EarlyCount { held: 0, total: 4, released: 4, evicted: 0 };
    assert_eq!(stats.snapshot().early, counted);
    let [from, to] = [0, 1].map(|n| workers[n].pipeline.stats().snapshot());
    assert_eq!((from.early, to.early), (EarlyCount::default(), counted));
    assert_eq!((from.unaccounted(), to.unaccounted()), (0, 0));
    assert!(workers.iter().all(|worker| worker.pool.outstanding() == 0));
}

#[test]
fn what_cannot_move_stays_and_says_why() {
    let (mut owner, owner_wire, mut other, _, local) = pair();
    let tickets = [
        move_legs(&owner, &[1], 1),
        move_legs(&owner, &[1, 2, 3], 1),
        move_legs(&owner, &[1, 2], 7),
        move_legs(&owner, &[1, 2], 0),
    ];
    owner.round();
    assert_eq!(done(&tickets[0]), Some(Err(CommandError::RouteLeaves { leg: 1, route: 1 })));
    assert_eq!(done(&tickets[1]), Some(Err(CommandError::UnknownLeg(3))));
    assert_eq!(done(&tickets[2]), Some(Err(CommandError::NoSuchWorker(7))));
    assert_eq!(done(&tickets[3]), Some(Ok(())), "where it is");
    other.round();
    for sequence in 1..4 {
        owner_wire.send(peer(1), local, &rtp(sequence));
    }
    owner.round();
    assert_eq!(owner_wire.sent().len(), 3);
}

#[test]
fn a_worker_without_room_sends_legs_back() {
    let (shared, _events) = Shared::new(&limits(), 2);
    let (mut owner, owner_wire) = worker(0, &shared);
    let (mut other, other_wire) = worker(1, &shared);
    let local = call(&mut owner, RouteOptions::default());
    let Limits { legs, .. } = limits();
    for id in 100..100 + legs as u32 {
        drop(put(&other, Command::AddLeg(leg(id))));
    }
    other.round();
    let mut ends = Ends::new();
    owner_wire.send(peer(1), local, &ends.protect(&rtp(1)));
    owner.round();
    let ticket = move_legs(&owner, &[1, 2], 1);
    owner.round();
    // On their way: what comes now waits for them.
    other_wire.send(peer(1), local, &ends.protect(&rtp(2)));
    owner_wire.send(peer(1), local, &ends.protect(&rtp(3)));
    for _ in 0..3 {
        owner.round();
        other.round();
    }
    assert_eq!(done(&ticket), Some(Err(CommandError::TooManyLegs(legs))));
    let mut heard: Vec<_> = owner_wire.sent().into_iter().map(|sent| ends.hear(sent)).collect();
    heard.sort_unstable();
    assert_eq!(heard, [1, 2, 3]);
    let unaccounted = [&owner, &other].map(|worker| worker.pipeline.stats().snapshot().unaccounted());
    assert_eq!(unaccounted, [0, 0]);
}

/// Two workers on threads of their own, media on both, and a call that moves all the time.
#[test]
fn a_call_that_moves_all_the_time_loses_nothing_and_repeats_nothing() {
    const PACKETS: u32 = 20_000;
    let limits = Limits { handoff: 4096, ..limits() };
    let (shared, _events) = Shared::new(&limits, 2);
    let (mut workers, wires): (Vec<_>, Vec<_>) = (0..2).map(|n| worker(n, &shared)).unzip();
    let local = call(&mut workers[0], RouteOptions::default());
    let inboxes: Vec<_> = workers.iter().map(|worker| Arc::clone(&worker.inbox)).collect();
    let finished = AtomicBool::new(false);
    let (mut ends, mut moves) = (Ends::new(), 0);
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|mut worker| {
                scope.spawn(move || {
                    worker.run();
                    let stats = worker.pipeline.stats().snapshot();
                    (stats.unaccounted(), stats.dropped.iter().map(|(_, count)| count).sum::<u64>())
                })
            })
            .collect();
        let mover = scope.spawn(|| {
            while !finished.load(Ordering::Relaxed) {
                let (ticket, answer) = crate::ticket::ticket();
                let command = Box::new(Command::MoveLegs { legs: vec![1, 2], to: 1 - moves % 2 });
                assert!(inboxes[moves % 2].commands.push(Envelope { command, answer }).is_ok());
                inboxes[moves % 2].wake();
                assert_eq!(ticket.wait(Duration::from_secs(10)), Some(Ok(())));
                moves += 1;
            }
        });
        let mut heard = vec![0_u8; 1 << 16];
        let mut got = 0;
        for sequence in 0..PACKETS {
            wires[(sequence / 7 % 2) as usize].send(peer(1), local, &ends.protect(&rtp(sequence as u16)));
            // Never more under way than the queues hold.
            while sequence + 1 - got > 48 {
                for sent in wires.iter().flat_map(Wire::sent) {
                    heard[usize::from(ends.hear(sent))] += 1;
                    got += 1;
                }
                std::thread::yield_now();
            }
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while got < PACKETS && std::time::Instant::now() < deadline {
            for sent in wires.iter().flat_map(Wire::sent) {
                heard[usize::from(ends.hear(sent))] += 1;
                got += 1;
            }
        }
        finished.store(true, Ordering::Relaxed);
        mover.join().unwrap();
        for inbox in &inboxes {
            inbox.stop();
        }
        assert!(heard[..PACKETS as usize].iter().all(|times| *times == 1), "{got} of {PACKETS}");
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(counts, [(0, 0), (0, 0)], "nothing is unaccounted for, and nothing was dropped");
    assert!(moves > 20, "{moves} moves");
}
