//! How much memory a worker takes, computed from its types and limits: what is stated can be checked.

use sluice_classifier::LocalKey;
use sluice_io::{PoolConfig, live};
use sluice_srtp::{KeyId, ReplayWindow, SessionKeys};

use crate::config::{EngineConfig, Limits};
use crate::counters::{LegStats, WorkerStats};
use crate::early::Store;
use crate::handoff::Handoff;
use crate::inbox::Envelope;
use crate::leg::Leg;
use crate::pipeline::{MAX_PORTS, PROVISIONAL, Pipeline};
use crate::port::{Finder, Port};
use crate::route::{Changes, Route};
use crate::stream::{Binding, Egress, Parked, Stream};
use crate::table::{Index, Slab};
use crate::{Command, Event, RouteOptions};

/// What a vector of small numbers takes for its first entries.
const FIRST_ENTRIES: usize = 4;
/// A worker knows so many others, to wake them.
const MOST_WORKERS: usize = 1024;
/// An `Arc`'s two counters.
const ARC: usize = 2 * size_of::<usize>();
/// A standard hash table takes room for up to 16 entries for every 7 in it, and an octet for each.
const fn hashed(entry: usize) -> usize {
    (entry + 1) * 16 / 7
}

/// Memory that a worker sets aside at its start, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerMemory {
    /// Packets: the chunks of its pool.
    pub packets: u64,
    /// Rings to the kernel, and books of what is in them.
    pub io: u64,
    /// Room for legs, routes, streams and contexts, up to the limits. What was never used of it is not resident, but for
    /// the indices, about a third.
    pub tables: u64,
    /// Queues of commands, and of datagrams from other workers.
    pub queues: u64,
}

impl WorkerMemory {
    /// Of a worker that serves so many receive queues by AF_XDP.
    pub const fn of(config: &EngineConfig, queues: usize) -> Self {
        let pool = PoolConfig { small: config.small_chunks, large: config.large_chunks };
        Self {
            packets: pool.bytes() as u64,
            io: live::bytes(pool, queues) as u64,
            tables: tables(&config.limits) as u64,
            queues: inbox(&config.limits) as u64,
        }
    }

    /// All of it.
    pub const fn total(&self) -> u64 {
        self.packets + self.io + self.tables + self.queues
    }
}

/// What one more of each takes beside its place in the tables, in bytes, at the most. Control's own books of legs, and
/// the kernel's of sockets, are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Each {
    /// A leg with a local port of its own, with rtcp-mux and few routes and keys.
    pub leg: u64,
    /// A received stream with few routes.
    pub stream: u64,
    /// A context for sending: one for each stream and leg that sends it as SRTP, or for all legs that share a key.
    pub context: u64,
    /// A route without choices.
    pub route: u64,
    /// A master key of a suite of AES-CM or AES-GCM.
    pub key: u64,
}

impl Each {
    /// Of legs with this replay window and so many streams at most.
    pub const fn of(window: ReplayWindow, max_streams: u16) -> Self {
        let numbers = FIRST_ENTRIES * size_of::<u32>();
        let stats = align_of::<LegStats>() + size_of::<LegStats>();
        let keys = FIRST_ENTRIES * size_of::<usize>();
        let superseded = FIRST_ENTRIES * size_of::<KeyId>();
        let leg = stats + 3 * numbers + keys + superseded + max_streams as usize * size_of::<u32>();
        let windows = if window.packets() <= 128 { 0 } else { 2 * window.packets() as usize / 8 };
        let claims = hashed(size_of::<(u32, Option<Parked>)>()) * FIRST_ENTRIES;
        Self {
            leg: (leg + live::bytes_per_socket()) as u64,
            stream: (FIRST_ENTRIES * size_of::<Binding>() + windows) as u64,
            context: (claims + hashed(size_of::<(KeyId, [usize; 6])>())) as u64,
            route: (ARC + size_of::<RouteOptions>()) as u64,
            key: (ARC + size_of::<SessionKeys>()) as u64,
        }
    }

    /// What the tables of header changes of a route add, if it has any.
    pub const CHANGES: u64 = size_of::<Changes>() as u64;
}

/// Places in the tables for one of each, in bytes, with their share of indices that are a power of two and half full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// A leg.
    pub leg: u64,
    /// A stream.
    pub stream: u64,
    /// A context for sending.
    pub context: u64,
    /// A route.
    pub route: u64,
}

impl Place {
    /// One of each.
    pub const ONE: Self = {
        // Of a power of two, so that nothing is rounded up.
        const MANY: usize = 1 << 16;
        let finder = Finder::bytes(MANY, 0);
        let leg = Slab::<Leg>::bytes(MANY) + Index::<u32>::bytes(MANY) + Index::<LocalKey>::bytes(2 * MANY);
        let stream = Slab::<Stream>::bytes(MANY) + 2 * Index::<(u32, u32)>::bytes(MANY);
        let indices = Index::<(KeyId, u32)>::bytes(MANY) + Index::<(u32, u32)>::bytes(MANY);
        let context = Slab::<Egress>::bytes(MANY) + indices;
        let route = Slab::<Route>::bytes(MANY) + Index::<u32>::bytes(MANY);
        Self {
            leg: ((leg + finder) / MANY) as u64,
            stream: (stream / MANY) as u64,
            context: (context / MANY) as u64,
            route: (route / MANY) as u64,
        }
    };
}

const fn tables(limits: &Limits) -> usize {
    let Limits { legs, routes, streams, egress_contexts, early_packets, .. } = *limits;
    let all_streams = streams + PROVISIONAL;
    Slab::<Leg>::bytes(legs)
        + Index::<u32>::bytes(legs)
        + Index::<LocalKey>::bytes(2 * legs + MAX_PORTS)
        + Slab::<Port>::bytes(MAX_PORTS)
        + Index::<u32>::bytes(MAX_PORTS)
        + Finder::bytes(legs, streams)
        + Slab::<Route>::bytes(routes)
        + Index::<u32>::bytes(routes)
        + Slab::<Stream>::bytes(all_streams)
        + Index::<(u32, u32)>::bytes(all_streams)
        + Slab::<Egress>::bytes(egress_contexts)
        + Index::<(KeyId, u32)>::bytes(egress_contexts)
        + Index::<(u32, u32)>::bytes(egress_contexts)
        + Store::bytes(early_packets)
        + align_of::<WorkerStats>()
        + size_of::<WorkerStats>()
        + size_of::<Pipeline>()
        + MOST_WORKERS * size_of::<usize>()
}

const fn inbox(limits: &Limits) -> usize {
    // A crossbeam slot has a stamp beside the value; commands in the queue are on the heap.
    let slot = size_of::<usize>() + size_of::<Envelope>() + size_of::<Command>();
    let commands = if limits.commands == 0 { 1 } else { limits.commands };
    Handoff::bytes(limits.handoff) + commands * slot
}

/// Memory of the queue of events and of what the two-time-pad guard remembers, of all workers together, in bytes, at the
/// most; datagrams of negotiations come on top of their events.
pub(crate) const fn in_common(limits: &Limits) -> u64 {
    let events = if limits.events == 0 { 1 } else { limits.events };
    let parked = hashed(size_of::<(u32, Option<Parked>)>()) + 2 * size_of::<(KeyId, u32)>();
    (events * (size_of::<usize>() + size_of::<Event>()) + limits.parked_contexts * parked) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Shared;
    use crate::{Tuning, inbox::Inbox};

    /// Bytes that are allocated by `make` and live as long as what it makes.
    fn measured<T>(make: impl FnOnce() -> T) -> u64 {
        let mut made = None;
        let allocations = allocation_counter::measure(|| made = Some(make()));
        drop(made);
        u64::try_from(allocations.bytes_current).unwrap()
    }

    fn assert_states(stated: u64, measured: u64) {
        assert!(
            measured <= stated && stated <= measured + measured / 8,
            "{measured} measured, {stated} stated"
        );
    }

    #[test]
    fn tables_and_queues_take_what_is_stated() {
        for limits in [
            Limits::default(),
            Limits { legs: 1000, routes: 3000, streams: 2000, egress_contexts: 500, ..Limits::default() },
        ] {
            let (shared, _events) = Shared::new(&limits, 1);
            let clock = sluice_io::clock::now;
            let make = || Pipeline::new(0, limits, Tuning::default(), shared.clone(), clock);
            assert_states(tables(&limits) as u64 - size_of::<Pipeline>() as u64, measured(make));
            let empty = limits.commands * (size_of::<Command>());
            assert_states((inbox(&limits) - empty) as u64, measured(|| Inbox::new(&limits)));
        }
    }

    #[test]
    fn places_make_up_the_tables() {
        let limits = Limits {
            legs: 1 << 14,
            routes: 1 << 14,
            streams: 1 << 14,
            egress_contexts: 1 << 14,
            ..Limits::default()
        };
        let Place { leg, stream, context, route } = Place::ONE;
        let sum = (leg + stream + context + route) << 14;
        let all = tables(&limits) as u64;
        // The rest is for shared ports, for streams that have to prove themselves, and what indices round up for those.
        assert!(sum <= all && all <= 2 * sum, "{sum} of {all}");
    }
}
