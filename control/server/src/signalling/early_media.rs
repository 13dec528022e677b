//! Media before the answer: what legs towards who is offered something make of it, and the legs by which a caller hears
//! plain RTP that early (RFC 5479 R-ALLOW-RTP).
//!
//! ```text
//!  ProcessOffer ───▶ callee's leg ──plain RTP──▶ caller's leg ──▶ where her offer says that she receives
//!  ProcessAnswer ──▶ both become what was agreed, and plain RTP is refused if that is SRTP
//! ```

use sluice_keying::negotiation::OwnMedia;
use sluice_keying::policy::{EarlyMediaMode, Policy, Side};
use sluice_proto::v1;

use super::apply::{media_leg, text};
use super::call::{Branch, Call, MediaLeg, leg_id, route_id};
use super::in_media_path::Told;
use super::offer::Composed;
use super::{Signalling, policy};
use crate::ApiError;
use crate::gateway::Step;

/// The caller's legs that a branch has from its offer on.
#[derive(Default)]
pub(super) struct Hearing {
    pub(super) steps: Vec<Step>,
    /// Transports, and where the legs receive once something is agreed.
    pub(super) legs: Vec<(usize, OwnMedia)>,
}

impl Signalling {
    /// What has the caller hear plain RTP of a branch's callee before it answers: a leg and a route for each new transport
    /// on which the policy lets it through, and her offer says that and where she takes it. None where she must have
    /// SRTP: of the keys that she is to decrypt with she is not told before the answer.
    pub(super) async fn hear_early(
        &self,
        session: &str,
        branch: &str,
        call: &Call,
        composed: &Composed,
    ) -> Result<Hearing, ApiError> {
        let mut hearing = Hearing::default();
        // The policy may be another than that by which her offer was read.
        let refused = call.policy.refuses_plain(Side::Caller).is_some();
        if refused || call.policy.early_media.mode != EarlyMediaMode::Plain {
            return Ok(hearing);
        }
        let lets_through = |transport: usize| {
            let told = composed.told.get(transport).and_then(Option::as_ref);
            told.is_none_or(may_be_plain)
        };
        let new = composed.exchange.added.iter().map(|(transport, _)| *transport);
        let heard = new.filter(|transport| lets_through(*transport)).filter_map(|transport| {
            let line = composed.exchange.offer.takes_plain_early(transport)?;
            Some((transport, line.remote?, line.remote_rtcp))
        });
        let heard: Vec<_> = heard.collect();
        let side = call.policy.peer(Side::Caller);
        let mut wanted = Vec::with_capacity(heard.len());
        for (_, remote, _) in &heard {
            wanted.push((self.local_address(side, Some(*remote))?, false));
        }
        for ((transport, rtp, rtcp), at) in heard.into_iter().zip(self.gateway.reserve(&wanted).await?) {
            hearing.legs.push((transport, self.own_media(&at, side)?));
            let config = v1::LegConfig {
                remote: rtp.to_string(),
                remote_rtcp: text(rtcp),
                // She has no address to send to before the answer.
                inbound: v1::Protection::Srtp.into(),
                outbound: v1::Protection::Plain.into(),
                latching: call.latching.into(),
                keying: v1::Keying::None.into(),
                ..Default::default()
            };
            let id = leg_id(branch, Side::Caller, transport);
            hearing.steps.push(Step::Leg { id: id.clone(), config: Box::new(config), at });
            hearing.steps.push(Step::Route(Box::new(v1::Route {
                session: session.to_owned(),
                id: route_id(branch, Side::Caller, transport),
                from: leg_id(branch, Side::Callee, transport),
                to: id,
                ..Default::default()
            })));
        }
        Ok(hearing)
    }
}

impl Branch {
    /// The caller hears it by these legs.
    pub(super) fn hears_early(&mut self, legs: Vec<(usize, OwnMedia)>) {
        for (transport, own) in legs {
            if let Some(medium) = self.media.get_mut(transport) {
                *medium.slot(Side::Caller) = Some(MediaLeg { hears_early: true, ..media_leg(own) });
            }
        }
    }
}

/// A leg towards who is offered something, as it is made before it is known what is agreed. It takes media as its policy
/// says of early media.
pub(super) fn offered(policy: &Policy, latching: v1::Latching, told: Told) -> v1::LegConfig {
    v1::LegConfig {
        inbound: v1::Protection::Srtp.into(),
        outbound: v1::Protection::Srtp.into(),
        latching: latching.into(),
        early_media: Some(early_media(policy, may_be_plain(&told))),
        dtls: told.dtls,
        ice: told.ice,
        ..Default::default()
    }
}

/// Whether who is offered this may send plain RTP before its answer. Who may begin a handshake instead, or checks, is not
/// heard without.
fn may_be_plain(told: &Told) -> bool {
    told.dtls.is_none() && told.ice.is_none()
}

/// What becomes of media before the first key. Where a handshake brings that, nothing is let through plain: it is held, as
/// what comes under the handshake's key may overtake it.
pub(super) fn early_media(policy: &Policy, may_be_plain: bool) -> v1::EarlyMedia {
    let early = &policy.early_media;
    let mode = match early.mode {
        EarlyMediaMode::Plain if !may_be_plain => EarlyMediaMode::Hold,
        mode => mode,
    };
    let (packets, milliseconds) = match mode {
        EarlyMediaMode::Hold => (early.packets.into(), early.milliseconds.into()),
        EarlyMediaMode::Plain | EarlyMediaMode::Drop => (0, 0),
    };
    v1::EarlyMedia { mode: policy::early_media_mode(mode).into(), packets, milliseconds }
}
