//! Offers: the caller's first, and later ones of either side.

use std::mem::take;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sluice_keying::negotiation::{LocalOffer, Origin, OwnMedia, RemoteOffer, Standing};
use sluice_keying::policy::{PeerPolicy, Policy, Side};
use sluice_proto::v1;
use zeroize::Zeroize;

use super::apply::media_leg;
use super::call::{Attestation, Branch, Call, Exchange, Medium, leg_id, other};
use super::early_media::offered;
use super::in_media_path::Told;
use super::requests::Request;
use super::{Random, Signalling, policy, shown};
use crate::ApiError;
use crate::config::MediaAddress;
use crate::gateway::{Change, Step};

const FIRST_BRANCH: &str = "main";
/// Transports that a call may have: each takes two sockets on either side of every branch.
pub(super) const MAX_TRANSPORTS: usize = 64;
/// Of a transport that is not used any more.
pub(super) const NOWHERE: OwnMedia = {
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    OwnMedia::new(nowhere, nowhere)
};

/// What the other side is to be offered, before it is.
pub(super) struct Composed {
    pub(super) exchange: Exchange,
    /// Transports that are new.
    media: Vec<Medium>,
    origin: Origin,
    pub(super) steps: Vec<Step>,
    /// What legs towards the other side are told, by transport.
    pub(super) told: Vec<Option<Told>>,
    identity: Option<v1::SignedIdentity>,
}

impl Signalling {
    /// An offer, the first of a session or a later one. Its SDP is wiped, as it has keys.
    pub(crate) async fn process_offer(
        &self,
        mut asked: v1::ProcessOfferRequest,
    ) -> Result<v1::ProcessOfferResponse, ApiError> {
        let answer = self.any_offer(&asked).await;
        asked.sdp.zeroize();
        answer
    }

    async fn any_offer(&self, asked: &v1::ProcessOfferRequest) -> Result<v1::ProcessOfferResponse, ApiError> {
        crate::error::check_id("session", &asked.session)?;
        let request = Request::new(&asked.request_id, "ProcessOffer", asked)?;
        loop {
            let place = self.gateway.calls.enter(&asked.session);
            let mut guard = place.call.lock().await;
            if place.has_left() {
                continue;
            }
            let Some(call) = guard.as_mut() else {
                match self.first_offer(asked).await {
                    Ok((mut call, answer)) => {
                        call.requests.answered(request.as_ref(), &answer);
                        *guard = Some(call);
                        return Ok(answer);
                    }
                    Err(error) => {
                        self.gateway.calls.give_up(&place);
                        return Err(error);
                    }
                }
            };
            if let Some(answer) = call.requests.repeated(request.as_ref())? {
                return Ok(answer);
            }
            let answer = self.later_offer(call, asked).await?;
            call.requests.answered(request.as_ref(), &answer);
            return Ok(answer);
        }
    }

    async fn first_offer(
        &self,
        asked: &v1::ProcessOfferRequest,
    ) -> Result<(Call, v1::ProcessOfferResponse), ApiError> {
        if asked.from() == v1::CallSide::Callee {
            let message = "is the callee, and the session has no call yet";
            return Err(ApiError::invalid("from", message, "hand in the caller's offer first"));
        }
        let base = &self.gateway.config.policy;
        let policy = match &asked.policy {
            Some(own) => policy::merged(base, own)?,
            None => base.clone(),
        };
        let latching = asked.policy.as_ref().map_or(v1::Latching::Unspecified, v1::SessionPolicy::latching);
        let offer = self.read_offer(&asked.session, "", &asked.sdp, &policy, Side::Caller, None)?;
        let caller = self.attested(&asked.session, asked.attestation.as_ref(), &asked.sdp)?;
        let mut call = Call::new(Arc::new(policy), latching, Arc::new(offer), caller);
        let branch = if asked.branch.is_empty() { FIRST_BRANCH } else { &asked.branch };
        call.check_new("branch", branch)?;
        let made = Some(asked.labels.clone());
        let (sdp, identity) =
            self.make_branch(&mut call, &asked.session, branch, made, asked.sign.as_ref()).await?;
        let shown = Some(shown::call(&asked.session, &call));
        let branch = branch.to_owned();
        Ok((call, v1::ProcessOfferResponse { sdp, branch, identity, call: shown }))
    }

    async fn later_offer(
        &self,
        call: &mut Call,
        asked: &v1::ProcessOfferRequest,
    ) -> Result<v1::ProcessOfferResponse, ApiError> {
        let session = asked.session.as_str();
        let id = call.branch_id(&asked.branch)?;
        let from = match asked.from() {
            v1::CallSide::Caller => Side::Caller,
            v1::CallSide::Callee => Side::Callee,
            v1::CallSide::Unspecified => {
                let remedy = "say CALL_SIDE_CALLER or CALL_SIDE_CALLEE; who offered first is the caller";
                return Err(ApiError::invalid("from", "is not specified in a re-offer", remedy));
            }
        };
        let policy = match &asked.policy {
            Some(own) => Arc::new(policy::merged(&self.gateway.config.policy, own)?),
            None => Arc::clone(&call.policy),
        };
        let latching = asked.policy.as_ref().map_or(call.latching, v1::SessionPolicy::latching);
        let branch = call.branch(&id)?;
        may_offer(&id, branch)?;
        let standing = Some(&branch.peer(from).standing);
        let offer = self.read_offer(session, &id, &asked.sdp, &policy, from, standing)?;
        let before = &branch.peer(from).attestation;
        let attestation = Attestation {
            signed: before.signed,
            ..self.attested(session, asked.attestation.as_ref(), &asked.sdp)?
        };
        let offer = Arc::new(offer);
        let sign = asked.sign.as_ref();
        let offering = Offering { session, id: &id, branch, policy: &policy, latching, from, offer, sign };
        let mut composed = self.compose(offering).await?;
        let steps = take(&mut composed.steps);
        if !steps.is_empty() {
            self.gateway.change(Change { session: session.to_owned(), steps, ..Change::default() }).await?;
        }
        let (sdp, identity) = branch.offered(composed);
        branch.peer_mut(from).attestation = attestation;
        let needs_timer = branch.timer.is_none();
        (call.policy, call.latching) = (policy, latching);
        if needs_timer {
            let timer = self.arm(session, &id, call);
            call.branch(&id)?.timer = Some(timer);
        }
        self.tell(session, &id, v1::CallChange::Reoffered, "");
        Ok(v1::ProcessOfferResponse { sdp, branch: id, identity, call: Some(shown::call(session, call)) })
    }

    fn read_offer(
        &self,
        session: &str,
        branch: &str,
        sdp: &str,
        policy: &Policy,
        from: Side,
        standing: Option<&Standing>,
    ) -> Result<RemoteOffer, ApiError> {
        let nothing = Standing::default();
        let read = RemoteOffer::reread(sdp, policy, from, standing.unwrap_or(&nothing));
        read.map_err(|error| self.refused(session, branch, &error))
    }

    /// The offer for the other side, with sockets for the transports that have no leg there yet.
    pub(super) async fn compose(&self, offering: Offering<'_>) -> Result<Composed, ApiError> {
        let Offering { session, id, branch, policy, latching, from, offer, sign } = offering;
        let towards = other(from);
        let peer = branch.peer(towards);
        let there = |transport: usize| branch.media.get(transport).and_then(|medium| medium.leg(towards));
        let transports = offer.transports();
        if transports > MAX_TRANSPORTS {
            let message = format!("has {transports} media that would pass the gateway");
            return Err(ApiError::exhausted("LIMIT", message, "offer at most 64 in a call").at("sdp"));
        }
        let wanted = |transport: &usize| offer.uses(*transport) && there(*transport).is_none();
        let added: Vec<_> = (0..transports).filter(wanted).collect();
        let address = self.local_address(policy.peer(towards), None)?;
        let mut reserved = self.gateway.reserve(&vec![(address, false); added.len()]).await?.into_iter();
        let mut own = Vec::with_capacity(transports);
        let mut sockets = Vec::with_capacity(added.len());
        for transport in 0..transports {
            if let Some(leg) = there(transport) {
                own.push(self.own_now(session, &leg_id(id, towards, transport), leg).await);
            } else if let Some(at) = wanted(&transport).then(|| reserved.next()).flatten() {
                own.push(self.own_media(&at, policy.peer(towards))?);
                sockets.push((transport, at));
            } else {
                own.push(NOWHERE);
            }
        }
        let mut random = Random::default();
        let mut origin = peer.origin.clone();
        let mut fill = |octets: &mut [u8]| random.fill(octets);
        let composed =
            LocalOffer::recompose(&offer, &peer.standing, &own, policy, towards, &mut origin, &mut fill);
        let local = composed.map_err(|error| self.refused(session, id, &error))?;
        random.check()?;
        let told: Vec<_> = local
            .offered()
            .iter()
            .enumerate()
            .map(|(transport, offered)| {
                Some(Told::offered(offered.as_ref()?, there(transport), policy.peer(towards)))
            })
            .collect();
        let mut steps = Vec::with_capacity(sockets.len());
        for (transport, at) in sockets {
            let told = told.get(transport).cloned().flatten().unwrap_or_default();
            let config = Box::new(offered(policy, latching, told));
            steps.push(Step::Leg { id: leg_id(id, towards, transport), config, at });
        }
        for (transport, told) in told.iter().enumerate() {
            let (Some(told), Some(leg)) = (told, there(transport)) else { continue };
            let (session, leg_id) = (session.to_owned(), leg_id(id, towards, transport));
            let mut request = v1::UpdateLegRequest { session, leg: leg_id, ..Default::default() };
            if told.changes(&leg.told, &mut request) {
                steps.push(Step::UpdateLeg(Box::new(request)));
            }
        }
        let identity = self.signed(sign, local.sdp())?;
        let transports_before = branch.media.len();
        let kinds = kinds(&offer);
        let new = transports_before..transports.max(transports_before);
        let media =
            new.map(|at| Medium { kind: kinds.get(at).cloned().unwrap_or_default(), ..Medium::default() });
        let media = media.collect();
        let added = added.into_iter().filter_map(|at| Some((at, own.get(at)?.clone()))).collect();
        let exchange =
            Exchange { from, offer, local, added, transports_before, answered: None, early: Vec::new() };
        Ok(Composed { exchange, media, origin, steps, told, identity })
    }

    /// The local address of legs towards a side: the policy's, else a configured one, of the peer's family if that is
    /// known.
    pub(super) fn local_address(
        &self,
        peer: &PeerPolicy,
        remote: Option<SocketAddr>,
    ) -> Result<IpAddr, ApiError> {
        if let Some(address) = peer.address {
            return Ok(address);
        }
        let addresses = &self.gateway.config.media.addresses;
        let fits =
            |address: &&MediaAddress| remote.is_none_or(|remote| remote.is_ipv4() == address.0.is_ipv4());
        let found = addresses.iter().find(fits).or(addresses.first());
        found.map(|address| address.0).ok_or_else(|| {
            let message = "names no local address, and the configuration has no media.addresses";
            ApiError::invalid("policy", message, "set media.addresses, or address of the policy's side")
        })
    }
}

/// An offer that is to go on to the other side of a branch.
pub(super) struct Offering<'a> {
    pub(super) session: &'a str,
    pub(super) id: &'a str,
    pub(super) branch: &'a Branch,
    pub(super) policy: &'a Policy,
    pub(super) latching: v1::Latching,
    pub(super) from: Side,
    pub(super) offer: Arc<RemoteOffer>,
    pub(super) sign: Option<&'a v1::IdentityRequest>,
}

impl Branch {
    /// The other side is offered it; the SDP, and a signature if there is one.
    pub(super) fn offered(&mut self, composed: Composed) -> (String, Option<v1::SignedIdentity>) {
        let Composed { exchange, media, origin, told, identity, .. } = composed;
        let towards = other(exchange.from);
        self.refusals = exchange.offer.refusals().map(ToString::to_string).collect();
        self.media.extend(media);
        for (transport, own) in &exchange.added {
            if let Some(medium) = self.media.get_mut(*transport) {
                *medium.slot(towards) = Some(media_leg(own.clone()));
            }
        }
        for (medium, told) in self.media.iter_mut().zip(told) {
            if let (Some(leg), Some(told)) = (medium.slot(towards), told) {
                leg.told = told;
            }
        }
        let peer = self.peer_mut(towards);
        peer.origin = origin;
        peer.attestation.signed = identity.is_some();
        let sdp = exchange.local.sdp().to_owned();
        (self.exchange, self.done) = (Some(exchange), None);
        (sdp, identity)
    }
}

/// Whether an offer may come now: only if none is pending, and something was agreed that it could change.
fn may_offer(id: &str, branch: &Branch) -> Result<(), ApiError> {
    if branch.state == v1::BranchState::Offered {
        let message = format!("branch {id:?} has an offer that is not answered yet");
        let remedy = "hand in the answer (ProcessAnswer), or make another branch (CreateBranch)";
        return Err(ApiError::precondition("OFFER_PENDING", message, remedy));
    }
    if let Some(pending) = branch.pending() {
        let message = format!("branch {id:?} has an offer of the {} that is not answered yet", pending.from);
        // RFC 3261 section 14.1.
        let remedy = "refuse this one (SIP: 491), or hand in an answer or refusal of the other first";
        return Err(ApiError::precondition("OFFER_PENDING", message, remedy));
    }
    Ok(())
}

/// The media type of each transport's first line.
fn kinds(offer: &RemoteOffer) -> Vec<String> {
    let mut kinds = vec![String::new(); offer.transports()];
    for media in offer.media().iter().rev() {
        if let Some(kind) = media.transport.and_then(|transport| kinds.get_mut(transport)) {
            media.kind.clone_into(kind);
        }
    }
    kinds
}
