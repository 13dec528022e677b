//! The connectivity checks of one leg, and what they found.

use std::net::SocketAddr;
use std::time::Instant;

use sluice_datapath::Component;
use sluice_keying::ice::{Agent, Candidate, Credentials, Event, IceError, Output};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;

use super::counters::add;
use super::keyer::Shared;
use super::wanted::{Wanted, WantedIce};

/// The gateway's and the peer's address of a chosen pair.
type Pair = (SocketAddr, SocketAddr);

/// The checks of one leg.
pub(super) struct Checks {
    agent: Agent,
    wanted: WantedIce,
    /// Those of before the last restart, to which an offer that is refused goes back.
    before: Option<Credentials>,
    rtcp_mux: bool,
    /// By component.
    selected: [Option<Pair>; 2],
    /// Whether RTP's was chosen by the credentials that there are now.
    is_current: bool,
    state: v1::IceState,
    timeout: Option<Instant>,
}

/// Where media goes from now on.
pub(super) struct Selected {
    pub(super) rtp: SocketAddr,
    pub(super) rtcp: Option<SocketAddr>,
}

impl Checks {
    pub(super) fn new(ice: &WantedIce, wanted: &Wanted, now: Instant) -> Self {
        let mut agent = Agent::new(&ice.own, ice.controlling, now);
        if wanted.rtcp_mux {
            agent.drop_component(2, now);
        }
        if let Some(peer) = &ice.peer {
            agent.set_peer(peer, now);
        }
        Self {
            agent,
            wanted: ice.clone(),
            before: None,
            rtcp_mux: wanted.rtcp_mux,
            selected: [None; 2],
            is_current: false,
            state: v1::IceState::Checking,
            timeout: None,
        }
    }

    /// Signalling wants something else. Other credentials are a restart (RFC 8445 section 9), and those of before it the
    /// end of one that was refused.
    pub(super) fn change(&mut self, ice: &WantedIce, wanted: &Wanted, now: Instant) {
        let credentials = &ice.own.credentials;
        if *credentials != self.wanted.own.credentials {
            let goes_back = self.before.take_if(|before| before == credentials).is_some();
            self.is_current = goes_back && self.agent.abandon_restart(now);
            if !self.is_current {
                self.agent.restart(&ice.own, now);
                self.before = Some(self.wanted.own.credentials.clone());
            }
        }
        if wanted.rtcp_mux && !self.rtcp_mux {
            self.agent.drop_component(2, now);
        }
        self.rtcp_mux = wanted.rtcp_mux;
        if let Some(peer) = ice.peer.as_ref().filter(|peer| self.wanted.peer.as_ref() != Some(*peer)) {
            self.agent.set_peer(peer, now);
        }
        self.wanted = ice.clone();
    }

    pub(super) fn add(&mut self, candidates: Vec<Candidate>, end: bool, now: Instant) {
        for candidate in candidates {
            if let Err(error) = self.agent.add_peer_candidate(candidate, now) {
                tracing::debug!(%error, "a candidate is passed over");
            }
        }
        if end {
            self.agent.end_of_candidates(now);
        }
    }

    pub(super) fn take(
        &mut self,
        component: Component,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Result<(), IceError> {
        self.agent.handle_datagram(now, local, remote, number(component), datagram)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if self.timeout.is_some_and(|at| at <= now) {
            self.agent.handle_timeout(now);
        }
    }

    /// Whether an address has passed a check; none: nobody makes checks, as between two that only answer them.
    pub(super) fn is_checked(&self, component: Component, remote: SocketAddr) -> Option<bool> {
        self.agent.has_checks().then(|| self.agent.is_checked(number(component), remote))
    }

    /// Where a handshake may begin: after a restart only once it has chosen a pair (RFC 8842 section 6).
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        let chosen = self.selected[Component::Rtp as usize].filter(|_| self.is_current);
        chosen.map(|(_, remote)| remote)
    }

    /// The peer's addresses that were chosen, by component; empty while one is missing.
    pub(super) fn chosen(&self) -> Vec<(u16, SocketAddr)> {
        let components = if self.rtcp_mux { 1 } else { self.selected.len() };
        let chosen = (1..).zip(self.selected).take(components);
        let chosen = chosen.map(|(component, pair)| pair.map(|(_, remote)| (component, remote)));
        chosen.collect::<Option<_>>().filter(|_| self.is_current).unwrap_or_default()
    }

    pub(super) fn has_lost_consent(&self) -> bool {
        self.state == v1::IceState::ConsentLost
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.timeout
    }

    pub(super) fn show(&self, shown: &mut v1::MediaPath) {
        shown.ice_state = self.state.into();
        if let Some((local, remote)) = self.selected[Component::Rtp as usize] {
            (shown.selected_local, shown.selected_remote) = (local.to_string(), remote.to_string());
        }
        let line = |candidate: &Candidate| {
            let line = candidate.to_string();
            line.strip_prefix("candidate:").map(ToOwned::to_owned).unwrap_or(line)
        };
        shown.own_candidates = self.wanted.own.candidates.iter().map(line).collect();
        if self.state != v1::IceState::Connected {
            shown.explanation = format!("ICE: {}", self.agent.state());
        }
    }

    /// Takes from the agent what it has to say. The newest choice of addresses, if there is another.
    pub(super) fn drain(&mut self, shared: &mut Shared) -> Option<Selected> {
        let mut selected = None;
        loop {
            match self.agent.poll() {
                Output::Transmit(datagram) => {
                    shared.send(component_of(datagram.component), datagram.remote, datagram.bytes);
                }
                Output::Timeout(at) => {
                    self.timeout = at;
                    return selected;
                }
                Output::Event(event) => selected = self.happened(&event, shared).or(selected),
            }
        }
    }

    fn happened(&mut self, event: &Event, shared: &mut Shared) -> Option<Selected> {
        match *event {
            Event::Selected { component, local, remote } => {
                add(&shared.counters.selected);
                let component = component_of(component);
                self.selected[component as usize] = Some((local, remote));
                self.is_current |= component == Component::Rtp;
                self.state = v1::IceState::Connected;
                self.tell(component, Some((local, remote)), shared);
                let [Some((_, rtp)), rtcp] = self.selected else { return None };
                let rtcp = rtcp.map(|(_, remote)| remote).filter(|_| !self.rtcp_mux);
                return Some(Selected { rtp, rtcp });
            }
            Event::ConsentLost { component } => {
                add(&shared.counters.consent_lost);
                self.state = v1::IceState::ConsentLost;
                self.tell(component_of(component), None, shared);
            }
            Event::Failed { component } => {
                self.state = v1::IceState::Failed;
                self.tell(component_of(component), None, shared);
            }
            Event::Checked { .. } | Event::Role { .. } => {}
        }
        None
    }

    fn tell(&self, component: Component, pair: Option<Pair>, shared: &mut Shared) {
        let [local, remote] = pair.map_or_else(Default::default, |(local, remote)| {
            [local, remote].map(|address| address.to_string())
        });
        let reason = if pair.is_some() { String::new() } else { self.agent.state().to_string() };
        shared.tell(Kind::IceChanged(v1::IceChanged {
            state: self.state.into(),
            rtcp: component == Component::Rtcp,
            local,
            remote,
            reason,
        }));
    }
}

/// A component as ICE numbers it.
const fn number(component: Component) -> u16 {
    match component {
        Component::Rtp => 1,
        Component::Rtcp => 2,
    }
}

const fn component_of(number: u16) -> Component {
    if number == 2 { Component::Rtcp } else { Component::Rtp }
}
