//! Capability negotiation (RFC 5939): potential configurations of a media line, and which of them was taken.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::configuration::{Alternative, Potential, number};

/// Most configurations of a media line that are looked at, alternatives counted: "implementers MUST take care to avoid
/// excessive memory and CPU consumption" (RFC 5939 section 3.11).
const MOST_CONFIGURATIONS: usize = 64;

/// Option tags that the gateway knows (RFC 5939 section 3.3.1): those of the base alone.
pub(super) const SUPPORTED: &str = "cap-v0";

/// Attributes that make up capability negotiation, and say nothing beside it.
pub(super) const ATTRIBUTES: [&str; 6] = ["csup", "creq", "acap", "tcap", "pcfg", "acfg"];

/// Attributes that a configuration may demand (RFC 5939 section 3.6.2: "support implies that the attribute name
/// contained in the capability is supported"): what the gateway reads itself, or carries between peers without harm.
const NEGOTIABLE: [&str; 20] = [
    "crypto",
    "fingerprint",
    "setup",
    "tls-id",
    "rtpmap",
    "fmtp",
    "ptime",
    "maxptime",
    "rtcp-fb",
    "rtcp-mux",
    "rtcp",
    "sendrecv",
    "sendonly",
    "recvonly",
    "inactive",
    "mid",
    "ssrc",
    "extmap",
    "maxprate",
    "silenceSupp",
];

/// An attribute, by its name and what follows the colon, if anything does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

impl Attribute {
    /// The attribute in `name` or `name:value`.
    fn parse(text: &str) -> Option<Self> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        (!name.is_empty()).then(|| Self { name: name.to_owned(), value })
    }
}

/// A potential configuration with one of its alternatives, ready to take the actual one's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configuration {
    /// The profile, if it is another than the media line's.
    pub(super) proto: Option<String>,
    /// Whether the media line's own attributes are away (`-m`).
    pub(super) without_media: bool,
    /// Whether the session's attributes are away for this medium (`-s`).
    pub(super) without_session: bool,
    /// Attributes that come first, in order.
    pub(super) attributes: Vec<Attribute>,
    /// What the answer says of it in `a=acfg` (RFC 5939 section 3.5.2).
    pub(super) acfg: String,
}

/// What a media line and its session say of capabilities.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    /// Transports of the media line, and of the session.
    transports: [BTreeMap<u32, String>; 2],
    attributes: BTreeMap<u32, Attribute>,
    potential: Vec<Potential>,
    /// Extensions are required that the gateway does not have: potential configurations MUST NOT be used, and the
    /// answer tells what is supported (RFC 5939 section 3.6.2).
    pub(super) unsupported: Required,
}

/// Where extensions were required that are unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Required {
    /// Nowhere.
    #[default]
    Nothing,
    /// At the session.
    BySession,
    /// At the media line.
    ByMedia,
}

impl Capabilities {
    /// Reads both levels' attributes, each by name and value. What is not valid is not there.
    pub(super) fn read<'a>(
        session: impl Iterator<Item = (&'a str, &'a str)>,
        media: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut read = Self::default();
        for (name, value) in session {
            read.take(name, value, true);
        }
        for (name, value) in media {
            read.take(name, value, false);
        }
        // "The configuration number MUST be unique within the media description" (RFC 5939 section 3.5.1).
        let mut seen = BTreeMap::new();
        for potential in &read.potential {
            *seen.entry(potential.number).or_insert(0) += 1;
        }
        read.potential.retain(|potential| seen.get(&potential.number) == Some(&1));
        // "lower numbers are preferred over higher numbers"
        read.potential.sort_by_key(|potential| potential.number);
        read
    }

    /// The potential configurations that are valid, the preferred one first.
    pub(super) fn configurations(&self) -> Vec<Configuration> {
        if self.unsupported != Required::Nothing {
            return Vec::new();
        }
        let all = self.potential.iter().flat_map(|potential| self.expand(potential));
        all.take(MOST_CONFIGURATIONS).collect()
    }

    fn take(&mut self, name: &str, value: &str, session: bool) {
        match name {
            "creq" if value.split(',').any(|tag| tag.trim() != SUPPORTED) => {
                self.unsupported = match self.unsupported {
                    Required::Nothing if !session => Required::ByMedia,
                    _ => Required::BySession,
                };
            }
            "tcap" => self.take_transports(value, session),
            // Session level attributes that a configuration may add have nothing to do with keying, and none is
            // supported; media level ones do not count there ("the answerer effectively ignores them", section 3.6.2).
            "acap" if !session => self.take_attribute(value),
            // "The attribute can be provided only at the media level" (section 3.5.1).
            "pcfg" if !session && self.potential.len() < MOST_CONFIGURATIONS => {
                self.potential.extend(Potential::parse(value));
            }
            _ => {}
        }
    }

    /// "There MUST NOT be more than one "a=tcap" attribute at the session level and one at the media level": yet Linphone
    /// has one for each transport unless it is told otherwise, with numbers that follow one another. Each adds to those
    /// before it; of a number that comes twice the first counts.
    fn take_transports(&mut self, value: &str, session: bool) {
        let transports = &mut self.transports[usize::from(session)];
        let mut words = value.split_ascii_whitespace();
        let Some(first) = words.next().and_then(number) else { return };
        for (number, proto) in (first..).zip(words) {
            if transports.len() >= MOST_CONFIGURATIONS {
                return;
            }
            transports.entry(number).or_insert_with(|| proto.to_owned());
        }
    }

    /// The media line's transport of a number, or else the session's.
    fn transport(&self, number: u32) -> Option<&String> {
        self.transports.iter().find_map(|transports| transports.get(&number))
    }

    fn take_attribute(&mut self, value: &str) {
        let Some((first, rest)) = value.split_once([' ', '\t']) else { return };
        let (Some(number), Some(attribute)) = (number(first), Attribute::parse(rest.trim_start())) else {
            return;
        };
        self.attributes.insert(number, attribute);
    }

    /// A potential configuration's alternatives, of transports the outer and of attributes the inner ones.
    fn expand<'a>(&'a self, potential: &'a Potential) -> impl Iterator<Item = Configuration> + 'a {
        let transports = potential.transports.iter().map(|transport| Some(*transport));
        let transports: Vec<Option<u32>> =
            if potential.transports.is_empty() { vec![None] } else { transports.collect() };
        transports.into_iter().flat_map(move |transport| {
            potential
                .attributes
                .iter()
                .filter_map(move |alternative| self.configuration(potential, transport, alternative))
        })
    }

    fn configuration(
        &self,
        potential: &Potential,
        transport: Option<u32>,
        alternative: &Alternative,
    ) -> Option<Configuration> {
        let proto = match transport {
            Some(transport) => Some(self.transport(transport)?.clone()),
            None => None,
        };
        if !alternative.mandatory.iter().all(|number| self.negotiable(*number)) {
            return None;
        }
        let optional = alternative.optional.iter().copied().filter(|number| self.negotiable(*number));
        let taken = Alternative { mandatory: alternative.mandatory.clone(), optional: optional.collect() };
        let numbers = taken.mandatory.iter().chain(&taken.optional);
        let attributes = numbers.filter_map(|number| self.attributes.get(number).cloned()).collect();
        Some(Configuration {
            proto,
            without_media: potential.delete.contains('m'),
            without_session: potential.delete.contains('s'),
            attributes,
            acfg: acfg(potential, transport, &taken),
        })
    }

    /// Whether an attribute capability can be taken: it is there, and known.
    fn negotiable(&self, number: u32) -> bool {
        let known = |attribute: &Attribute| NEGOTIABLE.contains(&attribute.name.as_str());
        self.attributes.get(&number).is_some_and(known)
    }
}

/// "A selected attribute configuration MUST include the delete-attributes and the known and supported parameters"
/// (RFC 5939 section 3.5.2), the optional ones in brackets as its section 4.1 has them.
fn acfg(potential: &Potential, transport: Option<u32>, taken: &Alternative) -> String {
    let mut text = potential.number.to_string();
    if let Some(transport) = transport {
        // Writing to a String cannot fail.
        let _ = write!(text, " t={transport}");
    }
    let join = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let numbers = match (join(&taken.mandatory), join(&taken.optional)) {
        (mandatory, optional) if optional.is_empty() => mandatory,
        (mandatory, optional) if mandatory.is_empty() => format!("[{optional}]"),
        (mandatory, optional) => format!("{mandatory},[{optional}]"),
    };
    let _ = match (potential.delete, numbers.as_str()) {
        ("", "") => Ok(()),
        ("", numbers) => write!(text, " a={numbers}"),
        (delete, "") => write!(text, " a=-{delete}"),
        (delete, numbers) => write!(text, " a=-{delete}:{numbers}"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(media: &[(&str, &str)]) -> Vec<Configuration> {
        Capabilities::read(std::iter::empty(), media.iter().copied()).configurations()
    }

    const CRYPTO: (&str, &str) = ("acap", "1 crypto:1 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAv");

    #[test]
    fn the_configurations_of_rfc5939_3_5_1_come_in_their_order() {
        let offered = [
            CRYPTO,
            ("tcap", "1 RTP/AVPF RTP/AVP RTP/SAVP RTP/SAVPF"),
            ("pcfg", "8 t=1|2"),
            ("pcfg", "1 t=4|3 a=1"),
        ];
        let read = read(&offered);
        let protos: Vec<_> = read.iter().map(|one| one.proto.as_deref().unwrap_or("")).collect();
        assert_eq!(protos, ["RTP/SAVPF", "RTP/SAVP", "RTP/AVPF", "RTP/AVP"]);
        assert_eq!(read[0].acfg, "1 t=4 a=1", "as section 3.5.2 has it");
        assert_eq!(read[0].attributes[0].name, "crypto");
        assert_eq!(read[2].acfg, "8 t=1");
    }

    #[test]
    fn attributes_are_deleted_and_optional_ones_left_out_where_they_are_unknown() {
        let offered = [
            CRYPTO,
            ("acap", "2 ptime:20"),
            ("acap", "3 foo:bar"),
            ("acap", "7 foo"),
            ("pcfg", "1 a=-m:1,[2,3]|1,7,[2]"),
        ];
        let read = read(&offered);
        assert_eq!(read.len(), 1, "the second alternative demands what is unknown");
        assert_eq!(read[0].acfg, "1 a=-m:1,[2]");
        assert!(read[0].without_media && !read[0].without_session);
        let names: Vec<_> = read[0].attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        assert_eq!(names, ["crypto", "ptime"]);
    }

    #[test]
    fn what_is_not_valid_is_not_there() {
        for pcfg in [
            "0 t=1",
            "1 t=9",
            "1 a=9",
            "x",
            "",
            "1 t=1 t=1",
            "1 +ext=1",
            "2147483648",
            "1 a=-x:1",
            "1 a=[1",
            "1 a=,",
            "1 a=[1]2",
            "1 t=",
            "1 a=1,[2],3",
            "99999999999 t=1",
        ] {
            assert_eq!(read(&[CRYPTO, ("tcap", "1 RTP/SAVP"), ("pcfg", pcfg)]), [], "{pcfg:?}");
        }
        assert_eq!(read(&[("pcfg", "1"), ("pcfg", "1")]), [], "numbers are unique");
        assert_eq!(read(&[("pcfg", "1 ext=5")]).len(), 1, "an extension that is not demanded is ignored");
    }

    #[test]
    fn an_unknown_required_extension_ends_capability_negotiation() {
        let offered = [("creq", "cap-v0,foo"), ("tcap", "1 RTP/SAVP"), CRYPTO, ("pcfg", "1 t=1 a=1")];
        let media = Capabilities::read(std::iter::empty(), offered.iter().copied());
        assert_eq!((media.unsupported, media.configurations().len()), (Required::ByMedia, 0));
        let session = Capabilities::read(offered.iter().copied(), std::iter::empty());
        assert_eq!(session.unsupported, Required::BySession);
        assert_eq!(read(&[("creq", "cap-v0"), ("pcfg", "1")]).len(), 1);
    }

    #[test]
    fn capabilities_of_the_session_give_transports_but_no_keys() {
        let session = [("tcap", "5 RTP/SAVP"), CRYPTO];
        let media = [("acap", "2 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA"), ("pcfg", "1 t=5 a=1|2")];
        let read = Capabilities::read(session.iter().copied(), media.iter().copied()).configurations();
        assert_eq!(read.iter().map(|one| one.acfg.as_str()).collect::<Vec<_>>(), ["1 t=5 a=2"]);
    }

    #[test]
    fn transports_of_several_attributes_add_up() {
        // Linphone writes them so; numbers that come twice are anybody's.
        let protos = |session: &[(&str, &str)], media: &[(&str, &str)]| -> Vec<String> {
            let media: Vec<_> = media.iter().copied().chain([("pcfg", "1 t=1|2|3|4")]).collect();
            let read = Capabilities::read(session.iter().copied(), media.into_iter()).configurations();
            read.into_iter().filter_map(|one| one.proto).collect()
        };
        let several = [("tcap", "1 RTP/AVP"), ("tcap", "2 RTP/SAVP"), ("tcap", "2 X Y"), ("tcap", "4 Z")];
        assert_eq!(protos(&several, &[]), ["RTP/AVP", "RTP/SAVP", "Y", "Z"]);
        assert_eq!(
            protos(&several, &[("tcap", "2 M")]),
            ["RTP/AVP", "M", "Y", "Z"],
            "the media line's go first"
        );
    }

    #[test]
    fn alternatives_without_end_are_cut_off() {
        let many = (1..200).map(|number| number.to_string()).collect::<Vec<_>>().join("|");
        let tcap = format!("1{}", " RTP/SAVP".repeat(60));
        let transports = (1..60).map(|number| number.to_string()).collect::<Vec<_>>().join("|");
        let pcfg = format!("1 t={transports} a={many}");
        assert!(read(&[CRYPTO, ("tcap", &tcap), ("pcfg", &pcfg)]).len() <= MOST_CONFIGURATIONS);
    }
}
