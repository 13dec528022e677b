//! Crypto lines that the gateway offers and answers.

use std::collections::HashSet;

use zeroize::Zeroizing;

use super::standing::StandingLine;
use super::{NegotiationError, OwnMedia, Protected};
use crate::policy::{PeerPolicy, Policy, PolicyViolation, Rule};
use crate::sdes::{CryptoLine, SdesError};

/// Lines for an offer: one for each suite that the policy takes, in its order, each with a key of its own. Those that
/// stand are said again, so that nothing changes (RFC 4568 section 7.1.4), before others.
pub(super) fn offered(
    standing: &[CryptoLine],
    policy: &Policy,
    peer: &PeerPolicy,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<Vec<CryptoLine>, NegotiationError> {
    let suites: Vec<_> = policy.usable_suites().collect();
    let taken = |line: &&CryptoLine| line.suite().is_some_and(|suite| suites.contains(&suite));
    let mut lines: Vec<CryptoLine> = standing.iter().filter(taken).cloned().collect();
    for suite in &suites {
        if lines.iter().all(|line| line.suite() != Some(*suite)) {
            let tag = free_tag(&lines);
            let line = CryptoLine::generate(tag, *suite, peer.mki_length, peer.lifetime, random);
            lines.push(line.map_err(NegotiationError::OwnKeys)?);
        }
    }
    if lines.is_empty() {
        let reason = "it leaves no suite to offer; name one".to_owned();
        return Err(NegotiationError::NothingToOffer(PolicyViolation::new(Rule::Suites, reason)));
    }
    Ok(lines)
}

/// The line of an answer to `accepted`: with the key that stands, if the peer's has not changed, or with a fresh one.
pub(super) fn answered(
    accepted: &CryptoLine,
    standing: Option<&StandingLine>,
    own: &OwnMedia,
    peer: &PeerPolicy,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<CryptoLine, SdesError> {
    let stands = standing.filter(|standing| standing.keeps_keys(own)).and_then(|standing| {
        let before = standing.peer.as_ref().filter(|before| says_the_same(before, accepted))?;
        standing.keys.iter().find(|line| line.tag() == before.tag() && line.suite() == accepted.suite())
    });
    match stands {
        Some(line) => tagged(line, accepted.tag()),
        None => accepted.accept(peer.mki_length, peer.lifetime, random),
    }
}

/// Whether two lines are the same but for their tags, which an offer numbers anew.
fn says_the_same(one: &CryptoLine, other: &CryptoLine) -> bool {
    one.suite() == other.suite()
        && one.inline_keys() == other.inline_keys()
        && one.parameters() == other.parameters()
}

/// A line under another tag.
fn tagged(line: &CryptoLine, tag: u32) -> Result<CryptoLine, SdesError> {
    let value = line.value();
    let rest = value.split_once(' ').map_or("", |(_, rest)| rest);
    CryptoLine::parse(&Zeroizing::new(format!("{tag} {rest}")))
}

/// What a crypto line of a side protects by.
pub(super) fn protected(line: &CryptoLine, peer: &PeerPolicy) -> Result<Protected, SdesError> {
    let mut keys = line.keys()?;
    for key in &mut keys {
        peer.adapt(key);
    }
    Ok(Protected::Srtp(keys))
}

/// The smallest tag that no line has.
fn free_tag(lines: &[CryptoLine]) -> u32 {
    let taken: HashSet<u32> = lines.iter().map(CryptoLine::tag).collect();
    (1..=u32::MAX).find(|tag| !taken.contains(tag)).unwrap_or(1)
}
