//! What a worker knows of a leg.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use sluice_classifier::Policy;
use sluice_io::{Component, NextHop, SocketToken, application_address};
use sluice_srtp::{Inbound, KeyId, ReplayWindow, RocOnRekey, SessionKeys};

use crate::config::Tuning;
use crate::counters::{LegCounters, LegStats};
use crate::early::Line;
use crate::expected::{Expected, PER_STREAM};
use crate::port::Port;
use crate::rate::{Bucket, Burst, Notices, PathTracker};
use crate::{
    Direction, DropReason, EarlyMedia, Latching, LegId, LegSetup, PayloadTypes, Protection, Sharing,
    Signalled,
};

/// One transport component of a leg: a local port and the peer's.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) local: SocketAddr,
    pub(crate) policy: Policy,
    pub(crate) remote: Option<SocketAddr>,
    /// Whether `remote` comes from signalling.
    pub(crate) signalled: bool,
    pub(crate) next_hop: Option<NextHop>,
    /// Whether the resolver has yet to hear of `remote`.
    pub(crate) unresolved: bool,
}

impl Transport {
    fn new(local: SocketAddr, policy: Policy, remote: Option<SocketAddr>) -> Self {
        Self {
            local,
            policy,
            remote,
            signalled: remote.is_some(),
            next_hop: None,
            unresolved: remote.is_some(),
        }
    }

    pub(crate) fn set_remote(&mut self, remote: SocketAddr, signalled: bool) {
        if self.remote != Some(remote) {
            (self.next_hop, self.unresolved) = (None, true);
        }
        (self.remote, self.signalled) = (Some(remote), signalled);
    }

    #[inline]
    pub(crate) fn is_remote(&self, source: &SocketAddr) -> bool {
        self.remote.is_some_and(|remote| same_endpoint(&remote, source))
    }
}

/// Scope and flow label of IPv6 tell no peers apart, and AF_XDP does not know them.
pub(crate) fn same_endpoint(one: &SocketAddr, other: &SocketAddr) -> bool {
    one.port() == other.port() && one.ip() == other.ip()
}

/// IPv4 mapped into IPv6 is IPv4, so that there is one form of each address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// An inbound key of a leg.
pub(crate) struct LegKey {
    pub(crate) keys: Arc<SessionKeys>,
    pub(crate) roc: RocOnRekey,
    /// How many the leg had before.
    pub(crate) serial: u32,
}

/// A leg of this worker. What the packet path reads stands first.
pub(crate) struct Leg {
    pub(crate) id: LegId,
    /// What is expected of packets from the peer now.
    pub(crate) inbound: Protection,
    pub(crate) outbound: Protection,
    pub(crate) latching: Latching,
    pub(crate) dscp: u8,
    /// Nothing is sent but negotiations.
    pub(crate) silent: bool,
    /// Changes whenever the streams' bindings to routes must be looked at anew.
    pub(crate) version: u32,
    /// Streams that are sent to this leg under another SSRC than their source's.
    pub(crate) rewrites: u32,
    pub(crate) rtp: Transport,
    pub(crate) rtcp: Option<Transport>,
    /// The place of the shared port that it is on.
    pub(crate) port: Option<u32>,
    /// On a shared port: where it stands among the legs that were not heard yet.
    pub(crate) waiting: Option<u32>,
    /// On a shared port: the remote address by which it is found.
    pub(crate) indexed: Option<SocketAddr>,
    pub(crate) sharing: Option<Sharing>,
    /// What its packets are sent from.
    sender: u32,
    /// Its kernel sockets.
    sockets: [Option<Arc<UdpSocket>>; 2],
    /// How often signalling moved the peer since the leg was added.
    pub(crate) signalled: u64,
    pub(crate) stats: Arc<LegStats>,
    pub(crate) path: PathTracker,
    pub(crate) routes_out: Vec<u32>,
    pub(crate) routes_in: Vec<u32>,
    /// Oldest first.
    pub(crate) inbound_keys: Vec<LegKey>,
    /// How many inbound keys it had.
    pub(crate) keys_so_far: u32,
    pub(crate) early_media: EarlyMedia,
    /// While it has no key and keeps what comes, or is to have another and keeps what is under none that it has.
    pub(crate) early: Option<Line>,
    /// Plain is `inbound` only until a key comes: signalling said SRTP.
    pub(crate) awaits_srtp: bool,
    /// A context of these keys that nothing authenticated in, for the next unknown SSRC: with several keys, and in double
    /// suites, a context has memory of its own, which forgeries must not have allocated one by one.
    pub(crate) spare: Option<Inbound>,
    payload_types: PayloadTypes,
    /// Whether RTCP goes by the ports of RTP although the leg has a socket of its own for it.
    pub(crate) muxed: bool,
    pub(crate) outbound_key: Option<Arc<SessionKeys>>,
    /// Whether other legs may send under that key as well.
    pub(crate) shares_key: bool,
    /// Outbound keys that others have taken the place of, and that control did not retire yet.
    pub(crate) superseded: Vec<KeyId>,
    /// The newest inbound key is about to expire once fewer packets than these remain (RTP, RTCP).
    pub(crate) expiring_below: (u64, u64),
    pub(crate) window: ReplayWindow,
    pub(crate) max_streams: u16,
    pub(crate) roc_trials: u8,
    /// Streams yet to come, or to come back.
    pub(crate) expected: Expected,
    pub(crate) streams: Vec<u32>,
    pub(crate) egress: Vec<u32>,
    /// Wrong tags of unknown SSRCs, from the leg's remote address and from others: a flood from elsewhere
    /// must not keep the peer's new streams out.
    pub(crate) unknown_from_remote: Bucket,
    pub(crate) unknown_from_elsewhere: Bucket,
    pub(crate) negotiation: Bucket,
    pub(crate) auth_failures: Burst,
    pub(crate) replays: Burst,
    pub(crate) unreachable: Notices,
    pub(crate) too_big: Notices,
    /// ICMP's word that the path takes less: for how many of them the next hop is looked up.
    pub(crate) path_changes: Notices,
    expiring: [Option<KeyId>; 2],
    expired: [Option<KeyId>; 2],
}

impl Leg {
    pub(crate) fn new(setup: &LegSetup, rtcp_local: Option<SocketAddr>, tuning: &Tuning) -> Self {
        let awaits_srtp = setup.inbound == Protection::Srtp && setup.early_media == EarlyMedia::Plain;
        let inbound = if awaits_srtp { Protection::Plain } else { setup.inbound };
        let policy = policy(inbound, setup.payload_types);
        let rtcp = rtcp_local.map(|local| {
            let remote = setup.rtcp_remote.or_else(|| setup.remote.and_then(next_port));
            Transport::new(local, policy.rtcp_only(), remote.map(canonical))
        });
        Self {
            id: setup.leg,
            inbound,
            outbound: setup.outbound,
            latching: setup.latching,
            dscp: setup.dscp,
            silent: false,
            version: 1,
            rewrites: 0,
            rtp: Transport::new(canonical(setup.local), policy, setup.remote.map(canonical)),
            rtcp,
            port: None,
            waiting: None,
            indexed: None,
            sharing: None,
            sender: setup.sharing.as_ref().map_or(setup.leg, |sharing| Port::token(sharing.port).leg),
            sockets: [setup.rtp.clone(), setup.rtcp.clone()],
            signalled: 0,
            stats: Arc::clone(&setup.stats),
            path: PathTracker::default(),
            routes_out: Vec::new(),
            routes_in: Vec::new(),
            inbound_keys: Vec::new(),
            keys_so_far: 0,
            early_media: setup.early_media,
            early: Some(setup.early_media).filter(|_| setup.inbound == Protection::Srtp).and_then(line),
            awaits_srtp,
            spare: None,
            payload_types: setup.payload_types,
            muxed: false,
            outbound_key: None,
            shares_key: false,
            superseded: Vec::new(),
            expiring_below: (0, 0),
            window: setup.window,
            max_streams: setup.max_streams,
            roc_trials: setup.roc_trials,
            expected: Expected::default(),
            streams: Vec::with_capacity(usize::from(setup.max_streams)),
            egress: Vec::new(),
            unknown_from_remote: Bucket::new(tuning.auth_failures_per_second),
            unknown_from_elsewhere: Bucket::new(tuning.auth_failures_per_second),
            negotiation: Bucket::new(tuning.negotiation_per_second),
            auth_failures: Burst::default(),
            replays: Burst::default(),
            unreachable: Notices::default(),
            too_big: Notices::default(),
            path_changes: Notices::default(),
            expiring: [None; 2],
            expired: [None; 2],
        }
    }

    /// A stream is here, whose context now knows what was known of it. There is a bound to what is remembered.
    pub(crate) fn arrived(&mut self, ssrc: u32) {
        self.expected.arrived(ssrc);
        self.bound_memory();
    }

    /// Forgets what was aged out and is more than may be remembered.
    pub(crate) fn bound_memory(&mut self) {
        let known = self.streams.len() + self.expected.len();
        self.expected.forget_oldest(known.saturating_sub(self.most_known()));
    }

    /// Of how many received streams the leg may know where they stand.
    pub(crate) fn most_known(&self) -> usize {
        PER_STREAM * usize::from(self.max_streams)
    }

    /// The component's transport; that of RTP carries everything with rtcp-mux.
    #[inline]
    pub(crate) fn transport(&self, component: Component) -> &Transport {
        match (component, &self.rtcp) {
            (Component::Rtcp, Some(rtcp)) => rtcp,
            _ => &self.rtp,
        }
    }

    #[inline]
    pub(crate) fn transport_mut(&mut self, component: Component) -> &mut Transport {
        match (component, &mut self.rtcp) {
            (Component::Rtcp, Some(rtcp)) => rtcp,
            _ => &mut self.rtp,
        }
    }

    /// The components that the leg has.
    pub(crate) fn components(&self) -> &'static [Component] {
        if self.rtcp.is_some() { &[Component::Rtp, Component::Rtcp] } else { &[Component::Rtp] }
    }

    /// Where RTCP is sent from and to.
    #[inline]
    pub(crate) fn rtcp_component(&self) -> Component {
        if self.rtcp.is_some() && !self.muxed { Component::Rtcp } else { Component::Rtp }
    }

    /// Where a component's packets go. RTCP whose address nobody told goes to the port after that of RTP
    /// (RFC 3550 §11).
    #[inline]
    pub(crate) fn destination(&self, component: Component) -> Option<SocketAddr> {
        match (component, &self.rtcp) {
            (Component::Rtcp, Some(rtcp)) => rtcp.remote.or_else(|| self.rtp.remote.and_then(next_port)),
            _ => self.rtp.remote,
        }
    }

    pub(crate) fn token(&self, component: Component) -> SocketToken {
        SocketToken { leg: self.sender, component }
    }

    /// The component's kernel socket.
    pub(crate) fn socket(&self, component: Component) -> Option<&Arc<UdpSocket>> {
        self.sockets[component as usize].as_ref()
    }

    /// Whether its peer is a local application.
    pub(crate) fn is_application(&self) -> bool {
        self.sockets[Component::Rtp as usize].is_none()
    }

    /// Whether it has a local address of its own, for others to know.
    pub(crate) fn has_address(&self) -> bool {
        self.port.is_none() && !self.is_application()
    }

    /// The application is there, or is gone.
    pub(crate) fn set_present(&mut self, present: bool) {
        self.rtp.remote = present.then(|| application_address(self.id));
        self.rtp.signalled = present;
    }

    /// Why nothing can be sent to a peer without an address.
    #[cold]
    pub(crate) fn unreachable(&self) -> DropReason {
        if self.is_application() { DropReason::NoApplication } else { DropReason::NoRemote }
    }

    /// What signalling says of the peer's addresses.
    pub(crate) fn set_signalled(&mut self, remote: Signalled) {
        self.signalled += 1;
        self.rtp.set_remote(canonical(remote.rtp), true);
        if let Some(transport) = &mut self.rtcp
            && let Some(rtcp) = remote.rtcp.or(next_port(remote.rtp))
        {
            transport.set_remote(canonical(rtcp), true);
        }
    }

    pub(crate) fn set_payload_types(&mut self, payload_types: PayloadTypes) {
        self.payload_types = payload_types;
        let policy = policy(self.inbound, payload_types);
        self.rtp.policy = policy;
        if let Some(rtcp) = &mut self.rtcp {
            rtcp.policy = policy.rtcp_only();
        }
    }

    /// What is expected of packets from the peer from now on.
    pub(crate) fn set_inbound(&mut self, inbound: Protection) {
        self.inbound = inbound;
        self.set_payload_types(self.payload_types);
        if inbound == Protection::Plain {
            self.inbound_keys.clear();
            (self.spare, self.expiring_below) = (None, (0, 0));
            return;
        }
        // Plain media was no proof that the peer is there.
        for transport in [Some(&mut self.rtp), self.rtcp.as_mut()].into_iter().flatten() {
            if !transport.signalled {
                (transport.remote, transport.next_hop, transport.unresolved) = (None, None, false);
            }
        }
    }

    /// What protects media from the peer, as signalling says.
    pub(crate) fn signalled_inbound(&self) -> Protection {
        if self.awaits_srtp { Protection::Srtp } else { self.inbound }
    }

    /// Begins to keep what comes before the first key, if that is what is to become of it.
    pub(crate) fn begin_early(&mut self) {
        self.early = self.early.take().or(line(self.early_media));
        if let (Some(early), Some(wanted)) = (&mut self.early, line(self.early_media)) {
            (early.most, early.longest) = (wanted.most, wanted.longest);
        }
    }

    /// Begins to keep what is authentic under none of its keys: others are on their way.
    pub(crate) fn begin_rekeying(&mut self) {
        if self.early.is_none() && self.inbound == Protection::Srtp && !self.inbound_keys.is_empty() {
            self.early = line(self.early_media).or(line(EarlyMedia::USUAL));
            self.early.iter_mut().for_each(|line| line.rekeying = true);
        }
    }

    /// Whether it keeps what is authentic under none of its keys.
    pub(crate) fn is_rekeying(&self) -> bool {
        self.early.as_ref().is_some_and(|line| line.rekeying)
    }

    /// Whether it looks at no media yet: it has no key, or with one of several there and the rest to follow, nothing goes
    /// before what is kept.
    #[inline]
    pub(crate) fn awaits_key(&self) -> bool {
        self.inbound_keys.is_empty() || self.early.as_ref().is_some_and(|line| !line.rekeying)
    }

    /// The newest inbound key.
    pub(crate) fn newest_inbound(&self) -> Option<&Arc<SessionKeys>> {
        self.inbound_keys.last().map(|key| &key.keys)
    }

    /// A context goes. From which key on the leg may carry on with where it stood, or those before would accept a
    /// packet twice.
    pub(crate) fn carries_on_from(&self, context: &Inbound) -> u32 {
        let Some(oldest) = context.oldest_that_may_carry_on() else { return 0 };
        let key = self.inbound_keys.iter().find(|key| key.keys.id() == oldest);
        key.map_or(self.keys_so_far, |key| key.serial)
    }

    /// Whether a context of this SSRC is made of all keys alike, and does for any other.
    pub(crate) fn makes_spare(&self, ssrc: u32) -> bool {
        self.expected.get(ssrc).is_none() || self.inbound_keys.iter().all(|key| key.roc == RocOnRekey::Keep)
    }

    #[inline]
    pub(crate) fn counters(&self) -> &LegCounters {
        &self.stats.0
    }

    #[inline]
    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.counters().dropped.count(reason);
    }

    /// Whether this is the first time that the key is found to be about to expire.
    pub(crate) fn first_expiring(&mut self, direction: Direction, key: KeyId) -> bool {
        self.expiring[direction as usize].replace(key) != Some(key)
    }

    /// Whether this is the first time that the key is found to have expired.
    pub(crate) fn first_expired(&mut self, direction: Direction, key: KeyId) -> bool {
        self.expired[direction as usize].replace(key) != Some(key)
    }
}

fn line(early_media: EarlyMedia) -> Option<Line> {
    match early_media {
        EarlyMedia::Hold { packets, time } => Some(Line::new(packets, time.as_nanos() as u64)),
        EarlyMedia::Drop | EarlyMedia::Plain => None,
    }
}

fn policy(inbound: Protection, payload_types: PayloadTypes) -> Policy {
    let policy = match inbound {
        Protection::Plain => Policy::new().plain(),
        Protection::Srtp => Policy::new(),
    };
    payload_types.map_or(policy, |set| policy.with_payload_types(set))
}

fn next_port(rtp: SocketAddr) -> Option<SocketAddr> {
    Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
}
