//! The legs of taps in the engine, and how they follow the legs that they copy.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sluice_datapath::shared::{ApplicationEnd, GatewayEnd, Geometry};
use sluice_datapath::{Command, DropReason, LegId, LegSetup, LegStats, RingStats, RouteId, RouteOptions};
use sluice_mixer_client::Ring;
use sluice_proto::v1;

use super::TapKind;
use crate::ApiError;
use crate::descriptors::is_reserved;
use crate::gateway::Gateway;
use crate::gateway::state::{Leg, Session, State};
use crate::recording::{Addresses, Ended, MAX_LEGS, Order, SharedAddresses, Source, TapName, comment, lock};

/// A leg of a tap's own, to which media is routed and from which nothing comes.
#[derive(Clone)]
pub(in crate::gateway) struct Outlet {
    pub(super) number: LegId,
    pub(super) stats: Arc<LegStats>,
    pub(super) ring: Option<Arc<RingStats>>,
    pub(super) sources: Vec<Copied>,
}

/// A leg that is copied.
#[derive(Clone)]
pub(super) struct Copied {
    pub(super) leg: String,
    pub(super) number: LegId,
    pub(super) route: RouteId,
    /// What its packets are between, for files.
    pub(super) addresses: Option<SharedAddresses>,
}

/// A leg that is to be copied.
pub(super) struct Missing {
    pub(super) leg: String,
    pub(super) number: LegId,
    addresses: Addresses,
    payload_types: Vec<u32>,
    codecs: Vec<(u8, String)>,
}

/// Whether a tap has anything left to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    Goes,
    Over,
}

/// Both ends of a ring within the process.
struct Ends {
    gateway: Box<sluice_datapath::Ring>,
    ours: Ring,
    stats: Arc<RingStats>,
}

/// What did not leave by an outlet. Of what a recorder sends nothing is heard, nor counted here.
const UNSENT: [DropReason; 11] = [
    DropReason::NoRemote,
    DropReason::NoApplication,
    DropReason::NoOutboundKey,
    DropReason::OutboundKeyExpired,
    DropReason::SsrcClash,
    DropReason::IndexUsed,
    DropReason::EgressTableFull,
    DropReason::NoTailroom,
    DropReason::ProtectFailed,
    DropReason::MtuExceeded,
    DropReason::PoolEmpty,
];

impl Outlet {
    pub(super) fn dropped(&self) -> u64 {
        let unsent = self.stats.snapshot().dropped;
        let ring = self.ring.as_ref().map(|ring| ring.snapshot()).unwrap_or_default();
        UNSENT.iter().map(|reason| unsent.get(*reason)).sum::<u64>() + ring.full + ring.too_large
    }
}

impl Gateway {
    /// Has all taps of a session follow its legs.
    pub(crate) async fn follow_legs(&self, session: &str) {
        let _turn = self.recording.turn.lock().await;
        let names: Vec<_> = {
            let mut state = self.state.lock().await;
            let Ok(session) = state.session(session) else { return };
            session.taps.values().filter(|tap| tap.is_running()).map(|tap| tap.name.clone()).collect()
        };
        for name in names {
            match self.follow(&name).await {
                Ok(Follow::Goes) => {}
                Ok(Follow::Over) => {
                    self.finish_tap(&name, Ended::by(v1::TapEnd::Legs)).await;
                }
                Err(error) => {
                    tracing::warn!(name.session, name.tap, error.message, "a leg is not copied");
                }
            }
        }
    }

    /// Copies the legs that it should. The caller has the turn.
    pub(super) async fn follow_tap(&self, name: &TapName) -> Result<(), ApiError> {
        match self.follow(name).await? {
            Follow::Goes => Ok(()),
            Follow::Over => Err(ApiError::not_found("leg", "legs", "that is to be copied")),
        }
    }

    async fn follow(&self, name: &TapName) -> Result<Follow, ApiError> {
        let (missing, needs_rings) = {
            let mut state = self.state.lock().await;
            self.leave_gone(&mut state, name).await;
            let session = state.session(&name.session)?;
            let missing = missing(session, name);
            let tap = session.running_tap(name);
            let tap = tap.ok_or_else(|| ApiError::not_found("tap", "tap", &name.tap))?;
            let left = tap.outlets.iter().any(|outlet| !outlet.sources.is_empty());
            if missing.is_empty() {
                let over = !left && !tap.config.legs.is_empty();
                return Ok(if over { Follow::Over } else { Follow::Goes });
            }
            (missing, matches!(tap.kind, TapKind::File(_)))
        };
        // Memory is made while others may have the state.
        let mut rings = Vec::new();
        if needs_rings {
            let (count, geometry) = (missing.len(), self.config.tap_rings());
            let made = tokio::task::spawn_blocking(move || (0..count).map(|_| ends(geometry)).collect());
            let made: Result<Vec<_>, ApiError> =
                made.await.map_err(|_| ApiError::unavailable("the daemon is stopping"))?;
            rings = made?;
        }
        let mut rings = rings.into_iter();
        let mut state = self.state.lock().await;
        for missing in missing {
            let ends = rings.next();
            // Gone meanwhile: there is a notice of that on its way.
            let session = state.session(&name.session)?;
            if session.legs.get(&missing.leg).is_none_or(|leg| leg.number != missing.number) {
                continue;
            }
            match ends {
                Some(ends) => self.copy_to_file(&mut state, name, missing, ends).await?,
                None => self.copy_to_peer(&mut state, name, missing).await?,
            }
        }
        Ok(Follow::Goes)
    }

    async fn copy_to_file(
        &self,
        state: &mut State,
        name: &TapName,
        missing: Missing,
        ends: Ends,
    ) -> Result<(), ApiError> {
        let (outlet, route) = (state.leg_number(), state.route_number());
        let session = state.session(&name.session)?;
        let worker = session.worker;
        let Some(tap) = session.running_tap(name) else { return Ok(()) };
        let Missing { leg, number, addresses, payload_types, codecs } = missing;
        let addresses = Arc::new(std::sync::Mutex::new(addresses));
        let source = Source {
            leg: number,
            outlet,
            ring: ends.ours,
            title: format!("{}/{leg}", name.session),
            comment: comment(name, &leg, &tap.config, &payload_types, &codecs),
            addresses: Arc::clone(&addresses),
        };
        // Before the first packet.
        self.recording.thread(&self.directory)?.tell(Order::Listen { name: name.clone(), source });
        let stats = Arc::new(LegStats::new());
        let commands = vec![
            Command::AddLeg(Box::new(LegSetup::for_application(outlet, Arc::clone(&stats)))),
            Command::AttachRing { leg: outlet, ring: ends.gateway },
            Command::AddRoute { route, from: number, to: outlet, options: RouteOptions::default() },
        ];
        if let Err(error) = self.all(worker, commands).await {
            self.abandon(worker, outlet).await;
            self.recording.thread(&self.directory)?.tell(Order::Leave { name: name.clone(), outlet });
            return Err(error);
        }
        state.count_legs(worker, 1);
        let copied = Copied { leg, number, route, addresses: Some(addresses) };
        let outlet = Outlet { number: outlet, stats, ring: Some(ends.stats), sources: vec![copied] };
        if let Some(tap) = state.session(&name.session)?.running_tap(name) {
            tap.outlets.push(outlet);
        }
        Ok(())
    }

    /// Forgets legs that are gone, and tells the others' addresses.
    async fn leave_gone(&self, state: &mut State, name: &TapName) {
        let Ok(session) = state.session(&name.session) else { return };
        let there: HashMap<LegId, Addresses> =
            session.legs.values().map(|leg| (leg.number, addresses_of(leg))).collect();
        let Some(tap) = session.running_tap(name) else { return };
        let mut gone = Vec::new();
        for outlet in &mut tap.outlets {
            outlet.sources.retain(|copied| {
                let now = there.get(&copied.number);
                if let (Some(now), Some(known)) = (now, &copied.addresses) {
                    *lock(known) = *now;
                }
                // The engine took the route away with the leg.
                if now.is_none() {
                    self.directory.remove_route(copied.route);
                }
                now.is_some()
            });
        }
        if matches!(tap.kind, TapKind::File(_)) {
            gone = tap.outlets.extract_if(.., |outlet| outlet.sources.is_empty()).collect();
            tap.lost += gone.iter().map(Outlet::dropped).sum::<u64>();
        }
        for outlet in gone {
            self.remove_outlet(state, &name.session, &outlet).await;
            if let Ok(thread) = self.recording.thread(&self.directory) {
                thread.tell(Order::Leave { name: name.clone(), outlet: outlet.number });
            }
        }
    }

    /// Takes a leg of a tap's out of the engine, with the routes to it.
    pub(super) async fn remove_outlet(&self, state: &mut State, session: &str, outlet: &Outlet) {
        let Ok(worker) = state.session(session).map(|session| session.worker) else { return };
        self.abandon(worker, outlet.number).await;
        for copied in &outlet.sources {
            self.directory.remove_route(copied.route);
        }
        state.count_legs(worker, -1);
        state.ports.freed();
    }

    pub(super) async fn abandon(&self, worker: usize, leg: LegId) {
        if let Err(error) = self.remove(worker, Command::RemoveLeg { leg }).await {
            tracing::warn!(error = error.message, "a tap's leg cannot be removed");
        }
        self.directory.remove_leg(leg);
    }

    /// Gives commands, and then waits for all answers; the first that is an error.
    pub(super) async fn all(&self, worker: usize, commands: Vec<Command>) -> Result<(), ApiError> {
        let mut tickets = Vec::with_capacity(commands.len());
        for command in commands {
            tickets.push(self.send(worker, command).await?);
        }
        let mut outcome = Ok(());
        for ticket in tickets {
            outcome = outcome.and(ticket.await.map_err(ApiError::from));
        }
        outcome
    }
}

/// The legs that the tap should copy and does not yet.
fn missing(session: &mut Session, name: &TapName) -> Vec<Missing> {
    let Some(tap) = session.running_tap(name) else { return Vec::new() };
    let wanted: HashSet<String> = tap.config.legs.iter().cloned().collect();
    let copied = tap.outlets.iter().flat_map(|outlet| &outlet.sources);
    let copied: HashSet<LegId> = copied.map(|copied| copied.number).collect();
    let room = MAX_LEGS.saturating_sub(copied.len());
    let legs = session
        .legs
        .iter()
        .filter(|(id, leg)| (wanted.is_empty() || wanted.contains(*id)) && !copied.contains(&leg.number));
    let legs = legs.take(room).map(|(id, leg)| Missing {
        leg: id.clone(),
        number: leg.number,
        addresses: addresses_of(leg),
        payload_types: leg.config.payload_types.clone(),
        codecs: leg.codecs.clone(),
    });
    legs.collect()
}

fn addresses_of(leg: &Leg) -> Addresses {
    // They were checked when the leg was made; a ring has none.
    let read = |text: &str| text.parse::<SocketAddr>().ok();
    Addresses {
        local_rtp: leg.local_rtp,
        local_rtcp: if leg.config.rtcp_mux { leg.local_rtp } else { leg.local_rtcp },
        remote: read(&leg.config.remote),
        remote_rtcp: read(&leg.config.remote_rtcp),
    }
}

fn ends(geometry: Geometry) -> Result<Ends, ApiError> {
    let made = || -> io::Result<Ends> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (near, far) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        let (end, offer) = GatewayEnd::create(geometry, near)?;
        if is_reserved(&far) || is_reserved(&offer.memory) || is_reserved(&offer.doorbell) {
            return Err(io::Error::other("as many files are open as may be"));
        }
        let ours = ApplicationEnd::open(offer, far).map_err(io::Error::other)?;
        let stats = Arc::<RingStats>::default();
        let gateway = Box::new(sluice_datapath::Ring::new(end, Arc::clone(&stats)));
        Ok(Ends { gateway, ours: Ring::from(ours), stats })
    };
    made().map_err(|error| {
        let message = format!("no memory or descriptors for a tap: {error}");
        ApiError::exhausted("RING_MEMORY", message, "look at the limits of memory and open files")
    })
}
