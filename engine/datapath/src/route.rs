//! A directed edge between two legs of a worker, and what it does to the packets that take it.

use std::collections::HashSet;
use std::sync::Arc;

use sluice_srtp::perc;
use sluice_srtp::rtp::{Header, rewrite_extension_ids, rewrite_payload_type};

use crate::{CommandError, DropReason, RouteId};

/// Entries that each list of [`RouteOptions`] may have.
pub const MAX_ROUTE_ENTRIES: usize = 1024;

/// What to do when two sources use one SSRC under one outbound key (RFC 3711 §9.1: two-time pad).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnSsrcClash {
    /// The later source is not sent.
    #[default]
    Refuse,
    /// The later source is sent under another SSRC, in RTP and in RTCP of both directions.
    Rewrite,
}

/// Choices of a route. What it maps is mapped in RTP; SSRCs are in RTCP of both directions as well, so that
/// either peer hears of streams as it knows them (RFC 3550 §7.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteOptions {
    /// What to do when two sources use one SSRC under one outbound key.
    pub on_ssrc_clash: OnSsrcClash,
    /// RTP is not sent; RTCP is, since the peers' reports and feedback must go on.
    pub paused: bool,
    /// The SSRCs, as received, whose RTP is sent; `None`: all.
    pub only: Option<Vec<u32>>,
    /// SSRCs as received, and as sent; those not listed stay.
    pub ssrcs: Vec<(u32, u32)>,
    /// Payload types as received, and as sent; those not listed stay.
    pub payload_types: Vec<(u8, u8)>,
    /// Identifiers of header extension elements (RFC 8285) as received, and as sent; 0: the element is taken
    /// out. Those not listed stay. An element whose new identifier its form cannot express is taken out.
    pub extensions: Vec<(u8, u8)>,
    /// Packets have an original header block (RFC 8723 §4): what changes of the header is recorded there.
    pub original_headers: bool,
}

impl RouteOptions {
    /// Refuses what cannot work.
    pub(crate) fn check(&self, route: RouteId) -> Result<(), CommandError> {
        let check = |holds: bool, field, problem| {
            if holds { Ok(()) } else { Err(CommandError::InvalidRoute { route, field, problem }) }
        };
        let only = self.only.as_deref().unwrap_or_default();
        check(only.len() <= MAX_ROUTE_ENTRIES, "only", TOO_MANY)?;
        check(self.ssrcs.len() <= MAX_ROUTE_ENTRIES, "ssrcs", TOO_MANY)?;
        let distinct = |ssrcs: Vec<u32>| ssrcs.iter().collect::<HashSet<_>>().len() == ssrcs.len();
        check(distinct(self.ssrcs.iter().map(|(from, _)| *from).collect()), "ssrcs", TWICE)?;
        let to = self.ssrcs.iter().map(|(_, to)| *to).collect();
        check(distinct(to), "ssrcs", "sends two sources under one SSRC")?;
        let is_type = |value: u8| value < 128 && !(64..96).contains(&value);
        let types = &self.payload_types;
        let in_range = types.iter().all(|(from, to)| is_type(*from) && is_type(*to));
        check(in_range, "payload_types", "has one outside 0-63 and 96-127 (RFC 5761 §4)")?;
        check(is_function(types), "payload_types", TWICE)?;
        let ids = self.extensions.iter().all(|(from, _)| *from != 0);
        check(ids, "extensions", "has identifier 0 as received, which is padding (RFC 8285 §4.2)")?;
        check(is_function(&self.extensions), "extensions", TWICE)?;
        let ssrcs_stay = self.ssrcs.is_empty() && self.on_ssrc_clash == OnSsrcClash::Refuse;
        let problem = "cannot be had with another SSRC, which the inner tag covers (RFC 8723 §4)";
        check(!self.original_headers || ssrcs_stay, "original_headers", problem)
    }

    /// Whether packets leave the same along a route with these options.
    pub(crate) fn maps_like(&self, other: &Self) -> bool {
        self.on_ssrc_clash == other.on_ssrc_clash && self.ssrcs == other.ssrcs && self.changes_like(other)
    }

    /// The same, but for SSRCs.
    pub(crate) fn changes_like(&self, other: &Self) -> bool {
        self.payload_types == other.payload_types
            && self.extensions == other.extensions
            && self.original_headers == other.original_headers
    }

    /// The SSRC under which a source is to be sent.
    pub(crate) fn sent_ssrc(&self, ssrc: u32) -> u32 {
        self.ssrcs.iter().find(|(from, _)| *from == ssrc).map_or(ssrc, |(_, to)| *to)
    }

    /// Why RTP of a source is not sent, if it is not.
    pub(crate) fn holds_back(&self, ssrc: u32) -> Option<DropReason> {
        let selected = self.only.as_ref().is_none_or(|only| only.contains(&ssrc));
        match (self.paused, selected) {
            (true, _) => Some(DropReason::RoutePaused),
            (false, false) => Some(DropReason::NotSelected),
            (false, true) => None,
        }
    }
}

const TOO_MANY: &str = "has more than 1024 entries";
const TWICE: &str = "has one twice";

fn is_function(map: &[(u8, u8)]) -> bool {
    let mut seen = [false; 256];
    map.iter().all(|(from, _)| !std::mem::replace(&mut seen[usize::from(*from)], true))
}

/// What one leg receives, another sends.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) id: RouteId,
    /// Places in the table of legs.
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) options: Arc<RouteOptions>,
    /// What the options change of RTP headers, beside the SSRC.
    pub(crate) changes: Option<Box<Changes>>,
}

impl Route {
    pub(crate) fn new(id: RouteId, from: u32, to: u32, options: RouteOptions) -> Self {
        let changes = Changes::of(&options);
        Self { id, from, to, options: Arc::new(options), changes }
    }

    pub(crate) fn set_options(&mut self, options: RouteOptions) {
        self.changes = Changes::of(&options);
        self.options = Arc::new(options);
    }
}

/// Header changes as tables, so that a packet is not searched for.
#[derive(Debug)]
pub(crate) struct Changes {
    payload_types: [u8; 128],
    extensions: [u8; 256],
    original_headers: bool,
}

impl Changes {
    fn of(options: &RouteOptions) -> Option<Box<Self>> {
        if options.payload_types.is_empty() && options.extensions.is_empty() {
            return None;
        }
        let mut changes = Self {
            payload_types: std::array::from_fn(|value| value as u8),
            extensions: std::array::from_fn(|id| id as u8),
            original_headers: options.original_headers,
        };
        for (from, to) in &options.payload_types {
            changes.payload_types[usize::from(from & 0x7f)] = *to;
        }
        for (from, to) in &options.extensions {
            changes.extensions[usize::from(*from)] = *to;
        }
        Some(Box::new(changes))
    }

    /// Changes an RTP packet that is the first `len` octets of its buffer; its new length.
    ///
    /// # Errors
    /// [`sluice_srtp::Error`] if there is no original header block where one should be, or no room for it.
    pub(crate) fn apply(&self, packet: &mut [u8], len: usize) -> Result<usize, sluice_srtp::Error> {
        let text = packet.get_mut(..len).ok_or(sluice_srtp::Error::TooShort)?;
        rewrite_extension_ids(text, &self.extensions);
        if !self.original_headers {
            rewrite_payload_type(text, &self.payload_types);
            return Ok(len);
        }
        let before = Header::parse(text)?.payload_type;
        let payload_type = Some(self.payload_types[usize::from(before)]);
        perc::relay(packet, len, &perc::Changes { payload_type, ..perc::Changes::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &RouteOptions) -> Option<&'static str> {
        match options.check(9) {
            Err(CommandError::InvalidRoute { route: 9, field, .. }) => Some(field),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_the_field_at_fault() {
        let base = RouteOptions::default;
        assert_eq!(refused(&base()), None);
        let cases = [
            (RouteOptions { only: Some(vec![0; 1025]), ..base() }, "only"),
            (RouteOptions { ssrcs: vec![(1, 2), (1, 3)], ..base() }, "ssrcs"),
            (RouteOptions { ssrcs: vec![(1, 3), (2, 3)], ..base() }, "ssrcs"),
            (RouteOptions { payload_types: vec![(0, 72)], ..base() }, "payload_types"),
            (RouteOptions { payload_types: vec![(128, 0)], ..base() }, "payload_types"),
            (RouteOptions { payload_types: vec![(0, 1), (0, 2)], ..base() }, "payload_types"),
            (RouteOptions { extensions: vec![(0, 1)], ..base() }, "extensions"),
            (RouteOptions { extensions: vec![(3, 1), (3, 0)], ..base() }, "extensions"),
            (RouteOptions { original_headers: true, ssrcs: vec![(1, 2)], ..base() }, "original_headers"),
        ];
        for (options, field) in cases {
            assert_eq!(refused(&options), Some(field), "{options:?}");
        }
        let swapped =
            RouteOptions { payload_types: vec![(0, 8), (8, 0)], ssrcs: vec![(1, 2), (2, 1)], ..base() };
        assert_eq!(refused(&swapped), None);
    }
}
