//! What control can tell a worker, and why it may be refused.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use sluice_io::{Component, NextHop, Ring, ring_address};
use sluice_srtp::{KeyId, Position, ReplayWindow, SessionKeys};

use crate::{LegStats, PortId, PortSetup, RouteOptions, Sharing};

/// Names a leg; chosen by control, unique in the process.
pub type LegId = u32;
/// Names a route; chosen by control, unique in the process.
pub type RouteId = u32;

/// What control can tell a worker. Commands are applied between batches, in the order in which they
/// were given; one that fails changes nothing.
#[derive(Debug)]
pub enum Command {
    /// Adds a leg and begins to receive on its sockets.
    AddLeg(Box<LegSetup>),
    /// Adds a local address that legs may share, and begins to receive on its socket.
    AddPort(PortSetup),
    /// Removes a shared port that has no legs.
    RemovePort {
        /// Which port.
        port: PortId,
    },
    /// Removes a leg, its streams, its routes in both directions and its sockets.
    RemoveLeg {
        /// Which leg.
        leg: LegId,
    },
    /// Moves legs to another worker, with their streams, contexts and routes, under running media. No route may lead
    /// to a leg that stays. The answer comes when the other worker has them; if it has no room, they are back.
    MoveLegs {
        /// Which legs.
        legs: Vec<LegId>,
        /// The other worker.
        to: usize,
    },
    /// Changes what signalling says of a leg.
    UpdateLeg(LegUpdate),
    /// Sets the layer-2 next hop towards the peer; the engine's resolver does this by itself.
    SetNextHop {
        /// Which leg.
        leg: LegId,
        /// Which of its transport components.
        component: Component,
        /// The address that it was resolved for: if the peer has moved since, nothing changes.
        remote: SocketAddr,
        /// The next hop; `None`: the kernel resolves and sends.
        next_hop: Option<NextHop>,
    },
    /// Gives a leg whose peer is a local application its ring: the application is there. One that the leg had before
    /// is dropped.
    AttachRing {
        /// Which leg.
        leg: LegId,
        /// The gateway's end.
        ring: Box<Ring>,
    },
    /// Takes it away again: the application is gone. Without a ring nothing happens.
    DetachRing {
        /// Which leg.
        leg: LegId,
    },
    /// Installs keys. Inbound, the last of `keys` is tried first, and older keys still verify until
    /// they are retired. Outbound, the last of `keys` protects from now on, and the index goes on.
    InstallKeys {
        /// Which leg.
        leg: LegId,
        /// What is received or what is sent.
        direction: Direction,
        /// Keys, oldest first.
        keys: Vec<Arc<SessionKeys>>,
        /// Outbound: other legs of the worker may have the same keys, and what one source sends to all of them
        /// is protected once and sent to each (RFC 5479 App. B). Of no account inbound.
        shared: bool,
    },
    /// Ends the use of a key.
    RetireKey {
        /// Which leg.
        leg: LegId,
        /// What is received or what is sent.
        direction: Direction,
        /// Which key.
        key: KeyId,
    },
    /// Tells where the streams of a leg stand, for another machine to carry on.
    ExportPositions {
        /// Which leg.
        leg: LegId,
        /// Filled when the command is done.
        into: Arc<Mutex<Vec<StreamPosition>>>,
    },
    /// Has streams of a leg carry on where they stood elsewhere, or begin where signalling says. Nothing goes
    /// back: of two positions the further one counts.
    ImportPositions {
        /// Which leg.
        leg: LegId,
        /// The streams; what is sent counts under the leg's newest key.
        streams: Vec<StreamPosition>,
    },
    /// Sends what one leg receives to another leg. Both are on this worker.
    AddRoute {
        /// Which route.
        route: RouteId,
        /// The leg that receives.
        from: LegId,
        /// The leg that sends.
        to: LegId,
        /// Choices.
        options: RouteOptions,
    },
    /// Changes the choices of a route; its streams go on at the index at which they are.
    UpdateRoute {
        /// Which route.
        route: RouteId,
        /// All choices, changed or not.
        options: RouteOptions,
    },
    /// Removes a route. Added again, it goes on at the packet index at which it ended.
    RemoveRoute {
        /// Which route.
        route: RouteId,
    },
    /// Sends a datagram of a negotiation (STUN, DTLS, ZRTP) from a leg's socket.
    SendDatagram {
        /// Which leg.
        leg: LegId,
        /// Which of its transport components.
        component: Component,
        /// Where to.
        remote: SocketAddr,
        /// UDP payload.
        bytes: Vec<u8>,
    },
}

/// Where a stream of a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// Whether it is received or sent.
    pub direction: Direction,
    /// Its SSRC, as it is on the wire.
    pub ssrc: u32,
    /// Highest indices so far.
    pub position: Position,
    /// Of a received stream without an RTP index: the rollover counter of its first packet (RFC 3711 §3.3.1),
    /// if that was told.
    pub initial_roc: Option<u32>,
}

/// Which way media goes, seen from the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the peer.
    Inbound,
    /// To the peer.
    Outbound,
}

/// What protects one direction of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// Nothing: RTP and RTCP (RFC 3550).
    Plain,
    /// SRTP and SRTCP (RFC 3711), once keys are installed; nothing passes before.
    Srtp,
}

/// Which sources a leg hears, and whether its remote address may be learnt from what arrives (symmetric RTP,
/// RFC 4961). Nothing is ever learnt from a packet that is not authentic, so that nobody without the key can take a
/// leg; a plain leg has nothing but probation (RFC 3550 A.1), and only until signalling tells an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Latching {
    /// The address is the signalled one. Authenticated media is heard from anywhere, as of a peer that sends from
    /// another address than it receives on; plain media from the signalled address.
    Never,
    /// The address is the signalled one, and the only one that is heard. Before signalling gives one,
    /// authenticated media is heard from anywhere, plain media from nowhere.
    SignalledOnly,
    /// The address is that of the first authenticated packet that comes from elsewhere after signalling spoke
    /// last, and stays. On a plain leg it is that of the first source that passes probation, as long as signalling
    /// gave none.
    FirstAuthenticated,
    /// As before, but the address follows the newest authenticated packet, as of a peer behind a NAT that forgets.
    NewestAuthenticated,
}

impl Latching {
    pub(crate) const fn learns(self) -> bool {
        matches!(self, Self::FirstAuthenticated | Self::NewestAuthenticated)
    }
}

/// A leg to be.
#[derive(Debug)]
pub struct LegSetup {
    /// The leg's name.
    pub leg: LegId,
    /// The local transport address of RTP: a specific address, not the wildcard. RTCP without rtcp-mux
    /// is received on the address that its socket is bound to.
    pub local: SocketAddr,
    /// The kernel socket bound to `local`, non-blocking; of a leg on a shared port, that port's. `None`: the leg's peer
    /// is a local application, see [`Self::for_application`].
    pub rtp: Option<Arc<UdpSocket>>,
    /// The kernel socket of RTCP; `None`: rtcp-mux (RFC 5761).
    pub rtcp: Option<Arc<UdpSocket>>,
    /// The peer's address of RTP, where signalling told it.
    pub remote: Option<SocketAddr>,
    /// The peer's address of RTCP without rtcp-mux; `None`: `remote`'s port plus one.
    pub rtcp_remote: Option<SocketAddr>,
    /// Whether the peer's address may be learnt.
    pub latching: Latching,
    /// What protects media from the peer.
    pub inbound: Protection,
    /// What protects media to the peer.
    pub outbound: Protection,
    /// The replay window of what is received.
    pub window: ReplayWindow,
    /// The payload types that signalling agreed on.
    pub payload_types: PayloadTypes,
    /// How many SSRCs the peer may send at once.
    pub max_streams: u16,
    /// How many rollover counters after the initial one a stream's first packet may try.
    pub roc_trials: u8,
    /// DSCP code point (0–63) of what is sent.
    pub dscp: u8,
    /// On which port, of a leg that shares one.
    pub sharing: Option<Sharing>,
    /// Where the leg's statistics go.
    pub stats: Arc<LegStats>,
}

impl LegSetup {
    /// How many SSRCs a peer may send at once, unless control says otherwise.
    pub const DEFAULT_MAX_STREAMS: u16 = 32;

    /// A leg whose peer is a local application: plain RTP and RTCP through a ring in shared memory, which
    /// [`Command::AttachRing`] gives it.
    pub fn for_application(leg: LegId, stats: Arc<LegStats>) -> Self {
        Self {
            leg,
            local: ring_address(leg),
            rtp: None,
            rtcp: None,
            remote: None,
            rtcp_remote: None,
            latching: Latching::Never,
            inbound: Protection::Plain,
            outbound: Protection::Plain,
            window: ReplayWindow::default(),
            payload_types: None,
            max_streams: Self::DEFAULT_MAX_STREAMS,
            roc_trials: 0,
            dscp: 0,
            sharing: None,
            stats,
        }
    }
}

/// A change of a leg; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegUpdate {
    /// Which leg.
    pub leg: LegId,
    /// The peer's addresses as signalled; what was learnt by latching is forgotten.
    pub remote: Option<Signalled>,
    /// The payload types that the leg accepts.
    pub payload_types: Option<PayloadTypes>,
    /// DSCP code point (0–63) of what is sent.
    pub dscp: Option<u8>,
}

impl LegUpdate {
    /// A change of nothing, to be filled in.
    pub const fn new(leg: LegId) -> Self {
        Self { leg, remote: None, payload_types: None, dscp: None }
    }
}

/// A peer's addresses as signalling told them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signalled {
    /// Where RTP goes (and RTCP, with rtcp-mux).
    pub rtp: SocketAddr,
    /// Where RTCP goes without rtcp-mux; `None`: the RTP port plus one (RFC 3550 §11).
    pub rtcp: Option<SocketAddr>,
}

/// Which payload types a leg accepts: bit `n % 64` of word `n / 64`; `None`: any.
pub type PayloadTypes = Option<[u64; 2]>;

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No leg of this number is on the worker.
    #[error("leg {0} does not exist on this worker")]
    UnknownLeg(LegId),
    /// The number is taken.
    #[error("leg {0} exists already; choose another number or remove it first")]
    LegExists(LegId),
    /// Another leg of the worker has the address.
    #[error("local address {0} belongs to another leg; remove that leg or choose another port")]
    AddressTaken(SocketAddr),
    /// A leg of the same shared port has the address.
    #[error("{remote} is the remote address of leg {leg} on the same shared port; one address has one leg")]
    RemoteTaken {
        /// The address.
        remote: SocketAddr,
        /// The other leg.
        leg: LegId,
    },
    /// A shared port cannot be had.
    #[error("shared port {port} {problem}")]
    InvalidPort {
        /// Which port.
        port: PortId,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Packet I/O refused a shared port's socket.
    #[error(
        "shared port {port}: cannot receive on its socket: {error}; check that it is bound and non-blocking"
    )]
    PortSocket {
        /// Which port.
        port: PortId,
        /// What the system said.
        error: String,
    },
    /// A setting of the leg is out of range.
    #[error("leg {leg}: {field} {problem}")]
    InvalidLeg {
        /// Which leg.
        leg: LegId,
        /// The field of [`LegSetup`].
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The worker has as many legs as it may.
    #[error("the worker has {0} legs, as many as limits.legs allows; use another worker or raise the limit")]
    TooManyLegs(usize),
    /// The worker has as many routes as it may.
    #[error("the worker has {0} routes, as many as limits.routes allows; use another worker or raise it")]
    TooManyRoutes(usize),
    /// Packet I/O refused the socket.
    #[error("leg {leg}: cannot receive on its socket: {error}; check that it is bound and non-blocking")]
    Register {
        /// Which leg.
        leg: LegId,
        /// What the system said.
        error: String,
    },
    /// Packet I/O refused the ring.
    #[error("leg {leg}: cannot receive from its ring: {error}; look at the open-files limit")]
    AttachRing {
        /// Which leg.
        leg: LegId,
        /// What the system said.
        error: String,
    },
    /// No route of this number is on the worker.
    #[error("route {0} does not exist on this worker")]
    UnknownRoute(RouteId),
    /// The number is taken.
    #[error("route {0} exists already; choose another number or remove it first")]
    RouteExists(RouteId),
    /// A route between the same legs exists.
    #[error("route {existing} leads from leg {from} to leg {to} already; use that one")]
    RouteDuplicate {
        /// The route that exists.
        existing: RouteId,
        /// The leg that receives.
        from: LegId,
        /// The leg that sends.
        to: LegId,
    },
    /// A choice of the route is out of range.
    #[error("route {route}: {field} {problem}")]
    InvalidRoute {
        /// Which route.
        route: RouteId,
        /// The field of [`RouteOptions`].
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Keys for a direction that is plain.
    #[error("leg {leg} is plain RTP {direction:?}; keys cannot be installed for it")]
    NotSrtp {
        /// Which leg.
        leg: LegId,
        /// Which direction.
        direction: Direction,
    },
    /// The leg does not have the key.
    #[error("leg {leg} has no {direction:?} key {key:?}")]
    UnknownKey {
        /// Which leg.
        leg: LegId,
        /// Which direction.
        direction: Direction,
        /// Which key.
        key: KeyId,
    },
    /// The leg has the key.
    #[error("leg {leg} has the {direction:?} key {key:?} already")]
    KeyExists {
        /// Which leg.
        leg: LegId,
        /// Which direction.
        direction: Direction,
        /// Which key.
        key: KeyId,
    },
    /// The key was used for sending before, and where it stopped is no longer known.
    #[error(
        "key {0:?} was used for sending before; sending under it again could repeat an index: \
             install a new key"
    )]
    KeySpent(KeyId),
    /// No keys in the command.
    #[error("leg {0}: no keys given; give at least one")]
    NoKeys(LegId),
    /// Positions of what is sent, and no key that they belong to.
    #[error("leg {0} has no key for sending that a position could belong to; install the key first")]
    NoSendingKey(LegId),
    /// More streams than the leg is to remember.
    #[error(
        "leg {leg} would have to know of {count} received streams, and at most of {most}, 4 × max_streams"
    )]
    TooManyPositions {
        /// Which leg.
        leg: LegId,
        /// Streams, those that it has included.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// An SSRC is sent under the key from another place.
    #[error("SSRC {ssrc:#010x} is sent under the key of leg {leg} from another place; remove it there first")]
    SsrcInUse {
        /// Which leg.
        leg: LegId,
        /// Which SSRC.
        ssrc: u32,
    },
    /// The leg has as many keys for a direction as it may.
    #[error("leg {leg} has {limit} {direction:?} keys, as many as it may; retire old ones first")]
    TooManyKeys {
        /// Which leg.
        leg: LegId,
        /// Which direction.
        direction: Direction,
        /// How many it may have.
        limit: usize,
    },
    /// The leg has no such component.
    #[error("leg {0} uses rtcp-mux: it has no RTCP component")]
    NoRtcpComponent(LegId),
    /// The datagram does not fit.
    #[error("a datagram of {0} bytes does not fit into a frame")]
    DatagramTooLarge(usize),
    /// No free chunk.
    #[error("the worker's pool has no free chunk; retry, or raise the pool sizes")]
    PoolEmpty,
    /// A leg cannot move without another one.
    #[error(
        "route {route} joins leg {leg} to one that is not to be moved; move all that are joined by routes"
    )]
    RouteLeaves {
        /// The leg.
        leg: LegId,
        /// The route.
        route: RouteId,
    },
    /// A leg cannot leave its port.
    #[error(
        "leg {0} is on a shared port, which belongs to its worker; legs with ports of their own can be moved"
    )]
    OnSharedPort(LegId),
    /// The other worker's tables are full.
    #[error("the worker has no room for the legs' streams; use another one, or raise limits.streams")]
    NoRoomForStreams,
    /// Legs that could be neither moved nor taken back.
    #[error("the legs could not be moved ({0}), and there was no room for them to come back: they are gone")]
    Abandoned(Box<CommandError>),
    /// There is no such worker.
    #[error("there is no worker {0}")]
    NoSuchWorker(usize),
    /// The worker ended before it came to the command.
    #[error("the worker stopped before it applied the command")]
    WorkerStopped,
}

/// The worker's queue of commands is full: give the command again when others are done.
#[derive(Debug, thiserror::Error)]
#[error("the worker's queue of commands is full; wait for outstanding ones and retry")]
pub struct QueueFull(pub Box<Command>);
