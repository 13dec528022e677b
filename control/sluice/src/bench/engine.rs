//! Sluice as the device: its engine in this process, with one worker.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sluice_datapath::{
    Command, Direction, EarlyMedia, Engine, EngineConfig, EventReceiver, InterfaceConfig, Latching, LegSetup,
    LegStats, Limits, Mode, PortSetup, Protection as Guarded, RocOnRekey, RouteOptions, Sharing, Ticket,
    WorkerCount,
};
use sluice_srtp::ReplayWindow;

use super::bed::{Bed, DEVICE, Role, peer_address};
use super::case::{Case, Key, Protection};
use super::forwarder::{Forwarder, Running};

/// First local port of legs with ports of their own.
const FIRST_PORT: usize = 10_000;
/// The port of legs that share one.
const SHARED_PORT: u16 = 5_004;
/// Sockets that a process may have, at the least, where nothing was raised.
const MOST_SOCKETS: usize = 18_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Sluice, on one of its ways of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sluice {
    /// AF_XDP, behind the driver's XDP or generic.
    AfXdp,
    /// io_uring on kernel sockets, without XDP.
    IoUring,
}

impl Forwarder for Sluice {
    fn path(&self) -> &'static str {
        match self {
            Self::AfXdp => "af_xdp",
            Self::IoUring => "io_uring",
        }
    }

    fn version(&self) -> String {
        let kernel = sluice_srtp::selected_kernel().map_or("no kernel", sluice_srtp::Kernel::name);
        format!("sluice {} ({kernel})", env!("CARGO_PKG_VERSION"))
    }

    fn can(&self, case: &Case) -> bool {
        case.shared_port || case.legs() <= MOST_SOCKETS
    }

    fn start(&self, bed: &Bed, case: &Case) -> Result<Box<dyn Running + Send>> {
        let config = self.config(bed, case);
        let case = *case;
        bed.device.run(|| {
            let (engine, events) = Engine::start(config)?;
            let gateway = Gateway { engine, _events: events, case };
            gateway.set_up()?;
            Ok(Box::new(gateway) as Box<dyn Running + Send>)
        })
    }
}

impl Sluice {
    fn config(self, bed: &Bed, case: &Case) -> EngineConfig {
        let interfaces = vec![InterfaceConfig::new(&bed.device.interface)];
        let room = |needed: usize, least: usize| (needed + needed / 8).max(least);
        EngineConfig {
            interfaces: if self == Self::AfXdp { interfaces } else { Vec::new() },
            workers: WorkerCount::Exactly(1),
            datapath: if self == Self::AfXdp { Mode::Auto } else { Mode::IoUring },
            // Every thread of the device is on its CPU already.
            pin: false,
            limits: Limits {
                legs: room(case.legs(), 64),
                routes: room(case.listeners(), 64),
                streams: room(case.calls, 64),
                egress_contexts: room(case.listeners(), 64),
                ..Limits::default()
            },
            ..EngineConfig::default()
        }
    }
}

/// A running engine with its calls.
struct Gateway {
    engine: Engine,
    _events: EventReceiver,
    case: Case,
}

impl Running for Gateway {
    fn inlet(&self, call: usize) -> SocketAddr {
        SocketAddr::new(DEVICE.into(), self.local_port(call))
    }

    fn listener_key(&self, listener: usize) -> Option<Key> {
        self.case.listener_key(listener)
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        let snapshots = self.engine.stats();
        let all = snapshots.iter().flat_map(|worker| worker.dropped.iter());
        all.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.name(), count)).collect()
    }
}

impl Gateway {
    fn set_up(&self) -> Result<()> {
        let shared = self.case.shared_port.then(|| socket(SHARED_PORT)).transpose()?;
        if let Some(socket) = shared.clone() {
            let local = SocketAddr::new(DEVICE.into(), SHARED_PORT);
            self.all(std::iter::once(Ok(Command::AddPort(PortSetup { port: 0, local, socket }))))?;
        }
        self.all((0..self.case.calls).map(|call| self.leg(Role::Caller, call, shared.as_ref())))?;
        self.all((0..self.case.listeners()).map(|peer| self.leg(Role::Listener, peer, shared.as_ref())))?;
        self.all((0..self.case.calls).filter_map(|call| {
            let key = self.case.caller_key(call)?;
            Some(install(self.number(Role::Caller, call), Direction::Inbound, &key, false))
        }))?;
        self.all((0..self.case.listeners()).filter_map(|peer| {
            let key = self.case.listener_key(peer)?;
            let leg = self.number(Role::Listener, peer);
            Some(install(leg, Direction::Outbound, &key, self.case.shared_key))
        }))?;
        self.all((0..self.case.listeners()).map(|peer| {
            Ok(Command::AddRoute {
                route: peer as u32,
                from: self.number(Role::Caller, peer / self.case.fanout),
                to: self.number(Role::Listener, peer),
                options: RouteOptions::default(),
            })
        }))
    }

    /// Gives commands, no more at a time than a worker's queue takes, and waits for all.
    fn all(&self, commands: impl Iterator<Item = Result<Command>>) -> Result<()> {
        let mut waiting: Vec<Ticket> = Vec::new();
        for command in commands {
            if waiting.len() == 1024 {
                waiting.drain(..).try_for_each(|ticket| done(&ticket))?;
            }
            waiting.push(self.engine.command(0, command?)?);
        }
        waiting.iter().try_for_each(done)
    }

    fn leg(&self, role: Role, peer: usize, shared: Option<&Arc<UdpSocket>>) -> Result<Command> {
        let leg = self.number(role, peer);
        let port = self.local_port(leg as usize);
        let guarded = |protection| match protection {
            Protection::Rtp => Guarded::Plain,
            Protection::Srtp(_) => Guarded::Srtp,
        };
        let (inbound, outbound) = match role {
            Role::Caller => (guarded(self.case.from), Guarded::Plain),
            Role::Listener => (Guarded::Plain, guarded(self.case.to)),
        };
        Ok(Command::AddLeg(Box::new(LegSetup {
            leg,
            local: SocketAddr::new(DEVICE.into(), port),
            rtp: Some(match shared {
                Some(socket) => Arc::clone(socket),
                None => socket(port)?,
            }),
            rtcp: None,
            remote: Some(peer_address(role, peer)),
            rtcp_remote: None,
            latching: Latching::NewestAuthenticated,
            inbound,
            outbound,
            window: ReplayWindow::default(),
            payload_types: None,
            max_streams: LegSetup::DEFAULT_MAX_STREAMS,
            roc_trials: 0,
            early_media: EarlyMedia::Drop,
            dscp: 46,
            sharing: shared.map(|_| Sharing { port: 0, ssrcs: Vec::new(), ice_ufrag: None }),
            stats: Arc::new(LegStats::new()),
        })))
    }

    fn number(&self, role: Role, peer: usize) -> u32 {
        let before = if role == Role::Listener { self.case.calls } else { 0 };
        (before + peer) as u32
    }

    fn local_port(&self, leg: usize) -> u16 {
        if self.case.shared_port { SHARED_PORT } else { (FIRST_PORT + 2 * leg) as u16 }
    }
}

/// A socket of the device. On a thread of its end.
pub fn socket(port: u16) -> Result<Arc<UdpSocket>> {
    let address = SocketAddr::new(DEVICE.into(), port);
    let socket = UdpSocket::bind(address).with_context(|| format!("no socket at {address}"))?;
    socket.set_nonblocking(true)?;
    Ok(Arc::new(socket))
}

fn install(leg: u32, direction: Direction, key: &Key, shared: bool) -> Result<Command> {
    Ok(Command::InstallKeys {
        leg,
        direction,
        keys: vec![key.derive()?],
        shared,
        roc: RocOnRekey::Keep,
        more_follow: false,
    })
}

fn done(ticket: &Ticket) -> Result<()> {
    match ticket.wait(PATIENCE) {
        Some(result) => result.context("the engine refused a command"),
        None => bail!("the engine does not answer"),
    }
}
