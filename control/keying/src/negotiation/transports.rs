//! How media lines share transports: BUNDLE (RFC 8843) and rtcp-mux (RFC 5761), and the numbers of transports.

use std::collections::HashSet;

use super::address::DISCARD;
use super::levels::Levels;
use super::{Choice, Fault, NegotiationError, RemoteMedia, Standing, Treatment};
use crate::policy::{Handling, Policy};
use crate::sdp::{Sdp, Secured};

/// Whether BUNDLE groups pass: both sides' policies must let them.
pub(super) fn bundle_passes(policy: &Policy) -> bool {
    policy.caller.bundle == Handling::Pass && policy.callee.bundle == Handling::Pass
}

/// Whether rtcp-mux passes, likewise.
pub(super) fn mux_passes(policy: &Policy) -> bool {
    policy.caller.rtcp_mux == Handling::Pass && policy.callee.rtcp_mux == Handling::Pass
}

/// The BUNDLE groups of a description that are kept as they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    /// Of each line the tagged one of its group, if that is another: the first that is used and RTP, whose transport is
    /// that of all (RFC 8843 section 7.2).
    pub(super) tagged: Vec<Option<usize>>,
    /// Of each line of a group the one that the offerer tagged: the first. It may be one that is refused, as a data
    /// channel is, and says where all are all the same.
    offered: Vec<Option<usize>>,
}

impl Groups {
    /// Those of an offer that pass.
    pub(super) fn read(sdp: &Sdp, policy: &Policy, since: &Standing) -> Result<Self, NegotiationError> {
        Self::which(sdp, |lines| passes(sdp, policy, since, lines))
    }

    /// Those of an answer: of groups that were offered.
    pub(super) fn answered(sdp: &Sdp, offered: impl Fn(usize) -> bool) -> Result<Self, NegotiationError> {
        Self::which(sdp, |lines| lines.iter().any(|line| offered(*line)))
    }

    fn which(sdp: &Sdp, keeps: impl Fn(&[usize]) -> bool) -> Result<Self, NegotiationError> {
        let none = vec![None; sdp.media().len()];
        let mut groups = Self { tagged: none.clone(), offered: none };
        for bundle in sdp.bundles()? {
            let used: Vec<usize> = bundle.media.into_iter().filter(|line| is_used(sdp, *line)).collect();
            let is_rtp = |line: &usize| sdp.media()[*line].profile().is_some();
            let Some(tagged) = used.iter().copied().find(|line| sdp.media()[*line].port() != 0) else {
                continue;
            };
            let Some(first) = used.iter().copied().find(is_rtp).filter(|_| keeps(&used)) else { continue };
            for line in used {
                groups.offered[line] = Some(tagged);
                groups.tagged[line] = Some(first).filter(|first| *first != line && is_rtp(&line));
            }
        }
        Ok(groups)
    }

    /// Whether a line is in a group, so that its own port does not say whether it is used.
    pub(super) fn is_used(&self, line: usize) -> bool {
        self.offered[line].is_some()
    }

    /// The line that says where a line receives.
    pub(super) fn place(&self, line: usize) -> usize {
        self.offered[line].unwrap_or(line)
    }

    /// Attributes of a line's transport.
    pub(super) fn levels<'s>(&self, sdp: &'s Sdp, line: usize) -> Levels<'s> {
        let levels = Levels::of(sdp, line);
        match self.offered[line] {
            Some(tagged) if tagged != line => levels.with_tagged(sdp, tagged),
            _ => levels,
        }
    }
}

/// A line with port 0 may be one that has no transport but its group's (RFC 8843 section 6).
fn is_used(sdp: &Sdp, line: usize) -> bool {
    sdp.media()[line].port() != 0 || sdp.media()[line].has("bundle-only")
}

/// Whether a group passes: both sides' policies let it, or else it is keyed by DTLS-SRTP, as browsers' are, and cannot be
/// taken apart. To lines that can be, browsers that offer a group take answers without it (RFC 8843 section 7.3.3).
fn passes(sdp: &Sdp, policy: &Policy, since: &Standing, lines: &[usize]) -> bool {
    bundle_passes(policy) || (is_keyed_by_dtls(sdp, lines) && !can_be_taken_apart(sdp, since, lines))
}

fn is_keyed_by_dtls(sdp: &Sdp, lines: &[usize]) -> bool {
    lines.iter().any(|line| {
        let profile = sdp.media()[*line].profile();
        profile.is_some_and(|profile| profile.secured == Secured::DtlsSrtp)
    })
}

/// Whether each line has an address of its own. Those that shared a transport go on doing so, and of a group that has
/// come down to one line it may be said that it is one.
fn can_be_taken_apart(sdp: &Sdp, since: &Standing, lines: &[usize]) -> bool {
    let mut addresses = HashSet::new();
    let mut transports = HashSet::new();
    let mut apart = |line: &usize| {
        let media = &sdp.media()[*line];
        let port = media.port();
        let transport = since.line(*line).and_then(|standing| standing.transport);
        let own = sdp.connection(*line).map(|connection| connection.address);
        !media.has("bundle-only")
            && (port == DISCARD || addresses.insert((own, port)))
            && transport.is_none_or(|transport| transports.insert(transport))
    };
    lines.len() > 1 && lines.iter().all(&mut apart)
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
        own.ice = first.ice;
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
