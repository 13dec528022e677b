//! Why an offer or an answer was refused.

use crate::dtls_srtp::FingerprintError;
use crate::ice::CredentialsError;
use crate::policy::{Keying, PolicyViolation};
use crate::sdes::SdesError;
use crate::sdp::SdpError;

/// Why an offer or an answer was refused: which media line, which rule, and what to do. Keys are never repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// The text is no description.
    #[error("the SDP cannot be read: {0}")]
    Sdp(#[from] SdpError),
    /// What is wrong with one media line. They are counted from 0, as legs are named.
    #[error("media line {line} ({media}): {fault}")]
    Media {
        /// Its index.
        line: usize,
        /// `audio`, `video`.
        media: String,
        /// What is wrong.
        fault: Fault,
    },
    /// A re-offer with fewer media lines.
    #[error(
        "the offer has {got} media lines, and the session has {want}: a line that is no longer used stays, with port \
         0 (RFC 3264 section 8)"
    )]
    LinesRemoved {
        /// Lines of the session.
        want: usize,
        /// Lines offered.
        got: usize,
    },
    /// An answer with more or fewer media lines than its offer.
    #[error(
        "the answer has {got} media lines, and the offer has {want}: each is answered, one that is refused with port \
         0 (RFC 3264 section 6)"
    )]
    LinesDiffer {
        /// Lines offered.
        want: usize,
        /// Lines answered.
        got: usize,
    },
    /// Fewer own addresses than transports.
    #[error("transport {transport} has no local address: bind ports for each transport of the offer")]
    NoOwnAddress {
        /// Which.
        transport: usize,
    },
    /// A handshake without a certificate.
    #[error(
        "transport {transport} is keyed by DTLS-SRTP, and has no certificate: give the fingerprints of one"
    )]
    NoCertificate {
        /// Which.
        transport: usize,
    },
    /// Nothing that the policy takes can be offered.
    #[error("nothing can be offered: {0}")]
    NothingToOffer(PolicyViolation),
    /// Keys that cannot be as the policy has them.
    #[error("the gateway's own keys cannot be made: {0}; look at the policy's `mki_length` and `lifetime`")]
    OwnKeys(SdesError),
}

/// What is wrong with a media line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// An attribute that cannot be read.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// A rule of the policy.
    #[error(transparent)]
    Policy(#[from] PolicyViolation),
    /// A crypto line.
    #[error(transparent)]
    Crypto(#[from] SdesError),
    /// A name in c= or a=rtcp.
    #[error(
        "it has the host name {name:?} for an address; the gateway asks no name server: say the IP address there"
    )]
    HostName {
        /// The name.
        name: String,
    },
    /// A multicast or broadcast address.
    #[error("{address} is no unicast address; the gateway carries unicast media only")]
    NotUnicast {
        /// The address as written.
        address: String,
    },
    /// No c= at all.
    #[error("it has no c= line, and neither has the session (RFC 8866 section 5.7): add one")]
    NoConnection,
    /// Several ports.
    #[error("it has {count} ports; the gateway carries one stream a line: offer a line for each")]
    PortCount {
        /// How many.
        count: u16,
    },
    /// A secure profile without keys that the gateway could use.
    #[error(
        "{profile} is offered without a=crypto: offer a crypto line, or a=fingerprint where DTLS-SRTP is among the \
         policy's keyings"
    )]
    NoKeys {
        /// The profile.
        profile: String,
    },
    /// DTLS-SRTP without a certificate's fingerprint.
    #[error(
        "{profile} comes without a=fingerprint, without which nobody can be known by a handshake (RFC 5763 section 5)"
    )]
    NoFingerprint {
        /// The profile.
        profile: String,
    },
    /// No fingerprint that can be used.
    #[error("no a=fingerprint of it can be used: {error}")]
    Fingerprint {
        /// What is wrong with the first.
        error: FingerprintError,
    },
    /// An `a=tls-id` that is none.
    #[error("a=tls-id must be 20 to 255 letters, digits, \"+\", \"/\", \"-\" or \"_\" (RFC 8842 section 4)")]
    TlsId,
    /// Roles that do not fit.
    #[error(
        "a=setup:{got} answers a=setup:{offered}: one end must be active and the other passive (RFC 4145 section 4.1)"
    )]
    Setup {
        /// Offered.
        offered: &'static str,
        /// Answered.
        got: &'static str,
    },
    /// A user name fragment or password that is none.
    #[error("{0}: leave both out if there is no ICE")]
    Ice(#[from] CredentialsError),
    /// A keying that the gateway does not speak.
    #[error(
        "it is keyed by {keying}, which the gateway does not speak: offer a=crypto, or set \
         `policy.foreign_keying = \"pass\"` to have the line go by the gateway"
    )]
    ForeignKeying {
        /// The keying.
        keying: Keying,
    },
    /// A transport that is not RTP over UDP.
    #[error(
        "{proto} is not RTP over UDP, and `policy.foreign_keying` does not let it go by the gateway: set it to \
         \"pass\", or leave the line out"
    )]
    ForeignTransport {
        /// The transport.
        proto: String,
    },
    /// A bundled line whose group's first line is refused.
    #[error("it is bundled with media line {tagged}, which is refused (RFC 8843 section 7.2)")]
    BundledWithRefused {
        /// The group's first line.
        tagged: usize,
    },
    /// Another medium than was offered.
    #[error("{want} was offered, and {got} is answered: answer each line in its place (RFC 3264 section 6)")]
    MediaChanged {
        /// Offered.
        want: String,
        /// Answered.
        got: String,
    },
    /// A line that was offered with port 0.
    #[error("it was offered with port 0, and is answered with another: answer 0 (RFC 3264 section 8.2)")]
    NotOffered,
    /// Another profile than was offered.
    #[error("{got} is answered; offered was {want}: answer one that was offered (RFC 3264 section 6)")]
    ProfileNotOffered {
        /// Offered.
        want: String,
        /// Answered.
        got: String,
    },
    /// A potential configuration's profile without the attribute that names it.
    #[error(
        "{profile} is answered without a=acfg, which says which configuration was taken (RFC 5939 section 3.6.2)"
    )]
    NoActualConfiguration {
        /// The profile.
        profile: String,
    },
    /// An actual configuration that was not offered.
    #[error(
        "a=acfg names a configuration that was not offered, or not the crypto line's (RFC 5939 section 3.5.2)"
    )]
    ConfigurationNotOffered,
    /// A crypto line where only plain RTP was offered.
    #[error("a crypto line is answered where none was offered (RFC 4568 section 5.1.2): leave it out")]
    CryptoNotOffered,
    /// No format that was offered.
    #[error("none of the answered formats was offered (RFC 3264 section 6.1): answer one of the offer's")]
    NoFormat,
}

impl NegotiationError {
    /// An error of one media line.
    pub(super) fn media(line: usize, media: &str, fault: impl Into<Fault>) -> Self {
        // Only the beginning: the name is the peer's.
        let media = media.chars().take(32).collect();
        Self::Media { line, media, fault: fault.into() }
    }

    /// The rule of the policy that refused, if one did.
    pub fn policy(&self) -> Option<&PolicyViolation> {
        match self {
            Self::Media { fault: Fault::Policy(violation), .. } | Self::NothingToOffer(violation) => {
                Some(violation)
            }
            _ => None,
        }
    }
}
