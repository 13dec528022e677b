//! Which media line of an offer goes where in the next one: lines never go away or change places (RFC 3264 section 8).

use super::{RemoteMedia, RemoteOffer, Standing, Treatment};

/// A media line of the offer that is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// The line of the other peer's offer that it carries on. That one may not be used.
    pub(super) source: Option<usize>,
    /// The line that offers the same medium in another profile.
    pub(super) partner: Option<usize>,
    /// Of two such lines the one that only adds to the other.
    pub(super) twin: bool,
}

/// Lays out the lines: those that stand, in their places, and what is new behind them. `dual`: media are offered by
/// two lines each.
pub(super) fn lay_out(offer: &RemoteOffer, since: &Standing, dual: bool) -> Vec<Slot> {
    let mut slots: Vec<Slot> = (0..since.lines.len()).map(|at| standing_slot(since, at)).collect();
    for (line, media) in offer.media.iter().enumerate() {
        if !matches!(media.treatment, Treatment::Gateway | Treatment::Around) {
            continue;
        }
        let at = since.of_other(line).or_else(|| since.of_other(media.partner?)).unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        slots[at].source = Some(line);
        if let Some(partner) = slots[at].partner {
            slots[partner].source = Some(line);
        } else if dual && wants_partner(offer, line, media) && !is_secured(since, at) {
            slots[at].partner = Some(slots.len());
            slots.push(Slot { source: Some(line), partner: Some(at), twin: true });
        }
    }
    slots
}

fn standing_slot(since: &Standing, at: usize) -> Slot {
    let standing = &since.lines[at];
    let partner = standing.partner.filter(|partner| *partner < since.lines.len());
    let of_partner = partner.and_then(|partner| since.lines[partner].other);
    Slot {
        source: standing.other.or(of_partner),
        partner,
        twin: standing.other.is_none() && of_partner.is_some(),
    }
}

/// Not what goes by the gateway, nor what is bundled: a group's lines are in it once each.
fn wants_partner(offer: &RemoteOffer, line: usize, media: &RemoteMedia) -> bool {
    let bundled = |other: &RemoteMedia| other.tagged == Some(line);
    media.treatment == Treatment::Gateway && media.tagged.is_none() && !offer.media.iter().any(bundled)
}

/// Whether SRTP was agreed on for a line, so that there is nothing beside it to offer.
fn is_secured(since: &Standing, at: usize) -> bool {
    since.line(at).is_some_and(|standing| standing.active && standing.is_secured())
}
