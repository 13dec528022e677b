//! What is known of a call: its branches, what is pending on them, and what is in force.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use sluice_keying::negotiation::{Agreed, LocalOffer, Origin, OwnMedia, RemoteOffer, Standing};
use sluice_keying::policy::{Policy, Side};
use sluice_keying::robustness::{Attested, IdentityBinding, RobustnessClass, of_agreed};
use sluice_proto::v1;
use zeroize::Zeroizing;

use super::in_media_path::Told;
use super::requests::Requests;
use super::timers::Timer;
use super::trickle::Early;
use crate::ApiError;

/// Branches that went and are remembered, so that who speaks of them late is told why.
const REMEMBERED: usize = 64;
/// Branches that a call may have at a time.
const MAX_BRANCHES: usize = 64;
/// Of an id, so that the ids of legs are some as well.
const MAX_BRANCH_ID: usize = 64;

/// A call.
pub(super) struct Call {
    pub(super) policy: Arc<Policy>,
    pub(super) latching: v1::Latching,
    /// The caller's first offer, of which branches are made until one is selected.
    pub(super) offer: Option<Arc<RemoteOffer>>,
    /// What signalling attests of the caller's messages.
    pub(super) caller: Attestation,
    pub(super) branches: BTreeMap<String, Branch>,
    /// Branches that are gone, and why.
    pub(super) gone: VecDeque<(String, Gone)>,
    pub(super) selected: Option<String>,
    pub(super) requests: Requests,
    /// When it ends, while it has no branches.
    pub(super) timer: Option<Timer>,
}

/// Why a branch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    Dropped,
    Rejected,
    Retargeted,
    NotSelected,
    TimedOut,
}

/// A way from the caller to one callee.
pub(super) struct Branch {
    pub(super) state: v1::BranchState,
    /// The caller's and the callee's side.
    peers: [Peer; 2],
    /// By transport.
    pub(super) media: Vec<Medium>,
    /// The newest offer, until its final answer.
    pub(super) exchange: Option<Exchange>,
    /// Who made the offer before that, and its final answer: that may be repeated.
    pub(super) done: Option<(Side, Answered)>,
    /// When it goes, or the pending offer does.
    pub(super) timer: Option<Timer>,
    /// Numbers keys, so that each has an id of its own.
    pub(super) keys: u32,
    /// Media lines of the newest offer that were refused.
    pub(super) refusals: Vec<String>,
}

/// What the gateway says to one peer, and knows of it.
pub(super) struct Peer {
    pub(super) origin: Origin,
    pub(super) standing: Standing,
    pub(super) attestation: Attestation,
}

/// What signalling attests of a peer's messages, and what the gateway's own to it are.
#[derive(Clone, Default)]
pub(super) struct Attestation {
    pub(super) hop_tls: bool,
    /// What the peer's signed identity says, if one came.
    pub(super) identity: Option<v1::IdentityResult>,
    /// The gateway signed what it sent to the peer.
    pub(super) signed: bool,
}

/// A transport.
#[derive(Default)]
pub(super) struct Medium {
    /// `audio`, `video`.
    pub(super) kind: String,
    /// Why it carries nothing.
    pub(super) refused: Option<String>,
    /// The caller's and the callee's leg.
    pub(super) legs: [Option<MediaLeg>; 2],
    /// Whether there are routes both ways between them.
    pub(super) routed: bool,
}

/// A leg that there is.
pub(super) struct MediaLeg {
    pub(super) own: OwnMedia,
    /// What is in force; none: nothing yet.
    pub(super) agreed: Option<Agreed>,
    /// It was made with its peer's own offer: plain RTP is sent to it until something is agreed.
    pub(super) hears_early: bool,
    /// What it was told of its handshake and its checks.
    pub(super) told: Told,
    /// Tells associations apart that the gateway calls the same.
    pub(super) association: u32,
}

/// An offer and what became of it.
pub(super) struct Exchange {
    /// Who offered.
    pub(super) from: Side,
    pub(super) offer: Arc<RemoteOffer>,
    /// What the other side was offered.
    pub(super) local: LocalOffer,
    /// Transports whose leg towards the other side was made for this offer, and where it receives.
    pub(super) added: Vec<(usize, OwnMedia)>,
    /// How many transports there were before.
    pub(super) transports_before: usize,
    pub(super) answered: Option<Answered>,
    /// Candidates that came before the answer.
    pub(super) early: Vec<Early>,
}

/// An answer that was taken.
pub(super) struct Answered {
    /// As it came.
    pub(super) got: Zeroizing<String>,
    /// As it went on.
    pub(super) gave: Zeroizing<String>,
}

impl Call {
    pub(super) fn new(
        policy: Arc<Policy>,
        latching: v1::Latching,
        offer: Arc<RemoteOffer>,
        caller: Attestation,
    ) -> Self {
        Self {
            policy,
            latching,
            offer: Some(offer),
            caller,
            branches: BTreeMap::new(),
            gone: VecDeque::new(),
            selected: None,
            requests: Requests::default(),
            timer: None,
        }
    }

    /// The branch of this id; empty: the selected or only one.
    pub(super) fn branch_id(&self, wanted: &str) -> Result<String, ApiError> {
        if wanted.is_empty() {
            let only = || (self.branches.len() == 1).then(|| self.branches.keys().next()).flatten();
            let found = self.selected.as_ref().or_else(only).cloned();
            return found.ok_or_else(|| {
                let message = format!("is empty, and the call has {} branches", self.branches.len());
                ApiError::invalid("branch", message, "name the branch; GetCall lists them")
            });
        }
        if self.branches.contains_key(wanted) {
            return Ok(wanted.to_owned());
        }
        match self.why_gone(wanted) {
            Some(gone) => Err(gone.late(wanted)),
            None => Err(ApiError::not_found("branch", "branch", wanted)),
        }
    }

    /// The branch of an id that [`Self::branch_id`] gave.
    pub(super) fn branch(&mut self, id: &str) -> Result<&mut Branch, ApiError> {
        self.branches.get_mut(id).ok_or_else(|| ApiError::not_found("branch", "branch", id))
    }

    pub(super) fn why_gone(&self, branch: &str) -> Option<Gone> {
        self.gone.iter().find(|(id, _)| id == branch).map(|(_, gone)| *gone)
    }

    /// Checks the id of a branch to be.
    pub(super) fn check_new(&self, field: &'static str, id: &str) -> Result<(), ApiError> {
        crate::error::check_id(field, id)?;
        if id.len() > MAX_BRANCH_ID {
            let message = format!("has {} characters", id.len());
            return Err(ApiError::invalid(field, message, "give at most 64"));
        }
        if self.branches.contains_key(id) || self.why_gone(id).is_some() {
            let message = format!("branch {id:?} is or was there");
            let error = ApiError::exists("branch", id, field);
            // A late answer to the old one must not be taken for one to the new.
            return Err(ApiError { message, remedy: "choose an id that the call had not yet", ..error });
        }
        self.first_offer()?;
        if self.branches.len() == MAX_BRANCHES {
            let message = format!("the call has {MAX_BRANCHES} branches, as many as it may");
            return Err(ApiError::exhausted("LIMIT", message, "drop branches"));
        }
        Ok(())
    }

    /// The caller's first offer, as long as branches may be made of it.
    pub(super) fn first_offer(&self) -> Result<Arc<RemoteOffer>, ApiError> {
        self.offer.clone().ok_or_else(|| {
            let message = "a branch was selected: the call has been answered";
            ApiError::precondition("CALL_ANSWERED", message, "end the call and make a new one")
        })
    }

    /// Takes a branch out, and remembers why.
    pub(super) fn take_out(&mut self, id: &str, why: Gone) -> Option<Branch> {
        let branch = self.branches.remove(id)?;
        if self.gone.len() == REMEMBERED {
            self.gone.pop_front();
        }
        self.gone.push_back((id.to_owned(), why));
        if self.selected.as_deref() == Some(id) {
            self.selected = None;
        }
        Some(branch)
    }

    /// The weakest class of the selected branch, or of all.
    pub(super) fn robustness(&self) -> Option<RobustnessClass> {
        let selected = self.selected.as_ref().and_then(|id| self.branches.get(id));
        match selected {
            Some(branch) => branch.robustness(),
            None => RobustnessClass::weakest(self.branches.values().filter_map(Branch::robustness)),
        }
    }
}

impl Branch {
    /// A branch of which nothing was said yet to either peer.
    pub(super) fn new(caller: Attestation, random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut peer =
            |attestation| Peer { origin: Origin::new(random), standing: Standing::default(), attestation };
        let peers = [peer(caller), peer(Attestation::default())];
        Self {
            state: v1::BranchState::Offered,
            peers,
            media: Vec::new(),
            exchange: None,
            done: None,
            timer: None,
            keys: 0,
            refusals: Vec::new(),
        }
    }

    pub(super) fn peer(&self, side: Side) -> &Peer {
        &self.peers[at(side)]
    }

    pub(super) fn peer_mut(&mut self, side: Side) -> &mut Peer {
        &mut self.peers[at(side)]
    }

    /// The offer that has no answer yet.
    pub(super) fn pending(&self) -> Option<&Exchange> {
        self.exchange.as_ref().filter(|exchange| exchange.answered.is_none())
    }

    /// The newest offer has its final answer: nothing of it is needed any more but to answer repetitions.
    pub(super) fn conclude(&mut self) {
        self.state = v1::BranchState::Answered;
        if self.pending().is_none()
            && let Some(Exchange { from, answered: Some(answered), .. }) = self.exchange.take()
        {
            self.done = Some((from, answered));
        }
    }

    /// The weakest class of all its legs, as far as something was agreed.
    pub(super) fn robustness(&self) -> Option<RobustnessClass> {
        let classes = self.media.iter().flat_map(|medium| {
            Side::BOTH.into_iter().filter_map(|side| {
                let agreed = medium.leg(side)?.agreed.as_ref()?;
                Some(of_agreed(agreed, &self.peer(side).attestation.attested()))
            })
        });
        RobustnessClass::weakest(classes)
    }

    /// How long it may still go without a final answer.
    pub(super) fn milliseconds_left(&self) -> u64 {
        let left = self.timer.map(|timer| timer.at.saturating_duration_since(Instant::now()));
        // One that is overdue is about to go, which is not the same as not to.
        left.map_or(0, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

impl Attestation {
    /// What the class of the peer's legs depends on. The gateway's own message, signed by it, counts like a peer's that
    /// was verified.
    pub(super) fn attested(&self) -> Attested {
        let covers = |identity: &v1::IdentityResult| identity.verified && identity.covers_keys;
        let verified = self.identity.as_ref().is_some_and(covers);
        let identity = match (verified, self.signed) {
            (true, true) => IdentityBinding::OfferAndAnswer,
            (false, false) => IdentityBinding::None,
            _ => IdentityBinding::One,
        };
        Attested { hop_confidential: self.hop_tls, identity }
    }
}

impl Medium {
    /// What was agreed with both peers is in force. What was not with both goes, once no other answer can follow.
    pub(super) fn agree(&mut self, caller: Option<Agreed>, callee: Option<Agreed>, policy: &Policy) {
        match (caller, callee) {
            (Some(caller), Some(callee)) => {
                for ((leg, agreed), side) in self.legs.iter_mut().zip([caller, callee]).zip(Side::BOTH) {
                    if let Some(leg) = leg {
                        leg.told = Told::agreed(&agreed, Some(leg), policy.peer(side));
                        leg.association = leg.association(agreed.dtls.as_ref());
                        leg.agreed = Some(agreed);
                    }
                }
                (self.routed, self.refused) = (true, None);
            }
            _ => self.refused = Some("a peer refused it, or removed it".to_owned()),
        }
    }

    pub(super) fn leg(&self, side: Side) -> Option<&MediaLeg> {
        self.legs[at(side)].as_ref()
    }

    /// Whether there is a route towards a side.
    pub(super) fn has_route(&self, to: Side) -> bool {
        self.routed || self.leg(to).is_some_and(|leg| leg.hears_early)
    }

    pub(super) fn slot(&mut self, side: Side) -> &mut Option<MediaLeg> {
        &mut self.legs[at(side)]
    }
}

impl Gone {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Dropped => "it was dropped",
            Self::Rejected => "its offer was refused",
            Self::Retargeted => "another took its place",
            Self::NotSelected => "another was selected",
            Self::TimedOut => "no final answer came in time",
        }
    }

    /// What who speaks of the branch is told.
    pub(super) fn late(self, branch: &str) -> ApiError {
        let message = format!("branch {branch:?} is gone: {}", self.words());
        let remedy = "do not send its messages on; answer 200 to a late INVITE response with BYE";
        ApiError::precondition("BRANCH_GONE", message, remedy).at("branch")
    }
}

/// The other side.
pub(super) const fn other(side: Side) -> Side {
    match side {
        Side::Caller => Side::Callee,
        Side::Callee => Side::Caller,
    }
}

const fn at(side: Side) -> usize {
    match side {
        Side::Caller => 0,
        Side::Callee => 1,
    }
}

/// The id of the leg of a branch's transport towards a side.
pub(super) fn leg_id(branch: &str, side: Side, transport: usize) -> String {
    format!("{branch}.{side}.{transport}")
}

/// The id of the route of a branch's transport towards a side.
pub(super) fn route_id(branch: &str, to: Side, transport: usize) -> String {
    format!("{branch}.to-{to}.{transport}")
}
