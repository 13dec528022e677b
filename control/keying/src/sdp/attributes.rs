//! Attributes whose values are read. Each knows one attribute; [`Section`] finds them.

use std::collections::HashSet;
use std::net::IpAddr;

use super::fields::{fields, is_token, is_word, number};
use super::{Attribute, SdpError, Section};

/// The attributes of ICE (RFC 8839 section 5, RFC 8840).
pub const ICE_ATTRIBUTES: [&str; 9] = [
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "ice-lite",
    "ice-mismatch",
    "ice-options",
    "ice-pacing",
    "ice-pwd",
    "ice-ufrag",
];

impl Section {
    /// Where RTCP is received, if a=rtcp says so.
    ///
    /// # Errors
    /// [`SdpError::Attribute`] if it cannot be read.
    pub fn rtcp(&self) -> Result<Option<Rtcp<'_>>, SdpError> {
        self.attribute("rtcp").map(Rtcp::read).transpose()
    }

    /// What a=ssrc says, line by line.
    pub fn ssrc_attributes(&self) -> impl Iterator<Item = Result<SsrcAttribute<'_>, SdpError>> {
        self.all("ssrc").map(SsrcAttribute::read)
    }

    /// The SSRCs that a=ssrc names, each once, in their order (RFC 5576 section 4.1).
    ///
    /// # Errors
    /// [`SdpError::Attribute`] if one cannot be read.
    pub fn ssrcs(&self) -> Result<Vec<u32>, SdpError> {
        let mut seen = HashSet::new();
        let all = self.ssrc_attributes().map(|attribute| attribute.map(|attribute| attribute.ssrc));
        all.filter(|ssrc| ssrc.as_ref().map_or(true, |ssrc| seen.insert(*ssrc))).collect()
    }

    /// Encodings of payload types.
    pub fn rtpmaps(&self) -> impl Iterator<Item = Result<Rtpmap<'_>, SdpError>> {
        self.all("rtpmap").map(Rtpmap::read)
    }

    /// Parameters of formats.
    pub fn fmtps(&self) -> impl Iterator<Item = Result<Fmtp<'_>, SdpError>> {
        self.all("fmtp").map(Fmtp::read)
    }

    /// Who opens a connection, if a=setup says so.
    ///
    /// # Errors
    /// [`SdpError::Attribute`] if it cannot be read.
    pub fn setup(&self) -> Result<Option<Setup>, SdpError> {
        self.attribute("setup").map(Setup::read).transpose()
    }

    /// Fingerprints of certificates.
    pub fn fingerprints(&self) -> impl Iterator<Item = Result<Fingerprint<'_>, SdpError>> {
        self.all("fingerprint").map(Fingerprint::read)
    }

    /// ICE candidates.
    pub fn candidates(&self) -> impl Iterator<Item = Result<Candidate<'_>, SdpError>> {
        self.all("candidate").map(Candidate::read)
    }

    /// Hashes of ZRTP's Hello messages.
    pub fn zrtp_hashes(&self) -> impl Iterator<Item = Result<ZrtpHash<'_>, SdpError>> {
        self.all("zrtp-hash").map(ZrtpHash::read)
    }
}

/// `None` as the error that says what the attribute must be.
fn must_be<T>(
    read: Option<T>,
    attribute: Attribute<'_>,
    name: &'static str,
    want: &'static str,
) -> Result<T, SdpError> {
    read.ok_or(SdpError::Attribute { line: attribute.line, name, want })
}

/// Where RTCP is received: `a=rtcp:port [IN IP4 address]` (RFC 3605 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtcp<'a> {
    /// Its port.
    pub port: u16,
    /// Its address as written, if it is not that of c=. It may be a name.
    pub address: Option<&'a str>,
}

impl<'a> Rtcp<'a> {
    fn read(attribute: Attribute<'a>) -> Result<Self, SdpError> {
        let mut fields = fields(attribute.text());
        let mut read = || {
            let port = number(fields.next()?)?;
            let address = match (fields.next(), fields.next(), fields.next()) {
                (None, ..) => None,
                (Some(_), Some(_), Some(address)) => Some(address),
                _ => return None,
            };
            fields.next().is_none().then_some(Self { port, address })
        };
        must_be(
            read(),
            attribute,
            "rtcp",
            "\"<port>\" or \"<port> <nettype> <addrtype> <address>\" (RFC 3605 section 2.1)",
        )
    }

    /// The address, if it is written and no name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address?.parse().ok()
    }
}

/// What one source is or does: `a=ssrc:id attribute[:value]` (RFC 5576 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsrcAttribute<'a> {
    /// The source.
    pub ssrc: u32,
    /// The attribute's name; empty if only the SSRC is there, as some endpoints have it.
    pub name: &'a str,
    /// Its value.
    pub value: Option<&'a str>,
}

impl<'a> SsrcAttribute<'a> {
    fn read(attribute: Attribute<'a>) -> Result<Self, SdpError> {
        let (ssrc, rest) = attribute.text().split_once(' ').unwrap_or((attribute.text(), ""));
        let (name, value) = match rest.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (rest, None),
        };
        let read = number(ssrc).map(|ssrc| Self { ssrc, name, value });
        must_be(read, attribute, "ssrc", "\"<ssrc> <attribute>[:<value>]\" (RFC 5576 section 4.1)")
    }
}

/// What a payload type is: `a=rtpmap:type encoding/rate[/parameters]` (RFC 8866 section 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtpmap<'a> {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding's name; case does not count.
    pub encoding: &'a str,
    /// In Hz.
    pub clock_rate: u32,
    /// Of audio the number of channels.
    pub parameters: Option<&'a str>,
}

impl<'a> Rtpmap<'a> {
    fn read(attribute: Attribute<'a>) -> Result<Self, SdpError> {
        let read = || {
            let (payload_type, rest) = attribute.text().split_once(' ')?;
            let mut parts = rest.trim().splitn(3, '/');
            let encoding = parts.next().filter(|encoding| is_token(encoding))?;
            let clock_rate = number(parts.next()?)?;
            let payload_type = number::<u8>(payload_type).filter(|payload_type| *payload_type < 128)?;
            Some(Self { payload_type, encoding, clock_rate, parameters: parts.next() })
        };
        let want = "\"<payload type> <encoding name>/<clock rate>[/<parameters>]\" (RFC 8866 section 6.6)";
        must_be(read(), attribute, "rtpmap", want)
    }
}

/// Parameters of a format: `a=fmtp:format parameters` (RFC 8866 section 6.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fmtp<'a> {
    /// A format of m=.
    pub format: &'a str,
    /// As they are.
    pub parameters: &'a str,
}

impl<'a> Fmtp<'a> {
    fn read(attribute: Attribute<'a>) -> Result<Self, SdpError> {
        let read = attribute.text().split_once(' ').filter(|(format, _)| !format.is_empty());
        let read = read.map(|(format, parameters)| Self { format, parameters });
        must_be(read, attribute, "fmtp", "\"<format> <parameters>\" (RFC 8866 section 6.15)")
    }
}

/// Who opens a connection: `a=setup` (RFC 4145 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Who says so.
    Active,
    /// The other.
    Passive,
    /// Either: the answerer chooses.
    ActPass,
    /// Nobody for now.
    HoldConn,
}

impl Setup {
    pub(crate) fn read(attribute: Attribute<'_>) -> Result<Self, SdpError> {
        let all = [Self::Active, Self::Passive, Self::ActPass, Self::HoldConn];
        let found = all.into_iter().find(|setup| setup.name().eq_ignore_ascii_case(attribute.text().trim()));
        must_be(found, attribute, "setup", "active, passive, actpass or holdconn (RFC 4145 section 4)")
    }

    /// The attribute's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
            Self::HoldConn => "holdconn",
        }
    }
}

/// The hash of a certificate: `a=fingerprint:hash octets` (RFC 8122 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint<'a> {
    /// The hash function's name; case does not count.
    pub hash: &'a str,
    /// Octets in hexadecimal, with colons between them.
    pub value: &'a str,
}

impl<'a> Fingerprint<'a> {
    fn read(attribute: Attribute<'a>) -> Result<Self, SdpError> {
        let read = || {
            let mut fields = fields(attribute.text());
            let (hash, value) = (fields.next().filter(|hash| is_token(hash))?, fields.next()?);
            let is_octet =
                |octet: &str| octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
            (fields.next().is_none() && value.split(':').all(is_octet)).then_some(Self { hash, value })
        };
        let want = "\"<hash> <octets in hexadecimal, a colon between two>\" (RFC 8122 section 5)";
        must_be(read(), attribute, "fingerprint", want)
    }
}

/// An ICE candidate: `a=candidate` (RFC 8839 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Candidates with the same one are alike to the network.
    pub foundation: &'a str,
    /// 1 for RTP, 2 for RTCP.
    pub component: u16,
    /// `UDP`, usually.
    pub transport: &'a str,
    /// The higher, the better.
    pub priority: u32,
    /// Its address; it may be a name.
    pub address: &'a str,
    /// Its port.
    pub port: u16,
    /// `host`, `srflx`, `prflx`, `relay`.
    pub kind: &'a str,
}

impl<'a> Candidate<'a> {
    fn read(attribute: Attribute<'a>) -> Result<Self, SdpError> {
        let mut fields = fields(attribute.text());
        let mut read = || {
            let candidate = Self {
                foundation: fields.next()?,
                component: number(fields.next()?)?,
                transport: fields.next()?,
                priority: number(fields.next()?)?,
                address: fields.next()?,
                port: number(fields.next()?)?,
                kind: fields.next().filter(|word| *word == "typ").and_then(|_| fields.next())?,
            };
            Some(candidate)
        };
        must_be(
            read(),
            attribute,
            "candidate",
            "\"<foundation> <component> <transport> <priority> <address> <port> typ <type> ...\" (RFC 8839 \
             section 5.1)",
        )
    }
}

/// The hash of a ZRTP Hello message: `a=zrtp-hash:version hash` (RFC 6189 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZrtpHash<'a> {
    /// Of the protocol: `1.10`.
    pub version: &'a str,
    /// In hexadecimal.
    pub hash: &'a str,
}

impl<'a> ZrtpHash<'a> {
    fn read(attribute: Attribute<'a>) -> Result<Self, SdpError> {
        let mut fields = fields(attribute.text());
        let mut read = || {
            let (version, hash) = (fields.next().filter(|version| is_word(version))?, fields.next()?);
            let is_hash = hash.bytes().all(|digit| digit.is_ascii_hexdigit());
            (is_hash && fields.next().is_none()).then_some(Self { version, hash })
        };
        must_be(read(), attribute, "zrtp-hash", "\"<version> <hash in hexadecimal>\" (RFC 6189 section 8)")
    }
}
