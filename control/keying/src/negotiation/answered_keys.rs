//! What a line of an answer says of a handshake and of checks, and which groups it is in.

use super::dtls::{self, Place};
use super::local_answer::{Composer, Failed};
use super::standing::StandingLine;
use super::{NegotiationError, OwnAddresses, OwnMedia, ice};
use crate::ice::AgreedIce;

impl Composer<'_> {
    /// What is answered of a handshake, and whether the gateway names it.
    pub(super) fn handshake(
        &mut self,
        said: &dtls::Said,
        transport: usize,
        place: Place,
        standing: Option<&StandingLine>,
    ) -> Result<(dtls::Answered, bool), Failed> {
        let media = &self.own[transport];
        let missing = || Failed::Own(NegotiationError::NoCertificate { transport });
        let own = dtls::Own {
            media,
            fingerprints: media.dtls.as_deref().ok_or_else(missing)?,
            policy: self.policy.peer(self.side),
            suites: self.policy.dtls_suites().collect(),
        };
        Ok((dtls::answer(said, place, standing, &own, self.random), said.peer.tls_id.is_some()))
    }

    /// What is agreed on for checks: what was said before goes on unless the peer begins anew, which it does with other
    /// credentials (RFC 8839 section 4.4.2.1).
    pub(super) fn checks(
        &mut self,
        said: &ice::Said,
        addresses: &OwnAddresses,
        standing: Option<&StandingLine>,
        own: &OwnMedia,
        rtcp_mux: bool,
    ) -> AgreedIce {
        let standing = standing.filter(|standing| standing.active).and_then(|standing| standing.ice.as_ref());
        let lite = self.policy.peer(self.side).ice.is_lite();
        let goes_on =
            |before: &&AgreedIce| before.own.lite == lite && before.peer.credentials == said.peer.credentials;
        let before = standing.filter(goes_on).map(|before| &before.own);
        let with_rtcp = !rtcp_mux && own.rtp != own.rtcp;
        let own = ice::own(before, addresses, lite, with_rtcp, self.random);
        ice::agree(own, said.peer.clone(), false, standing)
    }

    /// BUNDLE groups of the offer that pass, with the lines that are accepted: "the answerer MUST NOT include a bundled
    /// "m=" section that it rejects" (RFC 8843 section 7.3).
    pub(super) fn groups(&self, accepted: impl Fn(usize) -> bool) -> Result<Vec<String>, NegotiationError> {
        let mut groups = Vec::new();
        for bundle in self.offer.sdp.bundles()? {
            let passes = |line: &&usize| {
                accepted(**line) && self.offer.media.get(**line).is_some_and(|media| media.grouped)
            };
            let mids =
                bundle.media.iter().filter(passes).filter_map(|line| self.offer.media[*line].mid.as_deref());
            let mids: Vec<_> = mids.collect();
            if !mids.is_empty() {
                groups.push(format!("BUNDLE {}", mids.join(" ")));
            }
        }
        Ok(groups)
    }
}
