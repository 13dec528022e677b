//! Two media lines that offer one medium, as SRTP and as RTP: an older form of best effort.

use super::remote_offer::{RemoteMedia, Treatment};
use super::{Choice, Standing};
use crate::sdp::{Media, Sdp, Secured};

/// Finds pairs, and leaves the better line of each: the secure one, where it can be taken.
pub(super) fn pair(media: &mut [RemoteMedia], sdp: &Sdp, since: &Standing) {
    for line in 0..media.len() {
        if media[line].partner.is_some() {
            continue;
        }
        let standing = since.lines.get(line).and_then(|standing| standing.partner);
        let found = standing.filter(|other| *other < media.len() && *other != line).or_else(|| {
            let next = line + 1;
            let free = next < media.len() && media[next].partner.is_none() && next >= since.lines.len();
            (free && line >= since.lines.len() && are_twins(&sdp.media()[line], &sdp.media()[next]))
                .then_some(next)
        });
        let Some(other) = found else { continue };
        (media[line].partner, media[other].partner) = (Some(other), Some(line));
        if let Some(loser) = loser(media, line, other) {
            media[loser].treatment = Treatment::Twin;
        }
    }
}

/// Which of a pair is left out: none, if neither is used.
fn loser(media: &[RemoteMedia], one: usize, other: usize) -> Option<usize> {
    let taken = |line: usize| media[line].treatment == Treatment::Gateway;
    let used = |line: usize| media[line].treatment != Treatment::Unused;
    let secure = |line: usize| media[line].chosen().is_some_and(Choice::is_secure);
    match (taken(one), taken(other)) {
        (true, true) if secure(other) && !secure(one) => Some(one),
        (true, _) => Some(other).filter(|other| used(*other)),
        (false, true) => Some(one).filter(|one| used(*one)),
        (false, false) => None,
    }
}

/// Whether two lines one after the other are one medium: the same but for their profiles, and without names by which
/// anything could tell them apart.
fn are_twins(one: &Media, other: &Media) -> bool {
    let profiles = [one.profile(), other.profile()].map(|profile| profile.map(|profile| profile.secured));
    let secure = profiles.contains(&Some(Secured::Srtp)) || profiles.contains(&Some(Secured::DtlsSrtp));
    let both = secure && profiles.contains(&Some(Secured::Plain));
    let named = |media: &Media| ["mid", "label", "content"].iter().any(|name| media.has(name));
    both && one.kind() == other.kind()
        && one.port() != 0
        && other.port() != 0
        && !named(one)
        && !named(other)
        && one.formats().eq(other.formats())
}
