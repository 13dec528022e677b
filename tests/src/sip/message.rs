//! SIP messages, as far as relaying them needs (RFC 3261 section 7).

use std::fmt::Write as _;
use std::str;

use anyhow::{Context, Result, bail, ensure};

/// Names of header fields that have a short form (RFC 3261 section 7.3.3, and Contact, Content-Type, …).
const SHORT: [(&str, &str); 7] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
];

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The start line.
    pub start: String,
    /// The header fields but Content-Length, in their order, under their long names.
    pub headers: Vec<(String, String)>,
    /// The body: SDP, or nothing.
    pub body: String,
}

impl Message {
    /// A request without a body.
    pub fn request(method: &str, uri: &str) -> Self {
        Self { start: format!("{method} {uri} SIP/2.0"), ..Self::default() }
    }

    /// The response to a request: what RFC 3261 section 8.2.6 has it take over.
    pub fn response(to: &Self, status: u16, reason: &str) -> Self {
        let taken = |name: &str| ["Via", "From", "To", "Call-ID", "CSeq"].contains(&name);
        let headers = to.headers.iter().filter(|(name, _)| taken(name)).cloned().collect();
        Self { start: format!("SIP/2.0 {status} {reason}"), headers, body: String::new() }
    }

    /// Reads a datagram.
    pub fn read(datagram: &[u8]) -> Result<Self> {
        let text = str::from_utf8(datagram).context("a SIP message that is not UTF-8")?;
        let (head, body) = text.split_once("\r\n\r\n").context("a SIP message without an end of its head")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        ensure!(start.contains("SIP/2.0"), "no SIP message: {start:?}");
        let mut message = Self { start, headers: Vec::new(), body: body.to_owned() };
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let Some((_, value)) = message.headers.last_mut() else { bail!("a head that begins folded") };
                value.push_str(line.trim_end());
                continue;
            }
            let (name, value) = line.split_once(':').with_context(|| format!("no header field: {line:?}"))?;
            let name = long(name.trim());
            if name != "Content-Length" {
                message.headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        Ok(message)
    }

    /// The octets to send.
    pub fn datagram(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body);
        text.into_bytes()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        let first = self.start.split(' ').next()?;
        (first != "SIP/2.0").then_some(first)
    }

    /// The request's URI.
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of a response, and its reason.
    pub fn status(&self) -> Option<(u16, &str)> {
        let (status, reason) = self.start.strip_prefix("SIP/2.0 ")?.split_once(' ')?;
        Some((status.parse().ok()?, reason))
    }

    /// The first header field of a name.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(is, _)| is.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The same message with a header field more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same message with a tag in its To, unless it has one.
    #[must_use]
    pub fn with_to_tag(mut self, tag: &str) -> Self {
        for (name, value) in &mut self.headers {
            if name == "To" && parameter(value, "tag").is_none() {
                let _ = write!(value, ";tag={tag}");
            }
        }
        self
    }

    /// The same message with an SDP, unless that is empty.
    #[must_use]
    pub fn with_sdp(self, sdp: &str) -> Self {
        if sdp.is_empty() {
            return self;
        }
        Self { body: sdp.to_owned(), ..self.with("Content-Type", "application/sdp") }
    }

    /// The branch of the topmost Via: whose transaction it is.
    pub fn transaction(&self) -> &str {
        parameter(self.header("Via"), "branch").unwrap_or_default()
    }

    /// Number and method of the CSeq.
    pub fn sequence(&self) -> (u32, &str) {
        let (number, method) = self.header("CSeq").split_once(' ').unwrap_or_default();
        (number.trim().parse().unwrap_or_default(), method.trim())
    }

    /// The URI in the Contact.
    pub fn contact(&self) -> &str {
        uri(self.header("Contact"))
    }
}

/// A parameter of a header field's value, after the URI in angle brackets if it has one.
pub(super) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let parameters = value.rsplit_once('>').map_or(value, |(_, parameters)| parameters);
    parameters.split(';').skip(1).find_map(|parameter| {
        let (is, value) = parameter.split_once('=')?;
        is.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The URI of a value with or without display name and angle brackets.
pub(super) fn uri(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

fn long(name: &str) -> &str {
    let named = SHORT
        .iter()
        .find(|(short, long)| name.eq_ignore_ascii_case(short) || name.eq_ignore_ascii_case(long));
    named.map_or(name, |(_, long)| long)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:b@192.0.2.1 SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKx;rport\r\n\
                          To: \"B; tag=no\" <sip:b@192.0.2.1;tag=no>\r\nFrom: sip:a@192.0.2.2;tag=1\r\n\
                          CSeq: 7 INVITE\r\nm: <sip:a@192.0.2.2:5061;ob>;x=1\r\nl: 5\r\n\r\nv=0\r\n";

    #[test]
    fn a_request_is_read_and_answered() -> Result<()> {
        let invite = Message::read(INVITE.as_bytes())?;
        assert_eq!(
            (invite.method(), invite.uri(), invite.status()),
            (Some("INVITE"), "sip:b@192.0.2.1", None)
        );
        assert_eq!((invite.transaction(), invite.sequence()), ("z9hG4bKx", (7, "INVITE")));
        assert_eq!(
            (invite.contact(), parameter(invite.header("To"), "tag")),
            ("sip:a@192.0.2.2:5061;ob", None)
        );
        let answer = Message::response(&invite, 200, "OK").with_to_tag("2").with_sdp("v=0\r\n");
        let answer = Message::read(&answer.datagram())?;
        assert_eq!((answer.method(), answer.status()), (None, Some((200, "OK"))));
        assert_eq!(parameter(answer.header("To"), "tag"), Some("2"));
        assert_eq!((answer.header("contact"), answer.body.as_str()), ("", "v=0\r\n"));
        Ok(())
    }

    #[test]
    fn what_is_no_sip_is_refused() {
        for text in
            ["", "\0\0\0\0", "hello\r\n\r\n", "INVITE x SIP/2.0\r\n folded\r\n\r\n", "INVITE x SIP/2.0\r\n"]
        {
            assert!(Message::read(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
