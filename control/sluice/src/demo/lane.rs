//! The ways of the two calls: who sends from where to where.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, bail};

use crate::demo::adversary::Injector;
use crate::demo::measure::Crossing;
use crate::demo::wire::{Capture, Relay, Watch, Wire};
use crate::demo::world::{Place, World};

/// Ports of a lane are counted from a multiple of this.
const SPAN: u16 = 10;

/// A caller, the gateway's two legs, and a listener. Each of these addresses stands for two: RTCP is
/// one port above RTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    /// The gateway's address towards the caller.
    pub(crate) into: SocketAddr,
    /// The caller, as the gateway sees it.
    pub(crate) caller: SocketAddr,
    /// The gateway's address towards the listener.
    pub(crate) out: SocketAddr,
    /// The listener, as the gateway sees it.
    pub(crate) listener: SocketAddr,
    /// Where the sending program sends from.
    pub(crate) send_from: SocketAddr,
    /// Where the sending program sends to.
    pub(crate) send_to: SocketAddr,
    /// Where the receiving program receives.
    pub(crate) receive_at: SocketAddr,
}

impl Lane {
    /// The way in and out of the gateway.
    pub(crate) fn crossing(&self) -> Crossing {
        Crossing { into: self.into, out: self.out }
    }

    /// Programs talk to the gateway themselves.
    fn direct(world: &World, base: u16) -> Self {
        let (caller, listener) = (world.peers_at(base), world.peers_at(base + 2));
        let (into, out) = (world.gateway_at(base + 4), world.gateway_at(base + 6));
        Self { into, caller, out, listener, send_from: caller, send_to: into, receive_at: listener }
    }

    /// Relays stand between programs and gateway.
    fn relayed(world: &World, base: u16) -> Self {
        let own = |offset| world.peers_at(base + 2 * SPAN + offset);
        let (send_from, send_to, receive_at) = (own(0), own(2), own(4));
        Self { send_from, send_to, receive_at, ..Self::direct(world, base) }
    }
}

/// The two lanes and the means to watch and to attack them.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// ffmpeg's call: SRTP in, RTP out.
    pub(crate) decrypted: Lane,
    /// GStreamer's call: one suite in, another out.
    pub(crate) reencrypted: Lane,
    /// What passed the peers' end of the wire.
    pub(crate) wire: Wire,
    /// Sends in the callers' names.
    pub(crate) injector: Injector,
    _capture: Option<Capture>,
    _relays: Vec<Relay>,
}

impl Lanes {
    /// Lays out the lanes and begins to watch the wire.
    pub(crate) fn open(world: &World, directory: &std::path::Path) -> Result<Self> {
        match (&world.peers, &world.peers_interface) {
            (Place::Inside(peers), Some(interface)) => {
                let wire = Wire::default();
                let capture = Capture::start(&world.peers, interface, &wire, directory)?;
                Ok(Self {
                    decrypted: Lane::direct(world, 20_000),
                    reencrypted: Lane::direct(world, 20_000 + SPAN),
                    wire,
                    injector: Injector::raw(peers)?,
                    _capture: Some(capture),
                    _relays: Vec::new(),
                })
            }
            _ => Self::through_relays(world),
        }
    }

    fn through_relays(world: &World) -> Result<Self> {
        // Other programs of this host may hold ports: look for a free stretch.
        let mut last = None;
        for base in (21_000..31_000).step_by(100) {
            match Self::relayed(world, base) {
                Ok(lanes) => return Ok(lanes),
                Err(error) => last = Some(error),
            }
        }
        last.map_or_else(|| bail!("no ports"), Err).context("no free stretch of UDP ports on loopback")
    }

    fn relayed(world: &World, base: u16) -> Result<Self> {
        let (decrypted, reencrypted) = (Lane::relayed(world, base), Lane::relayed(world, base + SPAN));
        let wire = Wire::default();
        let (mut relays, mut voices) = (Vec::new(), Vec::new());
        for lane in [decrypted, reencrypted] {
            for port in [0, 1] {
                let above = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + port);
                // Free now; the daemon and the media programs bind them in a moment.
                for address in [lane.into, lane.out, lane.receive_at, lane.send_from] {
                    UdpSocket::bind(above(address))?;
                }
                let inlet = UdpSocket::bind(above(lane.send_to))?;
                let outlet = UdpSocket::bind(above(lane.caller))?;
                voices.push(outlet.try_clone()?);
                let (ear, mouth) = (outlet.try_clone()?, inlet.try_clone()?);
                relays.push(Relay::start(inlet, outlet, above(lane.into), Watch::Departure, &wire)?);
                // What the gateway has to say to the caller: STUN answers.
                relays.push(Relay::start(ear, mouth, above(lane.send_from), Watch::Arrival, &wire)?);
                let inlet = UdpSocket::bind(above(lane.listener))?;
                let outlet = UdpSocket::bind(SocketAddr::new(lane.listener.ip(), 0))?;
                relays.push(Relay::start(inlet, outlet, above(lane.receive_at), Watch::Arrival, &wire)?);
            }
        }
        let injector = Injector::Relayed(voices);
        Ok(Self { decrypted, reencrypted, wire, injector, _capture: None, _relays: relays })
    }
}
