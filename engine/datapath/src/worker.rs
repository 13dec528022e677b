//! A worker's loop: commands → receive → process → transmit → housekeeping → wait.

use std::sync::Arc;
use std::time::Duration;

use sluice_io::{FrameBatch, PacketIo, Pool};

use crate::crossing::take_in_order;
use crate::inbox::{Envelope, Inbox, Notice};
use crate::pipeline::{BATCH, Origin, Pipeline};
use crate::{Command, DropReason};

/// Commands applied before packets get their turn.
const COMMANDS_PER_ROUND: usize = 64;
/// Longest sleep: how late housekeeping may be.
const NAP: Duration = Duration::from_millis(20);

/// One thread's worth of engine: packet I/O, packet memory, and the pipeline between.
pub(crate) struct Worker<P: PacketIo> {
    pub(crate) pipeline: Pipeline,
    pub(crate) io: P,
    pub(crate) pool: Pool,
    inbox: Arc<Inbox>,
    rx: FrameBatch,
}

impl<P: PacketIo> Worker<P> {
    pub(crate) fn new(pipeline: Pipeline, io: P, pool: Pool, inbox: Arc<Inbox>) -> Self {
        inbox.set_waker(io.waker());
        Self { pipeline, io, pool, inbox, rx: FrameBatch::new() }
    }

    /// Works until the inbox says stop.
    pub(crate) fn run(&mut self) {
        while !self.inbox.is_stopping() {
            if !self.round() {
                let io = &mut self.io;
                self.inbox.sleep_if_empty(|| io.wait(NAP));
            }
        }
        self.pipeline.clear(&mut self.pool);
    }

    /// One turn of everything; whether there was anything to do.
    pub(crate) fn round(&mut self) -> bool {
        let told = self.take_commands();
        let handed = self.take_handed_over();
        let Self { pipeline, io, pool, rx, .. } = self;
        io.receive(pool, rx);
        let received = !rx.is_empty();
        pipeline.process(rx, Origin::Io, pool, &mut |pool: &mut Pool, tx: &mut FrameBatch| {
            io.transmit(pool, tx);
        });
        if pipeline.keep_house(pool) {
            io.survey();
            pipeline.watch_overload(io.counters().overflowed());
        }
        while let Some(trouble) = io.take_trouble() {
            pipeline.hear(&trouble);
        }
        let stats = pipeline.stats();
        stats.rounds.add(1);
        stats.publish_io(&io.counters());
        told || handed || received
    }

    fn take_commands(&mut self) -> bool {
        let mut any = self.take_notices();
        for _ in 0..COMMANDS_PER_ROUND {
            let Some(Envelope { command, answer }) = self.inbox.commands.pop() else { break };
            any = true;
            let Self { pipeline, io, pool, .. } = self;
            match *command {
                // It is answered where they arrive.
                Command::MoveLegs { legs, to } => pipeline.send_off(&legs, to, answer, io, pool),
                command => answer.give(pipeline.apply(command, io, pool)),
            }
        }
        any
    }

    fn take_notices(&mut self) -> bool {
        let mut any = false;
        while let Some(notice) = self.inbox.notices.pop() {
            match notice {
                Notice::News(news) => self.pipeline.heed(news),
                Notice::Adopt(baggage) => self.pipeline.adopt(*baggage, &mut self.io, &mut self.pool),
            }
            any = true;
        }
        any
    }

    /// Takes over what other workers received for this one's legs.
    fn take_handed_over(&mut self) -> bool {
        let taken = take_in_order(self, Self::take_parcels, Self::take_notices);
        let Self { pipeline, io, pool, rx, .. } = self;
        pipeline.process(rx, Origin::Worker, pool, &mut |pool: &mut Pool, tx: &mut FrameBatch| {
            io.transmit(pool, tx);
        });
        taken > 0
    }

    /// At most a batch of them, copied into frames of this worker's.
    fn take_parcels(&mut self) -> usize {
        let Self { pipeline, pool, rx, inbox, .. } = self;
        let mut taken = 0;
        while taken < BATCH {
            let took = inbox.handoff.take(|ingress, datagram| {
                let frame = pool.alloc(datagram.len() + sluice_srtp::MAX_OVERHEAD);
                let Some(mut frame) = frame.or_else(|| pool.alloc(datagram.len())) else {
                    pipeline.stats().handed_in.add(1);
                    return pipeline.stats().dropped.count(DropReason::PoolEmpty);
                };
                frame.fill(datagram);
                frame.set_ingress(*ingress);
                // Has room: no more than a batch are taken, and it was empty.
                if let Err(frame) = rx.push(frame) {
                    pool.free(frame);
                }
            });
            if took.is_none() {
                break;
            }
            taken += 1;
        }
        taken
    }
}

#[cfg(test)]
mod indices;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod rings;

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use sluice_io::PoolConfig;
    use sluice_io::memory::{MemoryIo, Wire};
    use sluice_srtp::ReplayWindow;

    use super::*;
    use crate::ticket::{Answer, ticket};
    use crate::{
        Command, EarlyMedia, Latching, LegSetup, LegStats, Limits, Protection, RouteOptions, Shared, Ticket,
        Tuning,
    };

    pub(super) fn limits() -> Limits {
        Limits { legs: 8, routes: 8, streams: 8, egress_contexts: 8, handoff: 16, ..Limits::default() }
    }

    pub(super) fn worker(number: usize, shared: &Shared) -> (Worker<MemoryIo>, Wire) {
        let (io, wire) = MemoryIo::new().unwrap();
        let pool = Pool::new(PoolConfig { small: 64, large: 4 }).unwrap();
        let clock = sluice_io::clock::now;
        let pipeline = Pipeline::new(number, limits(), Tuning::default(), shared.clone(), clock);
        (Worker::new(pipeline, io, pool, Arc::clone(&shared.inboxes[number])), wire)
    }

    pub(super) fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 9], port).into()
    }

    pub(super) fn leg(id: u32) -> Box<LegSetup> {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        Box::new(LegSetup {
            leg: id,
            local: socket.local_addr().unwrap(),
            rtp: Some(socket),
            rtcp: None,
            remote: Some(peer(id as u16)),
            rtcp_remote: None,
            latching: Latching::Never,
            inbound: Protection::Plain,
            outbound: Protection::Plain,
            window: ReplayWindow::default(),
            payload_types: None,
            max_streams: 4,
            roc_trials: 0,
            early_media: EarlyMedia::Drop,
            dscp: 0,
            sharing: None,
            stats: Arc::new(LegStats::new()),
        })
    }

    pub(super) fn put(worker: &Worker<MemoryIo>, command: Command) -> Ticket {
        let (ticket, answer): (Ticket, Answer) = ticket();
        let envelope = Envelope { command: Box::new(command), answer };
        assert!(worker.inbox.commands.push(envelope).is_ok());
        ticket
    }

    pub(super) fn rtp(sequence: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3];
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet
    }

    /// Two workers; the first owns legs 1 and 2 with a route between them. The local address of leg 1.
    pub(super) fn pair() -> (Worker<MemoryIo>, Wire, Worker<MemoryIo>, Wire, SocketAddr) {
        let (shared, _events) = Shared::new(&limits(), 2);
        let (mut owner, owner_wire) = worker(0, &shared);
        let (other, other_wire) = worker(1, &shared);
        let (one, two) = (leg(1), leg(2));
        let local = one.local;
        let options = RouteOptions::default();
        let tickets = [
            put(&owner, Command::AddLeg(one)),
            put(&owner, Command::AddLeg(two)),
            put(&owner, Command::AddRoute { route: 1, from: 1, to: 2, options }),
        ];
        owner.round();
        for ticket in tickets {
            assert_eq!(ticket.wait(Duration::ZERO), Some(Ok(())));
        }
        (owner, owner_wire, other, other_wire, local)
    }

    #[test]
    fn datagrams_that_reach_another_worker_are_handed_to_the_owner_and_none_is_lost() {
        let (mut owner, owner_wire, mut other, other_wire, local) = pair();
        for sequence in 0..10 {
            other_wire.send(peer(1), local, &rtp(sequence));
        }
        other.round();
        owner.round();
        let sent: Vec<_> = owner_wire.sent().into_iter().map(|sent| sent.payload).collect();
        assert_eq!(sent, (0..10).map(rtp).collect::<Vec<_>>());
        let (from, to) = (other.pipeline.stats().snapshot(), owner.pipeline.stats().snapshot());
        assert_eq!((from.received, from.handed_out, to.handed_in, to.sent), (10, 10, 10, 10));
        assert_eq!((from.unaccounted(), to.unaccounted()), (0, 0));
        assert_eq!((other.pool.outstanding(), owner.pool.outstanding()), (0, 0));
    }

    #[test]
    fn a_datagram_that_is_handed_over_allocates_nothing() {
        let (mut owner, owner_wire, mut other, other_wire, local) = pair();
        // What is sent in memory is kept, and allocated.
        owner_wire.refuse_sends(true);
        let mut play = |sequences: std::ops::Range<u16>| {
            sequences.for_each(|sequence| other_wire.send(peer(1), local, &rtp(sequence)));
            allocation_counter::measure(|| {
                other.round();
                owner.round();
            })
        };
        play(0..4);
        let allocations = play(4..14);
        assert_eq!(allocations.count_total, 0, "{allocations:?}");
        let (from, to) = (other.pipeline.stats().snapshot(), owner.pipeline.stats().snapshot());
        assert_eq!((from.handed_out, to.handed_in, to.sent), (14, 14, 14));
    }

    #[test]
    fn what_an_owner_does_not_keep_up_with_is_counted() {
        let (_owner, _, mut other, other_wire, local) = pair();
        for sequence in 0..40 {
            other_wire.send(peer(1), local, &rtp(sequence));
        }
        other.round();
        let stats = other.pipeline.stats().snapshot();
        assert_eq!((stats.handed_out, stats.dropped.get(DropReason::HandoffFull)), (14, 26));
        assert_eq!(stats.unaccounted(), 0);
    }

    #[test]
    fn a_removed_leg_is_no_longer_handed_over() {
        let (mut owner, _, mut other, other_wire, local) = pair();
        let removed = put(&owner, Command::RemoveLeg { leg: 1 });
        owner.round();
        assert_eq!(removed.wait(Duration::ZERO), Some(Ok(())));
        other_wire.send(peer(1), local, &rtp(1));
        other.round();
        let stats = other.pipeline.stats().snapshot();
        assert_eq!((stats.handed_out, stats.dropped.get(DropReason::UnknownLeg)), (0, 1));
    }

    #[test]
    fn a_sleeping_worker_wakes_for_a_command_and_ends_when_told() {
        let (shared, _events) = Shared::new(&limits(), 1);
        let (mut worker, wire) = worker(0, &shared);
        let inbox = Arc::clone(&worker.inbox);
        let thread = std::thread::spawn(move || {
            worker.run();
            worker.pool.outstanding()
        });
        for id in 1..5 {
            std::thread::sleep(Duration::from_millis(5));
            let (ticket, answer) = ticket();
            let envelope = Envelope { command: Box::new(Command::AddLeg(leg(id))), answer };
            assert!(inbox.commands.push(envelope).is_ok());
            inbox.wake();
            assert_eq!(ticket.wait(Duration::from_secs(5)), Some(Ok(())));
        }
        wire.send(peer(1), peer(2), b"nobody's");
        inbox.stop();
        assert_eq!(thread.join().unwrap(), 0);
    }
}
