//! What a worker knows of a stream that it receives, and of one that it sends.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_io::Frame;
use sluice_srtp::{Contexts, Inbound, KeyId, Outbound, Position, SessionKeys};

use crate::probation::Probation;
use crate::table::Slab;
use crate::{DropReason, RouteOptions};

/// An SSRC that a leg receives.
pub(crate) struct Stream {
    /// The leg's place in its table.
    pub(crate) leg: u32,
    pub(crate) ssrc: u32,
    pub(crate) phase: Phase,
    /// `None` on a plain leg.
    pub(crate) inbound: Option<Inbound>,
    /// Of a plain leg; `None` until the first RTP packet.
    pub(crate) probation: Option<Probation>,
    /// The packet that waits for its successor.
    pub(crate) held: Option<Held>,
    /// Where plain RTP comes from.
    pub(crate) source: Option<SocketAddr>,
    /// The leg's `version` that `bindings` are for.
    pub(crate) version: u32,
    pub(crate) bindings: Vec<Binding>,
    /// Whether any RTP was accepted since the stream began or came back.
    pub(crate) started: bool,
    pub(crate) last_seen: u64,
    /// The batch that last had a packet of the stream: while it is under way, the stream stays.
    pub(crate) batch: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// A stream's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has authenticated yet, or passed probation: gone after this batch, or soon.
    Provisional,
    /// Known to be the peer's.
    Active,
    /// Idle for long. Its context stays, since the replay list must outlast a pause; it goes when others need
    /// room, or when it is stale. Where it stood is then remembered.
    Stopped,
}

/// A packet on probation.
pub(crate) struct Held {
    pub(crate) frame: Frame,
    pub(crate) since: u64,
}

impl Stream {
    pub(crate) const fn new(leg: u32, ssrc: u32, inbound: Option<Inbound>) -> Self {
        Self {
            leg,
            ssrc,
            phase: Phase::Provisional,
            inbound,
            probation: None,
            held: None,
            source: None,
            version: 0,
            bindings: Vec::new(),
            started: false,
            last_seen: 0,
            batch: 0,
            packets: 0,
            bytes: 0,
        }
    }
}

/// Where a route takes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The route's place in its table.
    pub(crate) route: u32,
    /// The egress leg's place in its table.
    pub(crate) to: u32,
    pub(crate) target: Target,
    /// The SSRC under which the stream is sent, if not its own.
    pub(crate) rewrite: Option<u32>,
    /// Whether the route changes more of headers than the SSRC.
    pub(crate) changes: bool,
    /// Why RTP is not sent, if it is not.
    pub(crate) held_back: Option<DropReason>,
}

/// How a stream is sent along a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// As it is.
    Plain,
    /// By a context for sending: its place in the table.
    Context(u32),
    /// Not at all.
    Refused(DropReason),
}

/// What remains of an SSRC that was sent under a key: enough to go on under it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) position: Position,
    /// RTP and RTCP packets, which count against the key's lifetime.
    pub(crate) used: (u64, u64),
}

/// An SSRC that is sent under a key: by one leg, or by several that share the key.
pub(crate) struct Egress {
    /// The SSRC as sent.
    pub(crate) ssrc: u32,
    /// The SSRC as received, and the leg that receives it.
    pub(crate) source: (u32, u32),
    pub(crate) key: KeyId,
    pub(crate) outbound: Outbound,
    /// The key is about to expire once fewer packets than these remain (RTP, RTCP).
    pub(crate) expiring: (u64, u64),
    /// Bindings that have it as their target.
    pub(crate) users: u32,
    /// Of legs that share the key: what is done to packets before they are protected, once for all.
    pub(crate) shared: Option<Arc<RouteOptions>>,
}

impl Contexts<Inbound> for Slab<Stream> {
    fn get(&self, index: usize) -> Option<&Inbound> {
        Self::get(self, index as u32)?.inbound.as_ref()
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut Inbound> {
        Self::get_mut(self, index as u32)?.inbound.as_mut()
    }

    fn prefetch(&self, index: usize) {
        Self::prefetch(self, index as u32);
    }
}

impl Contexts<Outbound> for Slab<Egress> {
    fn get(&self, index: usize) -> Option<&Outbound> {
        Some(&Self::get(self, index as u32)?.outbound)
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut Outbound> {
        Some(&mut Self::get_mut(self, index as u32)?.outbound)
    }

    fn prefetch(&self, index: usize) {
        Self::prefetch(self, index as u32);
    }
}

/// The remaining packets (RTP, RTCP) below which a key is about to expire.
pub(crate) fn expiring_below(keys: &SessionKeys, percent: u8) -> (u64, u64) {
    let left = u64::from(100 - percent.min(100));
    let share = |packets: u64| packets / 100 * left + packets % 100 * left / 100;
    (share(keys.lifetime().rtp_packets), share(keys.lifetime().rtcp_packets))
}
