//! A worker's loop: commands → receive → process → transmit → housekeeping → wait.

use std::sync::Arc;
use std::time::Duration;

use sluice_io::{FrameBatch, PacketIo, Pool};

use crate::DropReason;
use crate::inbox::{Envelope, Inbox};
use crate::pipeline::{BATCH, Origin, Pipeline};

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
        pipeline.keep_house(pool);
        let stats = pipeline.stats();
        stats.rounds.add(1);
        stats.publish_io(&io.counters());
        told || handed || received
    }

    fn take_commands(&mut self) -> bool {
        let mut any = false;
        while let Some(notice) = self.inbox.notices.pop() {
            self.pipeline.heed(notice);
            any = true;
        }
        for _ in 0..COMMANDS_PER_ROUND {
            let Some(Envelope { command, answer }) = self.inbox.commands.pop() else { break };
            answer.give(self.pipeline.apply(*command, &mut self.io, &mut self.pool));
            any = true;
        }
        any
    }

    /// Takes over what other workers received for this one's legs.
    fn take_handed_over(&mut self) -> bool {
        let Self { pipeline, io, pool, rx, inbox } = self;
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
        pipeline.process(rx, Origin::Worker, pool, &mut |pool: &mut Pool, tx: &mut FrameBatch| {
            io.transmit(pool, tx);
        });
        taken > 0
    }
}
