//! o= and c=, and how fields of a line are told apart.

use std::net::{IpAddr, Ipv6Addr};

use super::SdpError;

/// What m= must be.
pub(super) const MEDIA_FORM: &str =
    "\"<media> <port>[/<number of ports>] <proto> <fmt> ...\" with ports up to 65535 (RFC 8866 section 5.14)";
const ORIGIN_FORM: &str = "\"<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address>\" with \
                           decimal numbers (RFC 8866 section 5.2)";
const CONNECTION_FORM: &str =
    "\"<nettype> <addrtype> <connection-address>\" with an address of its type (RFC 8866 section 5.7)";

/// Fields, which may be further apart than by one space.
pub(super) fn fields(value: &str) -> impl Iterator<Item = &str> {
    value.split(' ').filter(|field| !field.is_empty())
}

/// A decimal number, of digits only.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    is_digits(text).then(|| text.parse().ok()).flatten()
}

pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// A token (RFC 8866 section 9).
pub(super) fn is_token(text: &str) -> bool {
    let is_char = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&octet);
    !text.is_empty() && text.bytes().all(is_char)
}

/// Visible characters.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|char| char.is_whitespace() || char.is_control())
}

/// Who made a description, and which version it is: o= (RFC 8866 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginLine<'a> {
    /// The user's login; `-` if there is none.
    pub username: &'a str,
    /// With the others but the version it names the session. Decimal, of any length.
    pub session_id: &'a str,
    /// It rises with each change (RFC 3264 section 8). Decimal, of any length.
    pub version: &'a str,
    /// `IN`.
    pub net_type: &'a str,
    /// `IP4` or `IP6`.
    pub addr_type: &'a str,
    /// The address of the machine.
    pub address: &'a str,
}

impl<'a> OriginLine<'a> {
    pub(super) fn read(value: &'a str) -> Self {
        let mut fields = fields(value);
        let mut next = || fields.next().unwrap_or_default();
        Self {
            username: next(),
            session_id: next(),
            version: next(),
            net_type: next(),
            addr_type: next(),
            address: next(),
        }
    }

    fn is_valid(&self) -> bool {
        let words = [self.username, self.net_type, self.addr_type, self.address];
        words.into_iter().all(is_word) && is_digits(self.session_id) && is_digits(self.version)
    }

    pub(super) fn text(&self) -> Result<String, SdpError> {
        if !self.is_valid() {
            return Err(SdpError::Malformed { line: 0, kind: 'o', want: ORIGIN_FORM });
        }
        let Self { username, session_id, version, net_type, addr_type, address } = self;
        Ok(format!("{username} {session_id} {version} {net_type} {addr_type} {address}"))
    }
}

pub(super) fn check_origin(value: &str, line: u32) -> Result<(), SdpError> {
    let is_valid = fields(value).count() == 6 && OriginLine::read(value).is_valid();
    is_valid.then_some(()).ok_or(SdpError::Malformed { line, kind: 'o', want: ORIGIN_FORM })
}

/// Where media goes: c= (RFC 8866 section 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// `IN`.
    pub net_type: &'a str,
    /// `IP4` or `IP6`.
    pub addr_type: &'a str,
    /// The address, with what multicast adds to it (`/ttl`, `/number`); it may be a name.
    pub address: &'a str,
}

impl<'a> Connection<'a> {
    pub(super) fn read(value: &'a str) -> Self {
        let mut fields = fields(value);
        let mut next = || fields.next().unwrap_or_default();
        Self { net_type: next(), addr_type: next(), address: next() }
    }

    /// The connection of an address that was written as text: `Connection::of(ip, &ip.to_string())`.
    pub fn of(ip: IpAddr, text: &'a str) -> Self {
        Self { net_type: "IN", addr_type: if ip.is_ipv4() { "IP4" } else { "IP6" }, address: text }
    }

    /// The unicast address; none if it is a name, a multicast address, or of another kind of network.
    pub fn ip(&self) -> Option<IpAddr> {
        if !self.net_type.eq_ignore_ascii_case("IN") {
            return None;
        }
        self.address.parse().ok().filter(|ip: &IpAddr| !ip.is_multicast())
    }

    pub(super) fn text(&self) -> String {
        format!("{} {} {}", self.net_type, self.addr_type, self.address)
    }

    /// An address of one version under the other's name contradicts itself.
    pub(super) fn is_valid(&self) -> bool {
        let host = self.address.split('/').next().unwrap_or_default();
        let is_ip6 = host.parse::<Ipv6Addr>().is_ok();
        let is_ip4 = host.parse::<std::net::Ipv4Addr>().is_ok();
        let agrees = match self.addr_type.to_ascii_uppercase().as_str() {
            "IP4" => !is_ip6,
            "IP6" => !is_ip4,
            _ => true,
        };
        [self.net_type, self.addr_type, host].into_iter().all(is_word) && agrees
    }
}

pub(super) fn check_connection(value: &str, line: u32) -> Result<(), SdpError> {
    let is_valid = fields(value).count() == 3 && Connection::read(value).is_valid();
    is_valid.then_some(()).ok_or(SdpError::Malformed { line, kind: 'c', want: CONNECTION_FORM })
}

pub(super) fn connection_text(connection: &Connection<'_>) -> Result<String, SdpError> {
    let text = connection.text();
    check_connection(&text, 0)?;
    Ok(text)
}
