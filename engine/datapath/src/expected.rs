//! What a leg knows of streams that it does not have: where they stood elsewhere or before they were aged out,
//! or the rollover counter that signalling told. Small beside a context, and enough that a stream which comes
//! back neither loses its ROC nor has packets accepted twice (RFC 3711 §3.3.1, §3.3.2).

use std::collections::HashMap;

use sluice_srtp::{Inbound, Position};

use crate::StreamPosition;

/// So many for each stream that the leg may have at a time, those that it has included.
pub(crate) const PER_STREAM: usize = 4;

/// Streams by their SSRC.
#[derive(Debug, Default)]
pub(crate) struct Expected(HashMap<u32, Awaited>);

/// Where one stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    pub(crate) position: Position,
    pub(crate) initial_roc: Option<u32>,
    /// The first of the leg's keys that may be in a context which carries on from here.
    pub(crate) from: u32,
    /// The first of the leg's keys that came after it stood there.
    pub(crate) until: u32,
    /// When it was aged out; `None` of what control told, which is never forgotten for want of room.
    pub(crate) aged_out: Option<u64>,
}

impl Expected {
    pub(crate) fn get(&self, ssrc: u32) -> Option<&Awaited> {
        self.0.get(&ssrc)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Awaited)> {
        self.0.iter().map(|(ssrc, awaited)| (*ssrc, awaited))
    }

    /// Takes over what control tells, of the leg's keys from `from` to before `until`. Of two positions the further one
    /// counts.
    pub(crate) fn import(&mut self, told: &StreamPosition, [from, until]: [u32; 2]) {
        let awaited = self.0.entry(told.ssrc).or_insert(Awaited {
            position: Position::default(),
            initial_roc: None,
            from,
            until,
            aged_out: None,
        });
        (awaited.from, awaited.until) = (awaited.from.max(from), until);
        awaited.position = further(awaited.position, told.position);
        awaited.initial_roc = told.initial_roc.or(awaited.initial_roc);
        awaited.aged_out = None;
    }

    /// Remembers a context that goes, if it ever accepted anything.
    pub(crate) fn remember(&mut self, context: &Inbound, [from, until]: [u32; 2], now: u64) {
        let (position, initial_roc) = (context.position(), initial_roc(context));
        if position != Position::default() || initial_roc.is_some() {
            let awaited = Awaited { position, initial_roc, from, until, aged_out: Some(now) };
            self.0.insert(context.ssrc(), awaited);
        }
    }

    /// The stream has come: its own context knows it all.
    pub(crate) fn arrived(&mut self, ssrc: u32) {
        self.0.remove(&ssrc);
    }

    /// How many of them can be forgotten for want of room.
    pub(crate) fn forgettable(&self) -> usize {
        self.0.values().filter(|awaited| awaited.aged_out.is_some()).count()
    }

    /// Makes room by what was aged out longest ago.
    pub(crate) fn forget_oldest(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let aged = self.0.iter().filter_map(|(ssrc, awaited)| Some((awaited.aged_out?, *ssrc)));
        let mut aged: Vec<_> = aged.collect();
        aged.sort_unstable();
        for (_, ssrc) in aged.into_iter().take(count) {
            self.0.remove(&ssrc);
        }
    }
}

/// The rollover counter at which a context will begin, while that says anything.
pub(crate) fn initial_roc(context: &Inbound) -> Option<u32> {
    Some(context.initial_roc()).filter(|roc| *roc != 0 && context.position().rtp.is_none())
}

/// Of each kind the higher index.
pub(crate) fn further(one: Position, other: Position) -> Position {
    Position { rtp: one.rtp.max(other.rtp), rtcp: one.rtcp.max(other.rtcp) }
}
