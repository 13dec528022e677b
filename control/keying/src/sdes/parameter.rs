//! Session parameters (RFC 4568 section 6.3).

use std::fmt::{self, Write};

use super::SdesError;
use super::key::{InlineKey, decimal, parse_keys, write_keys};

/// A session parameter. `Debug` shows its name only.
#[derive(Clone, PartialEq, Eq)]
pub enum Parameter {
    /// KDR: session keys are derived every 2^n packets, n from 1 to 24. Declarative.
    Kdr(u8),
    /// UNENCRYPTED_SRTP. Negotiated.
    UnencryptedSrtp,
    /// UNENCRYPTED_SRTCP. Negotiated.
    UnencryptedSrtcp,
    /// UNAUTHENTICATED_SRTP. Negotiated.
    UnauthenticatedSrtp,
    /// FEC_ORDER. Declarative.
    FecOrder(FecOrder),
    /// FEC_KEY: keys of a FEC stream that goes to another address or port. Declarative.
    FecKey(Vec<InlineKey>),
    /// WSH: packets that the replay window should hold, 64 at least. Declarative, and a hint.
    WindowSizeHint(u32),
    /// One that is not known.
    Unknown {
        /// As it is written, without the `-`.
        text: String,
        /// Whether it must be understood: it has no `-` (section 6.3.7).
        mandatory: bool,
    },
}

/// Whether forward error correction comes before or after encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FecOrder {
    /// The sender protects media by FEC, then all by SRTP.
    #[default]
    FecSrtp,
    /// The sender protects media by SRTP, then that by FEC.
    SrtpFec,
}

impl Parameter {
    /// The registered name; of an unknown one the text before `=`.
    pub fn name(&self) -> &str {
        self.known_name().unwrap_or_else(|| match self {
            Self::Unknown { text, .. } => text.split('=').next().unwrap_or_default(),
            _ => "",
        })
    }

    /// Whether it holds for both directions, and must be in offer and answer alike (section 4.4).
    pub const fn is_negotiated(&self) -> bool {
        matches!(self, Self::UnencryptedSrtp | Self::UnencryptedSrtcp | Self::UnauthenticatedSrtp)
    }

    pub(super) const fn known_name(&self) -> Option<&'static str> {
        match self {
            Self::Kdr(_) => Some("KDR"),
            Self::UnencryptedSrtp => Some("UNENCRYPTED_SRTP"),
            Self::UnencryptedSrtcp => Some("UNENCRYPTED_SRTCP"),
            Self::UnauthenticatedSrtp => Some("UNAUTHENTICATED_SRTP"),
            Self::FecOrder(_) => Some("FEC_ORDER"),
            Self::FecKey(_) => Some("FEC_KEY"),
            Self::WindowSizeHint(_) => Some("WSH"),
            Self::Unknown { .. } => None,
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, SdesError> {
        // Section 9.2: an extension may begin with a dash, and what follows it may not.
        if let Some(optional) = text.strip_prefix('-') {
            return match optional {
                "" => Err(SdesError::Form),
                _ if optional.starts_with('-') => Err(SdesError::Form),
                _ => Ok(Self::Unknown { text: optional.to_owned(), mandatory: false }),
            };
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match (name.to_ascii_uppercase().as_str(), value) {
            ("KDR", Some(value)) => kdr(value),
            ("UNENCRYPTED_SRTP", None) => Ok(Self::UnencryptedSrtp),
            ("UNENCRYPTED_SRTCP", None) => Ok(Self::UnencryptedSrtcp),
            ("UNAUTHENTICATED_SRTP", None) => Ok(Self::UnauthenticatedSrtp),
            ("FEC_ORDER", Some(order)) => fec_order(order),
            ("FEC_KEY", Some(keys)) => Ok(Self::FecKey(parse_keys(keys)?)),
            ("WSH", Some(packets)) => window(packets),
            _ => Ok(Self::Unknown { text: text.to_owned(), mandatory: true }),
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Self::FecKey(keys) => keys.iter().map(InlineKey::size).sum::<usize>() + 16,
            Self::Unknown { text, .. } => text.len() + 2,
            _ => 32,
        }
    }

    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        match self {
            Self::Kdr(exponent) => write!(out, "KDR={exponent}"),
            Self::FecOrder(FecOrder::FecSrtp) => out.write_str("FEC_ORDER=FEC_SRTP"),
            Self::FecOrder(FecOrder::SrtpFec) => out.write_str("FEC_ORDER=SRTP_FEC"),
            Self::FecKey(keys) => out.write_str("FEC_KEY=").and_then(|()| write_keys(keys, out)),
            Self::WindowSizeHint(packets) => write!(out, "WSH={packets}"),
            Self::Unknown { text, mandatory } => {
                write!(out, "{}{text}", if *mandatory { "" } else { "-" })
            }
            Self::UnencryptedSrtp | Self::UnencryptedSrtcp | Self::UnauthenticatedSrtp => {
                out.write_str(self.name())
            }
        }
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn kdr(value: &str) -> Result<Parameter, SdesError> {
    // Section 6.3.1 has 1 to 24; the grammar's 0 would derive keys for each packet.
    let exponent = decimal(value).filter(|exponent| (1..=24).contains(exponent));
    let error = SdesError::Parameter { name: "KDR", want: "1 to 24 (RFC 4568 section 6.3.1)" };
    exponent.map(|exponent| Parameter::Kdr(exponent as u8)).ok_or(error)
}

fn fec_order(order: &str) -> Result<Parameter, SdesError> {
    match order.to_ascii_uppercase().as_str() {
        "FEC_SRTP" => Ok(Parameter::FecOrder(FecOrder::FecSrtp)),
        "SRTP_FEC" => Ok(Parameter::FecOrder(FecOrder::SrtpFec)),
        _ => Err(SdesError::Parameter {
            name: "FEC_ORDER",
            want: "FEC_SRTP or SRTP_FEC (RFC 4568 section 6.3.4)",
        }),
    }
}

fn window(packets: &str) -> Result<Parameter, SdesError> {
    let read =
        decimal(packets).and_then(|packets| u32::try_from(packets).ok()).filter(|packets| *packets >= 64);
    let want = "64 to 4294967295, without leading zeroes (RFC 4568 section 6.3.6)";
    read.map(Parameter::WindowSizeHint).ok_or(SdesError::Parameter { name: "WSH", want })
}
