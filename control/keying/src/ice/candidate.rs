//! Candidates: as lines (RFC 8839 section 5.1), and how good they are (RFC 8445 section 5.1).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::credentials::is_ice_char;
use super::{Candidate, CandidateError, CandidateKind};

/// Extensions that are kept of a line; no browser writes more than five.
const MAX_EXTENSIONS: usize = 8;
/// The longest line that is read.
const MAX_LINE: usize = 512;

impl CandidateKind {
    /// Its name in lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }

    /// The type preference of RFC 8445 section 5.1.2.2.
    pub fn preference(self) -> u8 {
        match self {
            Self::Host => 126,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relayed => 0,
        }
    }
}

impl Candidate {
    /// An address of our own. `preference` is the higher, the rather it is to be used; each address of a kind has another
    /// (RFC 8445 section 5.1.2.1). 65535 is for an agent with one address.
    pub fn host(component: u16, address: SocketAddr, preference: u16) -> Self {
        Self::of(CandidateKind::Host, component, address, None, preference)
    }

    /// An address by which `base`, which is our own, is reached from outside: that of a one-to-one NAT.
    pub fn mapped(component: u16, address: SocketAddr, base: SocketAddr, preference: u16) -> Self {
        Self::of(CandidateKind::ServerReflexive, component, address, Some(base), preference)
    }

    /// The address that datagrams leave from: its own, or the one behind it.
    pub fn base(&self) -> SocketAddr {
        match self.related {
            Some(related)
                if self.kind != CandidateKind::Host
                    && self.kind != CandidateKind::Relayed
                    && !related.ip().is_unspecified()
                    && related.is_ipv4() == self.address.is_ipv4() =>
            {
                related
            }
            _ => self.address,
        }
    }

    /// Candidates of `lines`, without those that are of no use here (TCP, names of multicast DNS, kinds nobody knows).
    /// Each line begins after `a=`, or with the foundation.
    ///
    /// # Errors
    /// [`CandidateError::Malformed`] of the first line that is.
    pub fn list<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, CandidateError> {
        let parsed = lines.into_iter().map(str::parse);
        parsed.filter(|one: &Result<_, CandidateError>| !matches!(one, Err(e) if e.is_ignorable())).collect()
    }

    fn of(
        kind: CandidateKind,
        component: u16,
        address: SocketAddr,
        related: Option<SocketAddr>,
        preference: u16,
    ) -> Self {
        let base = related.unwrap_or(address);
        Self {
            foundation: foundation(kind, base.ip()),
            component,
            priority: priority(kind, preference, component),
            address,
            kind,
            related,
            extensions: Vec::new(),
        }
    }
}

/// The formula of RFC 8445 section 5.1.2.1.
pub fn priority(kind: CandidateKind, preference: u16, component: u16) -> u32 {
    let component = u32::from(component.clamp(1, 256));
    (u32::from(kind.preference()) << 24) | (u32::from(preference) << 8) | (256 - component)
}

/// The same for candidates of one kind and base address, another for others (RFC 8445 section 5.1.1.3).
fn foundation(kind: CandidateKind, base: IpAddr) -> String {
    let address = match base {
        IpAddr::V4(address) => format!("{:x}", address.to_bits()),
        IpAddr::V6(address) => format!("{:x}", address.to_bits()),
    };
    // A kind's letter is none of the 32 digits that may follow, so no two of them look alike; at most 32 characters.
    let letter = match kind {
        CandidateKind::Host => "",
        CandidateKind::ServerReflexive => "S",
        CandidateKind::PeerReflexive => "P",
        CandidateKind::Relayed => "R",
    };
    let room = 32 - letter.len();
    format!("{letter}{}", &address[address.len().saturating_sub(room)..])
}

/// The line after `a=`, without CRLF.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, component, priority, address, kind, related, extensions } = self;
        let (ip, port) = (address.ip(), address.port());
        write!(f, "candidate:{foundation} {component} UDP {priority} {ip} {port} typ {}", kind.name())?;
        if *kind != CandidateKind::Host {
            let related = related.unwrap_or(SocketAddr::new(nowhere(ip), DISCARD));
            write!(f, " raddr {} rport {}", related.ip(), related.port())?;
        }
        extensions.iter().try_for_each(|(name, value)| write!(f, " {name} {value}"))
    }
}

impl FromStr for Candidate {
    type Err = CandidateError;

    fn from_str(line: &str) -> Result<Self, CandidateError> {
        use CandidateError::Malformed;
        if line.len() > MAX_LINE {
            return Err(Malformed("the line is too long"));
        }
        let line = line.strip_prefix("a=").unwrap_or(line).trim_end();
        let line = line.strip_prefix("candidate:").unwrap_or(line);
        let mut words = line.split(' ');
        let mut word = |what| words.next().filter(|word| !word.is_empty()).ok_or(Malformed(what));
        let foundation = word("the foundation is missing")?;
        if foundation.len() > 32 || !foundation.bytes().all(is_ice_char) {
            return Err(Malformed("the foundation has to be 1 to 32 letters, digits, + or /"));
        }
        let component =
            number(word("the component is missing")?, 1, 256).ok_or(Malformed("the component"))?;
        let transport = word("the transport is missing")?;
        let priority = word("the priority is missing")?;
        let priority = number(priority, 1, (1 << 31) - 1).ok_or(Malformed("the priority"))?;
        let host = word("the address is missing")?;
        let port = number(word("the port is missing")?, 0, 65535).ok_or(Malformed("the port"))?;
        if word("`typ` is missing")? != "typ" {
            return Err(Malformed("`typ` is missing"));
        }
        let kind = word("the kind is missing")?;
        let (related, extensions) = tail(words)?;
        if !transport.eq_ignore_ascii_case("udp") {
            return Err(CandidateError::Transport(transport.to_owned()));
        }
        let kind = kind_of(kind)?;
        let ip = host.parse::<IpAddr>().map_err(|_| name_error(host))?;
        let (component, port) = (component as u16, port as u16);
        let unreachable = port == 0 || ip.is_unspecified() || ip.is_multicast();
        if unreachable {
            return Err(Malformed("the address is none that datagrams can be sent to"));
        }
        let address = SocketAddr::new(ip, port);
        // What is not told is written as nowhere; an address that is an interface's comes from no other.
        let untold = SocketAddr::new(nowhere(ip), DISCARD);
        let related = related.filter(|related| kind != CandidateKind::Host && *related != untold);
        Ok(Self {
            foundation: foundation.to_owned(),
            component,
            priority,
            address,
            kind,
            related,
            extensions,
        })
    }
}

/// RFC 8839 section 5.1: a related address that is not told is 0.0.0.0 or ::, and port 9.
const DISCARD: u16 = 9;

const fn nowhere(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn number(text: &str, least: u32, most: u32) -> Option<u32> {
    // What FromStr takes beside digits is a plus sign.
    let digits = text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (least..=most).contains(number))
}

fn kind_of(name: &str) -> Result<CandidateKind, CandidateError> {
    let kinds = [
        CandidateKind::Host,
        CandidateKind::ServerReflexive,
        CandidateKind::PeerReflexive,
        CandidateKind::Relayed,
    ];
    kinds.into_iter().find(|kind| kind.name() == name).ok_or_else(|| CandidateError::Kind(name.to_owned()))
}

fn name_error(host: &str) -> CandidateError {
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // A name has a letter at its end; 192.0.2.256 is none.
    let ends_in_letter = host.bytes().next_back().is_some_and(|byte| byte.is_ascii_alphabetic());
    if is_name && ends_in_letter { CandidateError::Name } else { CandidateError::Malformed("the address") }
}

type Tail = (Option<SocketAddr>, Vec<(String, String)>);

/// The related address and the extensions: names with values, in pairs.
fn tail<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Tail, CandidateError> {
    let (mut address, mut port, mut extensions) = (None, None, Vec::new());
    while let Some(name) = words.next() {
        let value = words.next().ok_or(CandidateError::Malformed("an extension without a value"))?;
        match name {
            "" => return Err(CandidateError::Malformed("an extension without a name")),
            // A related address is for diagnosis: one that cannot be read, such as a name, is as good as none.
            "raddr" if address.is_none() => address = Some(value.parse::<IpAddr>().ok()),
            "rport" if port.is_none() => port = Some(number(value, 0, 65535)),
            _ if extensions.len() < MAX_EXTENSIONS => extensions.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
    }
    let related = address.flatten().zip(port.flatten());
    Ok((related.map(|(ip, port)| SocketAddr::new(ip, port as u16)), extensions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written_as_they_were() {
        for line in [
            "candidate:2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
            "candidate:1 1 UDP 2130706431 2001:db8::3 5000 typ host",
            "candidate:a+/Z 2 UDP 1 192.0.2.3 1 typ relay raddr 0.0.0.0 rport 9",
            "candidate:842163049 1 UDP 1677729535 192.0.2.9 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag \
             EsAw network-cost 999",
        ] {
            let candidate: Candidate = line.parse().unwrap();
            assert_eq!(candidate.to_string(), line);
            assert_eq!(format!("a={line}\r\n").parse::<Candidate>().unwrap(), candidate);
        }
    }

    #[test]
    fn a_related_address_that_says_nothing_is_none() {
        for line in [
            "candidate:1 1 UDP 9 192.0.2.9 5000 typ srflx raddr 10.0.0)1 rport 9",
            "candidate:1 1 UDP 9 192.0.2.9 5000 typ srflx raddr 0.0.0.0 rport 9",
            "candidate:1 1 UDP 9 192.0.2.9 5000 typ host raddr 10.0.0.1 rport 9",
        ] {
            let candidate: Candidate = line.parse().unwrap();
            assert_eq!(candidate.related, None, "{line}");
            assert_eq!(candidate.to_string().parse(), Ok(candidate));
        }
    }

    #[test]
    fn what_nobody_here_can_use_is_passed_over_and_what_is_wrong_is_not() {
        let tcp = "candidate:1 1 tcp 1518280447 192.0.2.3 9 typ host tcptype active generation 0";
        let local = "candidate:1 1 udp 2113937151 d9dd1d6a-7b0c.local 54321 typ host generation 0";
        let kind = "candidate:1 1 udp 2113937151 192.0.2.3 54321 typ satellite";
        let good = "candidate:1 1 udp 2113937151 192.0.2.3 54321 typ host";
        assert_eq!(tcp.parse::<Candidate>(), Err(CandidateError::Transport("tcp".to_owned())));
        assert_eq!(local.parse::<Candidate>(), Err(CandidateError::Name));
        assert_eq!(Candidate::list([tcp, local, kind, good]).unwrap().len(), 1);
        for bad in [
            "",
            "candidate:",
            "candidate:1 1 UDP",
            "candidate:1 0 UDP 1 192.0.2.3 1 typ host",
            "candidate:1 257 UDP 1 192.0.2.3 1 typ host",
            "candidate:1 1 UDP 0 192.0.2.3 1 typ host",
            "candidate:1 1 UDP 2147483648 192.0.2.3 1 typ host",
            "candidate:1 1 UDP +1 192.0.2.3 1 typ host",
            "candidate:1 1 UDP 1 192.0.2.256 1 typ host",
            "candidate:1 1 UDP 1 192.0.2.3 65536 typ host",
            "candidate:1 1 UDP 1 192.0.2.3 0 typ host",
            "candidate:1 1 UDP 1 0.0.0.0 5 typ host",
            "candidate:1 1 UDP 1 224.0.0.1 5 typ host",
            "candidate:1 1 UDP 1 192.0.2.3 1 host",
            "candidate:1 1 UDP 1 192.0.2.3 1 typ host generation",
            "candidate:1_1 1 UDP 1 192.0.2.3 1 typ host",
        ] {
            let error = bad.parse::<Candidate>().unwrap_err();
            assert!(!error.is_ignorable(), "{bad}: {error}");
            assert!(Candidate::list([good, bad]).is_err());
        }
    }

    #[test]
    fn priorities_are_those_of_the_formula() {
        assert_eq!(priority(CandidateKind::Host, 65535, 1), 2_130_706_431);
        assert_eq!(priority(CandidateKind::ServerReflexive, 65535, 1), 1_694_498_815, "RFC 8839's example");
        assert_eq!(priority(CandidateKind::Host, 65535, 2), 2_130_706_430);
    }

    #[test]
    fn foundations_are_alike_where_kind_and_address_are() {
        let [one, two] = ["192.0.2.3:5000", "192.0.2.4:5000"].map(|address| address.parse().unwrap());
        let foundation = |candidate: Candidate| candidate.foundation;
        let host = foundation(Candidate::host(1, one, 65535));
        assert_eq!(host, foundation(Candidate::host(2, one, 65534)), "components");
        assert_ne!(host, foundation(Candidate::host(1, two, 65535)));
        assert_ne!(host, foundation(Candidate::mapped(1, two, one, 65535)));
        let long =
            Candidate::mapped(1, two, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1".parse().unwrap(), 1);
        assert_eq!(long.foundation.len(), 32);
    }

    #[test]
    fn an_address_behind_a_nat_is_sent_from_the_one_before_it() {
        let (outside, inside) = ("192.0.2.3:5000".parse().unwrap(), "10.0.0.3:5001".parse().unwrap());
        assert_eq!(Candidate::host(1, inside, 1).base(), inside);
        assert_eq!(Candidate::mapped(1, outside, inside, 1).base(), inside);
        let hidden = "candidate:2 1 UDP 9 192.0.2.3 5000 typ srflx raddr 0.0.0.0 rport 9";
        assert_eq!(hidden.parse::<Candidate>().unwrap().base(), outside);
    }
}
