//! What handshakes may begin: none that would cost more than whoever asks for it has a right to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::reason::Reason;

/// Addresses of which is remembered how many handshakes they began. Those that are more share what one may.
const MOST_SOURCES: usize = 65_536;

/// How long a source has to be quiet to be forgotten, and how often that is looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Bounds of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Handshakes that one address may begin in a second.
    pub(super) per_source: u32,
    /// Handshakes that all of them may.
    pub(super) in_total: u32,
    /// Handshakes that have begun and not ended.
    pub(super) half_open: usize,
}

/// Counts handshakes that begin, and those that go on.
#[derive(Debug)]
pub(super) struct Gate {
    bounds: Bounds,
    all: Tokens,
    sources: HashMap<IpAddr, Tokens>,
    others: Tokens,
    /// When sources that need not be remembered were forgotten last.
    swept: Instant,
    half_open: usize,
}

/// How many of something may happen now: as many at once as in a second.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    left: f64,
    at: Instant,
}

impl Gate {
    pub(super) fn new(bounds: Bounds, now: Instant) -> Self {
        let full = |rate: u32| Tokens { left: rate.into(), at: now };
        Self {
            bounds,
            all: full(bounds.in_total),
            sources: HashMap::new(),
            others: full(bounds.per_source),
            swept: now,
            half_open: 0,
        }
    }

    /// Whether a handshake may begin that an address asks for. If so, it counts as half open until
    /// [`Self::ended`].
    pub(super) fn begin(&mut self, source: IpAddr, now: Instant) -> Result<(), Reason> {
        if self.half_open >= self.bounds.half_open {
            return Err(Reason::HalfOpen);
        }
        let rate = self.bounds.per_source;
        // First what one source has, so that it cannot take from others what it is refused.
        if !self.source(source, now).take(rate, now) {
            return Err(Reason::SourceRate);
        }
        if !self.all.take(self.bounds.in_total, now) {
            return Err(Reason::TotalRate);
        }
        self.half_open += 1;
        Ok(())
    }

    /// A handshake begins that the gateway asks for.
    pub(super) fn begin_own(&mut self) {
        self.half_open += 1;
    }

    /// A handshake that had begun came to an end, whichever.
    pub(super) fn ended(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
    }

    /// Handshakes that have begun and not ended.
    pub(super) fn half_open(&self) -> usize {
        self.half_open
    }

    fn source(&mut self, source: IpAddr, now: Instant) -> &mut Tokens {
        let source = whole(source);
        if self.sources.len() >= MOST_SOURCES && !self.sources.contains_key(&source) {
            // Who has been quiet for a second has all that it may have, and need not be remembered. To look at all of them
            // for each that asks would be what an attacker wants.
            if now.saturating_duration_since(self.swept) >= SWEEP {
                self.swept = now;
                self.sources.retain(|_, tokens| now.saturating_duration_since(tokens.at) < SWEEP);
            }
            if self.sources.len() >= MOST_SOURCES {
                return &mut self.others;
            }
        }
        let full = Tokens { left: self.bounds.per_source.into(), at: now };
        self.sources.entry(source).or_insert(full)
    }
}

impl Tokens {
    fn take(&mut self, rate: u32, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left, self.at) = ((self.left + since * f64::from(rate)).min(rate.into()), now);
        let there = self.left >= 1.0;
        if there {
            self.left -= 1.0;
        }
        there
    }
}

/// What counts as one source: of IPv6 the /64, since whoever has one address there has all.
fn whole(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { per_source: 3, in_total: 5, half_open: 7 };

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_source_has_its_share_and_all_have_theirs() {
        let now = Instant::now();
        let mut gate = Gate::new(BOUNDS, now);
        for _ in 0..3 {
            assert_eq!(gate.begin(source(1), now), Ok(()));
        }
        for _ in 0..9 {
            assert_eq!(gate.begin(source(1), now), Err(Reason::SourceRate));
        }
        assert_eq!(gate.begin(source(2), now), Ok(()), "what one was refused, others have");
        assert_eq!(gate.begin(source(2), now), Ok(()));
        assert_eq!(gate.begin(source(3), now), Err(Reason::TotalRate));
        let later = now + Duration::from_secs(1);
        assert_eq!(gate.begin(source(1), later), Ok(()));
    }

    #[test]
    fn what_has_ended_makes_room() {
        let now = Instant::now();
        let mut gate = Gate::new(Bounds { per_source: 100, in_total: 100, half_open: 2 }, now);
        assert_eq!([gate.begin(source(1), now), gate.begin(source(2), now)], [Ok(()), Ok(())]);
        assert_eq!(gate.begin(source(3), now), Err(Reason::HalfOpen));
        gate.ended();
        assert_eq!(gate.begin(source(3), now), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let now = Instant::now();
        let mut gate = Gate::new(BOUNDS, now);
        for last in 0..3 {
            assert_eq!(gate.begin(format!("2001:db8::{last}").parse().unwrap(), now), Ok(()));
        }
        assert_eq!(gate.begin("2001:db8::ffff".parse().unwrap(), now), Err(Reason::SourceRate));
    }

    #[test]
    fn memory_is_bounded_however_many_sources_there_are() {
        let now = Instant::now();
        let mut gate = Gate::new(Bounds { per_source: 1, in_total: u32::MAX, half_open: usize::MAX }, now);
        for number in 0..200_000_u32 {
            let _ = gate.begin(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(gate.sources.len(), MOST_SOURCES);
        let _ = gate.begin(source(1), now + SWEEP);
        assert_eq!(gate.sources.len(), 1, "who was quiet is forgotten");
    }
}
