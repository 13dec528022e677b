//! Candidates that come after an offer or answer, as SIP carries them: SDP fragments (RFC 8840 section 9).

use std::fmt::Write as _;

use super::ice::{candidate, candidate_text, credentials};
use crate::ice::{Candidate, Credentials, CredentialsError};
use crate::sdp::{Line, MAX_MEDIA, SdpError};

/// Most octets of a fragment that is read.
pub const MAX_FRAGMENT: usize = 64 * 1024;

/// An SDP fragment: a body of the type `application/trickle-ice-sdpfrag`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceFragment {
    /// Whose candidates they are, where no line says so itself: those of other credentials than the peer's are of checks
    /// that have begun anew since, or will (RFC 8840 section 4.4).
    pub credentials: Option<Credentials>,
    /// Media lines.
    pub lines: Vec<FragmentLine>,
    /// Whether no candidates follow for any line.
    pub ended: bool,
}

/// What a fragment says of one media line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FragmentLine {
    /// What follows `m=`: like the line's own, or anything of its form, as nobody looks at it.
    pub media: String,
    /// Its name (`a=mid`): see [`Standing::transport_of`](super::Standing::transport_of).
    pub mid: Option<String>,
    /// Whose candidates they are, if it says so.
    pub credentials: Option<Credentials>,
    /// More candidates. What is of no use is left out when read: other transports than UDP, names of hosts.
    pub candidates: Vec<Candidate>,
    /// Whether no more follow for it.
    pub ended: bool,
}

/// Why a text is no fragment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// More than [`MAX_FRAGMENT`] octets, or more media lines than any description has.
    #[error("the fragment is larger than any of candidates: at most {MAX_FRAGMENT} octets are read")]
    TooLarge,
    /// A line that is none.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// A user name fragment or password that is none.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// One of them without the other.
    #[error("a=ice-ufrag and a=ice-pwd come together (RFC 8840 section 4.4)")]
    HalfCredentials,
}

impl IceFragment {
    /// Reads a fragment. Lines that are neither attributes nor media lines are passed over, and so are attributes that are
    /// not of ICE.
    ///
    /// # Errors
    /// [`FragmentError`].
    pub fn parse(text: &str) -> Result<Self, FragmentError> {
        if text.len() > MAX_FRAGMENT {
            return Err(FragmentError::TooLarge);
        }
        let mut fragment = Self::default();
        let mut said = Said::default();
        for text in text.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty()) {
            let (kind, value) = text.split_at_checked(2).ok_or(SdpError::NotALine { line: 0 })?;
            let line = Line::new(kind.chars().next().unwrap_or_default(), value)?;
            if !kind.ends_with('=') {
                return Err(SdpError::NotALine { line: 0 }.into());
            }
            if line.kind() == 'm' {
                if fragment.lines.len() >= MAX_MEDIA {
                    return Err(FragmentError::TooLarge);
                }
                *fragment.credentials_here() = std::mem::take(&mut said).credentials()?;
                fragment
                    .lines
                    .push(FragmentLine { media: line.value().to_owned(), ..FragmentLine::default() });
            }
            fragment.take(&line, &mut said);
        }
        *fragment.credentials_here() = said.credentials()?;
        Ok(fragment)
    }

    /// The fragment as text.
    pub fn write(&self) -> String {
        let mut text = String::new();
        write_credentials(&mut text, self.credentials.as_ref());
        if self.ended {
            text.push_str("a=end-of-candidates\r\n");
        }
        for line in &self.lines {
            // Writing to a String cannot fail.
            let _ = write!(text, "m={}\r\n", line.media);
            if let Some(mid) = &line.mid {
                let _ = write!(text, "a=mid:{mid}\r\n");
            }
            write_credentials(&mut text, line.credentials.as_ref());
            for candidate in &line.candidates {
                let _ = write!(text, "a=candidate:{}\r\n", candidate_text(candidate));
            }
            if line.ended {
                text.push_str("a=end-of-candidates\r\n");
            }
        }
        text
    }

    fn take(&mut self, line: &Line, said: &mut Said) {
        let Some(attribute) = line.as_attribute() else { return };
        let value = || attribute.text().trim().to_owned();
        match (attribute.name, self.lines.last_mut()) {
            ("ice-ufrag", _) => said.ufrag = Some(value()),
            ("ice-pwd", _) => said.password = Some(zeroize::Zeroizing::new(value())),
            ("end-of-candidates", None) => self.ended = true,
            ("end-of-candidates", Some(line)) => line.ended = true,
            ("mid", Some(line)) => line.mid = Some(value()),
            ("candidate", Some(line)) => line.candidates.extend(candidate(attribute)),
            _ => {}
        }
    }

    fn credentials_here(&mut self) -> &mut Option<Credentials> {
        match self.lines.last_mut() {
            Some(line) => &mut line.credentials,
            None => &mut self.credentials,
        }
    }
}

/// Reads one candidate, as browsers give it to scripts: `candidate:…`, with or without `a=`. None if it is of no use.
pub fn parse_candidate(text: &str) -> Option<Candidate> {
    let text = text.trim();
    let text = text.strip_prefix("a=").unwrap_or(text);
    let value = text.strip_prefix("candidate:")?;
    let line = Line::attribute("candidate", Some(value)).ok()?;
    candidate(line.as_attribute()?)
}

/// Credentials as far as they were read.
#[derive(Default)]
struct Said {
    ufrag: Option<String>,
    password: Option<zeroize::Zeroizing<String>>,
}

impl Said {
    fn credentials(self) -> Result<Option<Credentials>, FragmentError> {
        match (self.ufrag, self.password) {
            (None, None) => Ok(None),
            (Some(ufrag), Some(password)) => Ok(Some(credentials(&ufrag, &password)?)),
            _ => Err(FragmentError::HalfCredentials),
        }
    }
}

fn write_credentials(text: &mut String, credentials: Option<&Credentials>) {
    if let Some(credentials) = credentials {
        let _ = write!(text, "a=ice-ufrag:{}\r\n", credentials.ufrag);
        let _ = write!(text, "a=ice-pwd:{}\r\n", credentials.password.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the manner of RFC 8840 section 4.4.
    const FRAGMENT: &str = "a=ice-pwd:asd88fgpdd777uzjYhagZg\r\na=ice-ufrag:8hhY\r\nm=audio 9 RTP/AVP 0\r\na=mid:1\r\n\
        a=candidate:1 1 UDP 2130706432 2001:db8:a0b:12f0::1 5000 typ host\r\na=candidate:1 2 UDP 2130706431 \
        2001:db8:a0b:12f0::1 5001 typ host\r\na=candidate:2 1 TCP 2130706431 192.0.2.1 9 typ host tcptype active\r\n\
        a=end-of-candidates\r\nm=audio 9 RTP/AVP 0\r\na=mid:2\r\na=candidate:3 1 UDP 1694498815 192.0.2.3 5010 typ srflx \
        raddr 10.0.1.1 rport 8998\r\n";

    #[test]
    fn a_fragment_is_read_line_by_line_and_written_as_it_is_read() {
        let fragment = IceFragment::parse(FRAGMENT).unwrap();
        assert_eq!(fragment.credentials.as_ref().unwrap().ufrag, "8hhY");
        let lines: Vec<_> = fragment
            .lines
            .iter()
            .map(|line| (line.mid.as_deref(), line.candidates.len(), line.ended))
            .collect();
        assert_eq!(lines, [(Some("1"), 2, true), (Some("2"), 1, false)]);
        assert_eq!(fragment.lines[1].candidates[0].address, "192.0.2.3:5010".parse().unwrap());
        assert_eq!(IceFragment::parse(&fragment.write()), Ok(fragment));
    }

    #[test]
    fn credentials_come_in_pairs_and_lines_are_lines() {
        assert_eq!(IceFragment::parse("a=ice-ufrag:8hhY\r\n"), Err(FragmentError::HalfCredentials));
        assert_eq!(
            IceFragment::parse("a=ice-ufrag:8\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n"),
            Err(FragmentError::Credentials(CredentialsError::Ufrag))
        );
        assert!(matches!(IceFragment::parse("candidate"), Err(FragmentError::Sdp(_))));
        assert!(matches!(IceFragment::parse("\u{e4}=1"), Err(FragmentError::Sdp(_))));
        assert_eq!(IceFragment::parse(&"a=x\n".repeat(MAX_FRAGMENT / 4 + 1)), Err(FragmentError::TooLarge));
        assert_eq!(IceFragment::parse(""), Ok(IceFragment::default()));
        assert!(IceFragment::parse("a=end-of-candidates\n").unwrap().ended);
    }

    #[test]
    fn a_browsers_candidate_is_read_and_a_hidden_one_is_of_no_use() {
        let plain = "candidate:842163049 1 udp 1677729535 198.51.100.7 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0";
        let read = parse_candidate(plain).unwrap();
        assert_eq!((read.component, read.address.port()), (1, 46154));
        assert_eq!(parse_candidate(&format!("a={plain}")), Some(read));
        let hidden = "candidate:1 1 udp 2122260223 5c3bfbd4-3d36-4b27-8a5c-1a33e6ae6e5a.local 51234 typ host generation 0";
        assert_eq!(parse_candidate(hidden), None);
        assert_eq!(parse_candidate(""), None);
    }
}
