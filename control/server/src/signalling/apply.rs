//! From what two peers agreed on to what is done: legs, keys and routes of a branch.
//!
//! The order matters. Legs come first, then keys for sending, then routes, and last what lets media in, so that what was
//! held until then finds its whole way.

use sluice_datapath::Direction as Way;
use sluice_keying::negotiation::{Agreed, NegotiatedKey, OwnMedia, Protected};
use sluice_keying::policy::{EarlyMediaMode, Policy, Side};
use sluice_keying::robustness::of_agreed;
use sluice_proto::v1;

use super::call::{Attestation, Branch, MediaLeg, leg_id, other, route_id};
use super::early_media::early_media;
use super::in_media_path::Told;
use crate::gateway::robustness::{attested_shown, keying_shown};
use crate::gateway::{Reserved, Step};

/// Sources that a leg has room for, however many its peer says there will be.
const MAX_STREAMS: usize = 1024;

/// What is agreed on the transports of a branch, with the offerer and with the answerer.
pub(super) struct Outcome<'a> {
    pub(super) session: &'a str,
    pub(super) branch_id: &'a str,
    pub(super) branch: &'a Branch,
    pub(super) policy: &'a Policy,
    pub(super) latching: v1::Latching,
    /// By side and transport.
    pub(super) agreed: [&'a [Option<Agreed>]; 2],
    /// By side.
    pub(super) attestations: [&'a Attestation; 2],
}

/// What is to be done for it.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// New keys, whose forerunners retire.
    pub(super) replacing: Vec<v1::KeyRef>,
    /// How many keys were numbered so far.
    pub(super) keys: u32,
    /// By leg, what payload types mean, where that is new.
    pub(super) codecs: Vec<(String, Vec<(u8, String)>)>,
    early: Vec<Step>,
    sending: Vec<Step>,
    routes: Vec<Step>,
    late: Vec<Step>,
    receiving: Vec<Step>,
}

impl Outcome<'_> {
    /// Plans it all. `reserved` are the sockets of legs that are not there yet, by side and transport.
    pub(super) fn plan(&self, mut reserved: [Vec<Option<Reserved>>; 2]) -> Plan {
        let mut plan = Plan { keys: self.branch.keys, ..Plan::default() };
        let transports = self.agreed[0].len().max(self.agreed[1].len());
        for transport in 0..transports {
            let both = [0, 1].map(|side| self.agreed[side].get(transport).and_then(Option::as_ref));
            // What a peer refused goes with the final answer.
            let [Some(caller), Some(callee)] = both else { continue };
            for (side, agreed) in [(Side::Caller, caller), (Side::Callee, callee)] {
                let socket = reserved[usize::from(side == Side::Callee)].get_mut(transport);
                self.leg(&mut plan, side, transport, agreed, socket.and_then(Option::take));
            }
            self.routes(&mut plan, transport, caller, callee);
        }
        plan.in_order()
    }

    fn leg(&self, plan: &mut Plan, side: Side, transport: usize, agreed: &Agreed, socket: Option<Reserved>) {
        let id = leg_id(self.branch_id, side, transport);
        let there = self.branch.media.get(transport).and_then(|medium| medium.leg(side));
        let before = there.and_then(|leg| leg.agreed.as_ref());
        if let Some(leg) = there {
            self.update(plan, &id, side, leg, agreed);
        } else if let Some(at) = socket {
            let config = Box::new(self.config(side, agreed));
            plan.steps.push(Step::Leg { id: id.clone(), config, at });
            if agreed.rtcp_mux {
                // It keeps its port for RTCP, should the peers agree on another one later.
                let request = v1::UpdateLegRequest { rtcp_mux: Some(true), ..self.request(&id) };
                plan.early.push(Step::UpdateLeg(Box::new(request)));
            }
        }
        if before.map_or(&[][..], |before| &before.codecs) != agreed.codecs {
            plan.codecs.push((id.clone(), agreed.codecs.clone()));
        }
        self.keys(plan, &id, Way::Outbound, before.map(|before| &before.outbound), &agreed.outbound);
        self.keys(plan, &id, Way::Inbound, before.map(|before| &before.inbound), &agreed.inbound);
    }

    /// A leg as it is made when all is known of it.
    fn config(&self, side: Side, agreed: &Agreed) -> v1::LegConfig {
        let Told { dtls, ice } = Told::agreed(agreed, None, self.policy.peer(side));
        v1::LegConfig {
            remote: text(agreed.remote.filter(|_| ice.is_none())),
            remote_rtcp: text(rtcp_remote(agreed)),
            early_media: dtls.is_some().then(|| early_media(self.policy, false)),
            inbound: protection(&agreed.inbound).into(),
            outbound: protection(&agreed.outbound).into(),
            latching: self.latching.into(),
            payload_types: agreed.payload_types.iter().map(|number| u32::from(*number)).collect(),
            replay_window: window(agreed),
            max_streams: max_streams(agreed),
            keying: keying_shown(agreed.keying).into(),
            attestation: Some(attested_shown(self.attested(side))),
            dtls,
            ice,
            ..Default::default()
        }
    }

    /// A leg that is there becomes what was agreed; what stays is not said.
    fn update(&self, plan: &mut Plan, id: &str, side: Side, leg: &MediaLeg, now: &Agreed) {
        let before = leg.agreed.as_ref();
        let changed = |same: fn(&Agreed, &Agreed) -> bool| before.is_none_or(|before| !same(before, now));
        let checked = |agreed: &Agreed| agreed.ice.is_some();
        let moved = changed(|a, b| a.remote == b.remote && rtcp_remote(a) == rtcp_remote(b))
            || before.is_some_and(checked);
        // Where there are checks, they find where the peer is.
        let remote = now.remote.filter(|_| moved && !checked(now));
        // As it was made, if nothing was agreed yet.
        let was = |of: fn(&Agreed) -> &Protected, made| before.map_or(made, |before| protection(of(before)));
        let becomes = |of: fn(&Agreed) -> &Protected, made| {
            Some(protection(of(now))).filter(|now| *now != was(of, made)).map(Into::into)
        };
        let inbound: Option<i32> = becomes(|agreed| &agreed.inbound, v1::Protection::Srtp);
        let sent = if leg.hears_early { v1::Protection::Plain } else { v1::Protection::Srtp };
        let attested = self.attested(side);
        let same_attested = before.is_some() && attested == self.branch.peer(side).attestation.attested();
        let told = Told::agreed(now, Some(leg), self.policy.peer(side));
        let awaits_handshake = before.is_none() && leg.hears_early && told.dtls.is_some();
        let mut request = v1::UpdateLegRequest {
            early_media: awaits_handshake.then(|| early_media(self.policy, false)),
            remote: remote.map(|remote| remote.to_string()),
            remote_rtcp: remote.map(|_| text(rtcp_remote(now))),
            payload_types: changed(|a, b| a.payload_types == b.payload_types).then(|| v1::PayloadTypes {
                values: now.payload_types.iter().map(|number| u32::from(*number)).collect(),
            }),
            inbound,
            outbound: becomes(|agreed| &agreed.outbound, sent),
            rtcp_mux: Some(now.rtcp_mux).filter(|mux| *mux != before.is_some_and(|before| before.rtcp_mux)),
            // A window can be chosen only before media comes, and plain media of who was offered something may have.
            replay_window: (before.is_none()
                && (leg.hears_early || self.policy.early_media.mode != EarlyMediaMode::Plain))
                .then(|| window(now))
                .filter(|window| *window > 0),
            max_streams: Some(max_streams(now)).filter(|streams| *streams != before.map_or(0, max_streams)),
            keying: changed(|a, b| a.keying == b.keying).then(|| keying_shown(now.keying).into()),
            attestation: (!same_attested).then(|| attested_shown(attested)),
            ..self.request(id)
        };
        told.changes(&leg.told, &mut request);
        if request == self.request(id) {
            return;
        }
        // What lets plain media in comes after the routes that it takes.
        let lets_in = inbound == Some(v1::Protection::Plain.into());
        let list = if lets_in { &mut plan.late } else { &mut plan.early };
        list.push(Step::UpdateLeg(Box::new(request)));
    }

    /// A change of nothing, to be filled in.
    fn request(&self, id: &str) -> v1::UpdateLegRequest {
        v1::UpdateLegRequest { session: self.session.to_owned(), leg: id.to_owned(), ..Default::default() }
    }

    /// Keys that are not there yet.
    fn keys(&self, plan: &mut Plan, leg: &str, direction: Way, before: Option<&Protected>, now: &Protected) {
        let there = |key: &NegotiatedKey| match before {
            Some(Protected::Srtp(keys)) => keys.contains(key),
            _ => false,
        };
        let Protected::Srtp(keys) = now else { return };
        let mut new: Vec<_> = keys.iter().filter(|key| !there(key)).collect();
        if direction == Way::Outbound {
            // Of several the first is in use first, and the engine sends under the newest.
            new.truncate(1);
            if keys.first().is_none_or(there) {
                new.clear();
            }
        } else {
            // The newest is tried first.
            new.reverse();
        }
        let replaces = matches!(before, Some(Protected::Srtp(_) | Protected::InMediaPath));
        let last = new.len().saturating_sub(1);
        for (at, key) in new.into_iter().enumerate() {
            plan.keys += 1;
            let id = format!("k{}", plan.keys);
            if replaces && at == 0 {
                let way = match direction {
                    Way::Inbound => v1::Direction::Inbound,
                    Way::Outbound => v1::Direction::Outbound,
                };
                let session = self.session.to_owned();
                let (key, direction) = (id.clone(), way.into());
                plan.replacing.push(v1::KeyRef { session, leg: leg.to_owned(), key, direction });
            }
            let list = match direction {
                Way::Inbound => &mut plan.receiving,
                Way::Outbound => &mut plan.sending,
            };
            list.push(Step::Key {
                leg: leg.to_owned(),
                id,
                direction,
                key: Box::new(key.clone()),
                roc: self.policy.roc_on_rekey,
                more_follow: at < last,
            });
        }
    }

    fn routes(&self, plan: &mut Plan, transport: usize, caller: &Agreed, callee: &Agreed) {
        let medium = self.branch.media.get(transport);
        let routed = |to| medium.is_some_and(|medium| medium.has_route(to));
        let before = |side| {
            let leg = medium.and_then(|medium| medium.leg(side));
            leg.and_then(|leg| leg.agreed.as_ref())
        };
        let was = [before(Side::Caller), before(Side::Callee)];
        for (to, [from, at]) in [(Side::Callee, [caller, callee]), (Side::Caller, [callee, caller])] {
            let paused = !flows(from, at);
            if !routed(to) {
                plan.routes.push(Step::Route(Box::new(self.route(to, transport, paused))));
                continue;
            }
            let was_paused = match (to, was) {
                (Side::Callee, [Some(from), Some(at)]) | (Side::Caller, [Some(at), Some(from)]) => {
                    !flows(from, at)
                }
                _ => false,
            };
            if paused != was_paused {
                plan.routes.push(Step::UpdateRoute(Box::new(self.route(to, transport, paused))));
            }
        }
    }

    fn route(&self, to: Side, transport: usize, paused: bool) -> v1::Route {
        v1::Route {
            session: self.session.to_owned(),
            id: route_id(self.branch_id, to, transport),
            from: leg_id(self.branch_id, other(to), transport),
            to: leg_id(self.branch_id, to, transport),
            paused,
            ..Default::default()
        }
    }

    fn attested(&self, side: Side) -> sluice_keying::robustness::Attested {
        self.attestations[usize::from(side == Side::Callee)].attested()
    }

    /// What watchers are told: how each leg is keyed for which that is new.
    pub(super) fn negotiated(&self) -> Vec<(String, v1::Negotiated)> {
        let mut told = Vec::new();
        for (at, side) in Side::BOTH.into_iter().enumerate() {
            for (transport, agreed) in self.agreed[at].iter().enumerate() {
                let Some(agreed) = agreed else { continue };
                let leg = self.branch.media.get(transport).and_then(|medium| medium.leg(side));
                let before = leg.and_then(|leg| leg.agreed.as_ref());
                let same = |before: &Agreed| before.keying == agreed.keying && suite(before) == suite(agreed);
                if !before.is_some_and(same) {
                    let class = of_agreed(agreed, &self.attested(side));
                    let negotiated = v1::Negotiated {
                        keying: keying_shown(agreed.keying).into(),
                        suite: suite(agreed),
                        robustness: crate::gateway::robustness::class_shown(class).into(),
                    };
                    told.push((leg_id(self.branch_id, side, transport), negotiated));
                }
            }
        }
        told
    }
}

impl Plan {
    /// The keys that are to be installed, by their names.
    pub(super) fn installs(&self, session: &str) -> Vec<v1::KeyRef> {
        let names = self.steps.iter().filter_map(|step| match step {
            Step::Key { leg, id, direction, .. } => {
                let direction = match direction {
                    Way::Inbound => v1::Direction::Inbound,
                    Way::Outbound => v1::Direction::Outbound,
                };
                let (session, leg, key) = (session.to_owned(), leg.clone(), id.clone());
                Some(v1::KeyRef { session, leg, key, direction: direction.into() })
            }
            _ => None,
        });
        names.collect()
    }

    fn in_order(mut self) -> Self {
        for list in
            [&mut self.early, &mut self.sending, &mut self.routes, &mut self.late, &mut self.receiving]
        {
            self.steps.append(list);
        }
        self
    }
}

/// The suite of what the peer sends.
pub(super) fn suite(agreed: &Agreed) -> String {
    match &agreed.inbound {
        Protected::Plain | Protected::InMediaPath => String::new(),
        Protected::Srtp(keys) => keys.first().map(|key| key.suite.name().to_owned()).unwrap_or_default(),
    }
}

/// What a new leg of a branch is known by.
pub(super) fn media_leg(own: OwnMedia) -> MediaLeg {
    MediaLeg { own, agreed: None, hears_early: false, told: Told::default(), association: 0 }
}

/// Whether media goes from one peer to another: the one sends, and the other receives and has an address.
fn flows(from: &Agreed, to: &Agreed) -> bool {
    let has_address = to.remote.is_some() || to.ice.is_some();
    from.direction.sends() && to.direction.receives() && has_address
}

/// The remote address of RTCP as a leg takes it: only without rtcp-mux, and beside one of RTP.
fn rtcp_remote(agreed: &Agreed) -> Option<std::net::SocketAddr> {
    agreed.remote_rtcp.filter(|_| !agreed.rtcp_mux && agreed.remote.is_some() && agreed.ice.is_none())
}

pub(super) fn text(address: Option<std::net::SocketAddr>) -> String {
    address.map_or_else(String::new, |address| address.to_string())
}

const fn protection(protected: &Protected) -> v1::Protection {
    match protected {
        Protected::Plain => v1::Protection::Plain,
        Protected::Srtp(_) | Protected::InMediaPath => v1::Protection::Srtp,
    }
}

/// The window that the peer asks for (WSH, RFC 4568 section 6.3.7), which is a least one; 0: none.
fn window(agreed: &Agreed) -> u32 {
    match &agreed.inbound {
        Protected::Plain | Protected::InMediaPath => 0,
        Protected::Srtp(keys) => keys.iter().filter_map(|key| key.window).max().map_or(0, within),
    }
}

/// What the engine has of what the peer asks for.
fn within(window: u32) -> u32 {
    window.clamp(64, 32_768)
}

/// 0: as usual. A peer that says more sources than is sensible gets no more than that.
fn max_streams(agreed: &Agreed) -> u32 {
    let usual = usize::from(sluice_datapath::LegSetup::DEFAULT_MAX_STREAMS);
    let said = agreed.ssrcs.len();
    if said > usual { said.min(MAX_STREAMS) as u32 } else { 0 }
}
