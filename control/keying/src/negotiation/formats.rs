//! Which formats of an answer were offered.

use std::collections::{HashMap, HashSet};

use crate::sdp::{Media, SdpError};

/// What two media lines have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Common {
    /// Formats of the answer that were offered, in its order.
    pub(super) formats: Vec<String>,
    /// Payload types that either may send: their numbers in the offer and in the answer, which may differ (RFC 3264
    /// section 6.1).
    pub(super) payload_types: Vec<u8>,
    /// What those of them mean whose answer says so, as `a=rtpmap` has it.
    pub(super) codecs: Vec<(u8, String)>,
}

impl Common {
    /// The formats of `answered` that are those of `offered`, by their numbers or by their encodings.
    pub(super) fn of(offered: &Media, answered: &Media) -> Result<Self, SdpError> {
        let (ours, theirs) = (encodings(offered)?, encodings(answered)?);
        let offered: HashSet<&str> = offered.formats().collect();
        let by_encoding: HashMap<&str, &str> = ours
            .iter()
            .filter(|(format, _)| offered.contains(*format))
            .map(|(k, v)| (v.as_str(), *k))
            .collect();
        let mut common = Self::default();
        let mut seen = HashSet::new();
        for format in answered.formats().filter(|format| seen.insert(*format)) {
            let encoding = theirs.get(format).map(String::as_str);
            let same = match (ours.get(format).map(String::as_str), encoding) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            };
            let number = match encoding.and_then(|encoding| by_encoding.get(encoding)) {
                _ if same && offered.contains(format) => format,
                Some(number) => *number,
                None => continue,
            };
            common.formats.push(format.to_owned());
            let named = answered.all("rtpmap").filter_map(|map| map.text().split_once(' '));
            let name = named.filter(|(named, _)| *named == format).last().map(|(_, name)| name.trim());
            common.take_type(number, name);
            common.take_type(format, name);
        }
        Ok(common)
    }

    fn take_type(&mut self, format: &str, name: Option<&str>) {
        match format.parse() {
            Ok(number) if number < 128 && !self.payload_types.contains(&number) => {
                self.payload_types.push(number);
                self.codecs.extend(name.map(|name| (number, name.to_owned())));
            }
            _ => {}
        }
    }
}

/// Takes formats out of a media line but for these, with what describes them.
pub(super) fn keep(media: &mut Media, formats: &[String]) -> Result<(), SdpError> {
    if media.formats().eq(formats.iter().map(String::as_str)) {
        return Ok(());
    }
    let kept: HashSet<&str> = formats.iter().map(String::as_str).collect();
    let dropped = media.formats().filter(|format| !kept.contains(format));
    let dropped: HashSet<String> = dropped.map(str::to_owned).collect();
    media.set_formats(formats.iter().map(String::as_str))?;
    media.retain_attributes(|attribute| {
        let describes = matches!(attribute.name, "rtpmap" | "fmtp" | "rtcp-fb");
        let format = attribute.text().split(' ').next().unwrap_or_default();
        !(describes && dropped.contains(format))
    });
    Ok(())
}

/// Encodings by their format, in one spelling.
fn encodings(media: &Media) -> Result<HashMap<&str, String>, SdpError> {
    let mut encodings = HashMap::new();
    for attribute in media.all("rtpmap") {
        let Some((format, encoding)) = attribute.text().split_once(' ') else { continue };
        let encoding = encoding.trim().to_ascii_lowercase();
        // Of audio one channel is meant where none is said (RFC 8866 section 6.6).
        let encoding = encoding.strip_suffix("/1").map(str::to_owned).unwrap_or(encoding);
        encodings.insert(format, encoding);
    }
    // Contradictory lines are the parser's to find.
    media.rtpmaps().try_for_each(|map| map.map(drop))?;
    Ok(encodings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Sdp;

    fn media(m: &str, attributes: &[&str]) -> Media {
        let mut text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm={m}\r\n");
        text.extend(attributes.iter().flat_map(|attribute| ["a=", attribute, "\r\n"]));
        Sdp::parse(&text).expect("SDP").media()[0].clone()
    }

    #[test]
    fn formats_are_the_offers_by_number_or_by_encoding() {
        let offered = media(
            "audio 4000 RTP/AVP 96 0 101",
            &["rtpmap:96 opus/48000/2", "rtpmap:101 telephone-event/8000"],
        );
        let answered = media(
            "audio 4000 RTP/AVP 97 0 18 101",
            &["rtpmap:97 OPUS/48000/2", "rtpmap:18 G729/8000", "rtpmap:101 telephone-event/8000/1"],
        );
        let common = Common::of(&offered, &answered).unwrap();
        assert_eq!(common.formats, ["97", "0", "101"]);
        assert_eq!(common.payload_types, [96, 97, 0, 101]);
        let named = [(96, "OPUS/48000/2"), (97, "OPUS/48000/2"), (101, "telephone-event/8000/1")];
        assert_eq!(common.codecs, named.map(|(number, name)| (number, name.to_owned())));
    }

    #[test]
    fn a_number_that_means_something_else_is_not_the_offers() {
        let offered = media("audio 4000 RTP/AVP 96", &["rtpmap:96 opus/48000/2"]);
        let answered = media("audio 4000 RTP/AVP 96", &["rtpmap:96 iLBC/8000"]);
        assert_eq!(Common::of(&offered, &answered).unwrap(), Common::default());
    }

    #[test]
    fn what_is_dropped_goes_with_its_description() {
        let mut answered = media(
            "audio 4000 RTP/AVP 0 18",
            &["rtpmap:18 G729/8000", "fmtp:18 annexb=no", "rtpmap:0 PCMU/8000", "x"],
        );
        keep(&mut answered, &["0".to_owned()]).unwrap();
        assert_eq!(answered.formats().collect::<Vec<_>>(), ["0"]);
        let left: Vec<_> = answered.attributes().map(|attribute| attribute.name).collect();
        assert_eq!(left, ["rtpmap", "x"]);
    }
}
