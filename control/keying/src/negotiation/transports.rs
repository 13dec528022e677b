//! How media lines share transports: BUNDLE (RFC 8843) and rtcp-mux (RFC 5761), and the numbers of transports.

use std::collections::HashSet;

use super::{Choice, Fault, NegotiationError, RemoteMedia, Standing, Treatment};
use crate::policy::{Handling, Policy};
use crate::sdp::Sdp;

/// Whether BUNDLE groups pass: both sides' policies must let them.
pub(super) fn bundle_passes(policy: &Policy) -> bool {
    policy.caller.bundle == Handling::Pass && policy.callee.bundle == Handling::Pass
}

/// Whether rtcp-mux passes, likewise.
pub(super) fn mux_passes(policy: &Policy) -> bool {
    policy.caller.rtcp_mux == Handling::Pass && policy.callee.rtcp_mux == Handling::Pass
}

/// Of each line the first used one of its BUNDLE group, if that is another; none where BUNDLE ends at the gateway.
pub(super) fn tagged_lines(sdp: &Sdp, policy: &Policy) -> Result<Vec<Option<usize>>, NegotiationError> {
    let mut tagged = vec![None; sdp.media().len()];
    let bundles = sdp.bundles()?;
    if !bundle_passes(policy) {
        return Ok(tagged);
    }
    for bundle in bundles {
        let used = |line: &&usize| sdp.media()[**line].port() != 0;
        let Some(first) = bundle.media.iter().find(used) else { continue };
        for line in bundle.media.iter().filter(|line| *line != first) {
            let media = &sdp.media()[*line];
            if media.port() != 0 || media.has("bundle-only") {
                tagged[*line] = Some(*first);
            }
        }
    }
    Ok(tagged)
}

/// Bundled lines go the way of their group's first line, whose address and keys are theirs (RFC 8843 section 7.2).
pub(super) fn follow_tagged(media: &mut [RemoteMedia]) {
    for line in 0..media.len() {
        let Some(tagged) = media[line].tagged else { continue };
        let first = media[tagged].clone();
        let own = &mut media[line];
        own.choices =
            first.choices.into_iter().map(|choice| Choice { configuration: None, ..choice }).collect();
        (own.remote, own.remote_rtcp, own.rtcp_mux) = (first.remote, first.remote_rtcp, first.rtcp_mux);
        own.treatment = match first.treatment {
            Treatment::Refused(_) => {
                let fault = Fault::BundledWithRefused { tagged };
                Treatment::Refused(NegotiationError::media(line, &own.kind, fault))
            }
            other => other,
        };
    }
}

/// Gives lines that pass the gateway their transports: the one they had, or that of their group, or a new one.
pub(super) fn number_transports(media: &mut [RemoteMedia], since: &Standing) -> usize {
    let mut next = since.transports;
    let mut taken = HashSet::new();
    let had = |line: usize| since.lines.get(line).and_then(|standing| standing.transport);
    for (line, media) in media.iter_mut().enumerate() {
        if media.treatment != Treatment::Gateway || media.tagged.is_some() {
            continue;
        }
        let before = had(line).or_else(|| media.partner.and_then(had));
        let number = before.filter(|number| !taken.contains(number)).unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        taken.insert(number);
        media.transport = Some(number);
    }
    let firsts: Vec<Option<usize>> = media.iter().map(|media| media.transport).collect();
    for media in media.iter_mut().filter(|media| media.treatment == Treatment::Gateway) {
        media.transport = media.tagged.map_or(media.transport, |tagged| firsts[tagged]);
    }
    next
}
