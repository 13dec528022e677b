//! A route's choices: read from the command line, and told in words.

use anyhow::{Context, Result};
use sluice_proto::v1;

use super::args::RouteChoices;

/// The SSRCs that a route selects.
#[derive(Clone)]
pub(super) struct Only(pub(super) Vec<u32>);

/// "7,0xa11ce", or "none".
pub(super) fn only(text: &str) -> Result<Only> {
    if text == "none" {
        return Ok(Only(Vec::new()));
    }
    text.split(',').map(ssrc).collect::<Result<_>>().map(Only)
}

/// "7:0xa11ce".
pub(super) fn ssrcs(text: &str) -> Result<v1::SsrcMapping> {
    let (from, to) = pair(text)?;
    Ok(v1::SsrcMapping { from: ssrc(from)?, to: ssrc(to)? })
}

/// "96:111".
pub(super) fn values(text: &str) -> Result<v1::ValueMapping> {
    let (from, to) = pair(text)?;
    let value = |text: &str| text.parse().with_context(|| format!("{text:?} is no number"));
    Ok(v1::ValueMapping { from: value(from)?, to: value(to)? })
}

fn pair(text: &str) -> Result<(&str, &str)> {
    text.split_once(':').context("give it as FROM:TO")
}

fn ssrc(text: &str) -> Result<u32> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.with_context(|| format!("{text:?} is no SSRC: give 32 bits in decimal, or in hex behind 0x"))
}

/// A route with these choices, its legs left open.
pub(super) fn chosen(session: String, id: String, choices: RouteChoices) -> v1::Route {
    let policy =
        if choices.rewrite_ssrc { v1::SsrcClashPolicy::Rewrite } else { v1::SsrcClashPolicy::Refuse };
    v1::Route {
        session,
        id,
        from: String::new(),
        to: String::new(),
        on_ssrc_clash: policy.into(),
        paused: choices.paused,
        only: choices.only.map(|Only(values)| v1::SsrcList { values }),
        ssrc_map: choices.map_ssrc,
        payload_type_map: choices.map_payload_type,
        extension_map: choices.map_extension,
        original_headers: choices.original_headers,
    }
}

/// The choices that are not usual, a line each.
pub(super) fn described(route: &v1::Route) -> String {
    let mut lines = Vec::new();
    if route.paused {
        lines.push("paused".to_owned());
    }
    if let Some(only) = &route.only {
        let ssrcs: Vec<_> = only.values.iter().map(|ssrc| format!("{ssrc:#010x}")).collect();
        lines.push(format!("only SSRCs {}", if ssrcs.is_empty() { "none".into() } else { ssrcs.join(", ") }));
    }
    lines.extend(route.ssrc_map.iter().map(|map| format!("SSRC {:#010x} as {:#010x}", map.from, map.to)));
    lines.extend(route.payload_type_map.iter().map(|map| format!("payload type {} as {}", map.from, map.to)));
    lines.extend(route.extension_map.iter().map(|map| match map.to {
        0 => format!("without extension {}", map.from),
        to => format!("extension {} as {to}", map.from),
    }));
    if route.original_headers {
        lines.push("original header blocks".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_nonsense_is_not() {
        assert_eq!(only("7,0xa11ce").unwrap().0, [7, 0xa11ce]);
        assert!(only("none").unwrap().0.is_empty());
        assert_eq!(ssrcs("4294967295:0x1").unwrap(), v1::SsrcMapping { from: u32::MAX, to: 1 });
        assert_eq!(values("96:111").unwrap(), v1::ValueMapping { from: 96, to: 111 });
        assert!(["", "7,", "x", "0x", "4294967296"].into_iter().all(|text| only(text).is_err()));
        assert!(["", "7", "7:", ":7", "7:x"].into_iter().all(|text| ssrcs(text).is_err()));
        assert!(["96", "-1:0", "a:b"].into_iter().all(|text| values(text).is_err()));
    }
}
