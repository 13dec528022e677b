//! What control can tell a worker, and why it may be refused.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use sluice_io::{Component, NextHop, Ring};
use sluice_srtp::{KeyId, Position, RocOnRekey, SessionKeys};

use crate::{LegSetup, LegUpdate, PortId, PortSetup, RouteOptions};

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
    /// Changes what signalling says of a leg. A direction that becomes plain loses its keys.
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
        /// How the rollover counters of streams go on under the keys. Outbound, [`RocOnRekey::TryBoth`] keeps it, as does
        /// [`RocOnRekey::Reset`] for an SSRC that was sent under the key before.
        roc: RocOnRekey,
        /// More keys for the same leg and direction follow at once: early media that is held waits for the last of them,
        /// since any may be the one that it is under.
        more_follow: bool,
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
