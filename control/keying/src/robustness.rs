//! Which attacker a leg's keying resists: the labels of RFC 5479 section 3, and the table that gives a leg its label.
//!
//! RFC 5479 names an attacker by what it must do on the signalling path and on the media path to get at the media:
//! nothing, read (passive), or change (active). Three of its requirements ask for a way of keying at all that resists
//! - reading the media path: R-PASS-MEDIA, met from [`RobustnessClass::NoSignalingActiveMedia`] up, by all but plain
//!   RTP and keys that are readable to whoever reads the media;
//! - reading the signalling path: R-PASS-SIG, met from [`RobustnessClass::ActiveSignalingPassiveMedia`] up, and by
//!   [`RobustnessClass::NoSignalingActiveMedia`], whose keys are not in signalling at all;
//! - changing both, unnoticed: R-ACT-ACT, met by [`RobustnessClass::ActiveSignalingActiveMediaDetect`] alone.
//!
//! `docs/robustness.md` shows [`TABLE`] to operators; a test holds the two together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::negotiation::{Agreed, NegotiatedKey, Protected};
use crate::policy::Keying;

/// How robust a leg's keying is, from what is easiest to compromise to what is hardest (RFC 5479 section 3).
///
/// The label names what an attacker needs. RFC 5479 orders "generally"; this order is by the table of its section 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RobustnessClass {
    /// Access to the media path alone reveals the media.
    #[default]
    NoSignalingPassiveMedia,
    /// An active attack on the media path alone reveals it.
    NoSignalingActiveMedia,
    /// Reading signalling and media reveals it.
    PassiveSignalingPassiveMedia,
    /// Reading signalling and an active attack on the media path reveal it.
    PassiveSignalingActiveMedia,
    /// An active attack on signalling, and reading the media, reveal it.
    ActiveSignalingPassiveMedia,
    /// Active attacks on both are needed.
    ActiveSignalingActiveMedia,
    /// Active attacks on both are needed, and the endpoints can detect them.
    ActiveSignalingActiveMediaDetect,
}

impl RobustnessClass {
    /// Every class, the weakest first.
    pub const ALL: [Self; 7] = [
        Self::NoSignalingPassiveMedia,
        Self::NoSignalingActiveMedia,
        Self::PassiveSignalingPassiveMedia,
        Self::PassiveSignalingActiveMedia,
        Self::ActiveSignalingPassiveMedia,
        Self::ActiveSignalingActiveMedia,
        Self::ActiveSignalingActiveMediaDetect,
    ];

    /// RFC 5479's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSignalingPassiveMedia => "no-signaling-passive-media",
            Self::NoSignalingActiveMedia => "no-signaling-active-media",
            Self::PassiveSignalingPassiveMedia => "passive-signaling-passive-media",
            Self::PassiveSignalingActiveMedia => "passive-signaling-active-media",
            Self::ActiveSignalingPassiveMedia => "active-signaling-passive-media",
            Self::ActiveSignalingActiveMedia => "active-signaling-active-media",
            Self::ActiveSignalingActiveMediaDetect => "active-signaling-active-media-detect",
        }
    }

    /// What an attacker needs, in one sentence.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::NoSignalingPassiveMedia => {
                "Whoever can read the media's packets on their way gets the media, and needs nothing else."
            }
            Self::NoSignalingActiveMedia => {
                "Whoever can change packets on the media's way gets the media; reading them is not enough."
            }
            Self::PassiveSignalingPassiveMedia => {
                "Whoever can read the signalling, as a SIP proxy can, and the media's packets gets the media."
            }
            Self::PassiveSignalingActiveMedia => {
                "Whoever can read the signalling and change packets on the media's way gets the media."
            }
            Self::ActiveSignalingPassiveMedia => {
                "Whoever can change the signalling and read the media's packets gets the media."
            }
            Self::ActiveSignalingActiveMedia => {
                "Whoever can change both the signalling and packets on the media's way gets the media, unnoticed."
            }
            Self::ActiveSignalingActiveMediaDetect => {
                "Even whoever can change both the signalling and packets on the media's way is noticed by the endpoints."
            }
        }
    }

    /// The weakest of several, as a call's is of its legs'. None of no class.
    pub fn weakest(classes: impl IntoIterator<Item = Self>) -> Option<Self> {
        classes.into_iter().min()
    }
}

impl fmt::Display for RobustnessClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A label that RFC 5479 section 3 does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no robustness class is called {:?}; RFC 5479 section 3 has {}", .0, names())]
pub struct UnknownClass(pub String);

impl FromStr for RobustnessClass {
    type Err = UnknownClass;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|class| class.name() == name);
        found.ok_or_else(|| UnknownClass(name.to_owned()))
    }
}

/// Which of the two messages have keys that a signature binds to an identity (RFC 8224, and RFC 4916 for answers).
///
/// One of them is the gateway's own: signed by it counts as verified by it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityBinding {
    /// Neither.
    #[default]
    None,
    /// One of them: whoever changes the other is not found out.
    One,
    /// Offer and answer.
    OfferAndAnswer,
}

/// What is known of the signalling that made a leg, beyond its SDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attested {
    /// Nobody but the SIP servers on the path can read or change signalling: TLS on every hop to this peer, as the
    /// caller of the API attests. The gateway cannot see it for itself.
    pub hop_confidential: bool,
    /// Which messages' keys are bound to an identity.
    pub identity: IdentityBinding,
}

/// A row of the table: a keying, what it needs beside itself, and the class that it then has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// How keys come.
    pub keying: Keying,
    /// Whether [`Attested::hop_confidential`] is needed.
    pub hop_confidential: bool,
    /// The least [`Attested::identity`] that is needed.
    pub identity: IdentityBinding,
    /// The class.
    pub class: RobustnessClass,
    /// Why.
    pub why: &'static str,
}

/// Every keying's rows, the most demanding of each first: the first that fits counts.
pub const TABLE: [Row; 10] = [
    row(
        Keying::None,
        false,
        IdentityBinding::None,
        RobustnessClass::NoSignalingPassiveMedia,
        "Plain RTP (RFC 5479 §3).",
    ),
    row(
        Keying::Sdes,
        true,
        IdentityBinding::None,
        RobustnessClass::PassiveSignalingPassiveMedia,
        "The key is in the SDP, which the SIP servers on the path read (RFC 5479 §3). An identity's signature does \
         not cover it.",
    ),
    row(
        Keying::Sdes,
        false,
        IdentityBinding::None,
        RobustnessClass::NoSignalingPassiveMedia,
        "The key is readable in the SDP, which relies on TLS (RFC 5479 §A.1.8): on the links that signalling and \
         media share, as a peer's access network, whoever reads the media has read the key.",
    ),
    row(
        Keying::DtlsSrtp,
        true,
        IdentityBinding::OfferAndAnswer,
        RobustnessClass::ActiveSignalingActiveMediaDetect,
        "Signatures cover both fingerprints, and the path to who signs and who verifies is secured (RFC 5479 §3).",
    ),
    row(
        Keying::DtlsSrtp,
        false,
        IdentityBinding::None,
        RobustnessClass::ActiveSignalingActiveMedia,
        "Self-signed certificates: an attacker changes a fingerprint that no signature covers, and the handshake \
         (RFC 5479 §3). A signature on one side leaves the other's fingerprint.",
    ),
    row(
        Keying::Mikey,
        true,
        IdentityBinding::None,
        RobustnessClass::PassiveSignalingPassiveMedia,
        "Reckoned as MIKEY-NULL, whose key is in the SDP unencrypted (RFC 5479 §A.1.1).",
    ),
    row(
        Keying::Mikey,
        false,
        IdentityBinding::None,
        RobustnessClass::NoSignalingPassiveMedia,
        "Reckoned as MIKEY-NULL: as SDES without TLS (RFC 5479 §A.1.1).",
    ),
    row(
        Keying::Zrtp,
        false,
        IdentityBinding::None,
        RobustnessClass::NoSignalingActiveMedia,
        "A Diffie-Hellman exchange on the media path (RFC 5479 §A.2.1), as long as nobody has compared the short \
         authentication string.",
    ),
    row(
        Keying::Static,
        true,
        IdentityBinding::None,
        RobustnessClass::PassiveSignalingPassiveMedia,
        "Keys come from the caller of the API, who attests that their way was confidential; it has read them.",
    ),
    row(
        Keying::Static,
        false,
        IdentityBinding::None,
        RobustnessClass::NoSignalingPassiveMedia,
        "Keys come from the caller of the API, who does not say that their way was confidential.",
    ),
];

/// The class of a leg whose packets are encrypted as the keying says. For what was negotiated see [`of_agreed`].
pub fn classify(keying: Keying, attested: &Attested) -> RobustnessClass {
    let fits = |row: &&Row| {
        row.keying == keying
            && (attested.hop_confidential || !row.hop_confidential)
            && attested.identity >= row.identity
    };
    // A keying without a row would be one that nothing is known of.
    TABLE.iter().find(fits).map_or(RobustnessClass::NoSignalingPassiveMedia, |row| row.class)
}

/// The class of a leg as it was negotiated: media that either direction sends in the clear, under a suite or a session
/// parameter that leaves encryption out, is as plain RTP is.
pub fn of_agreed(agreed: &Agreed, attested: &Attested) -> RobustnessClass {
    let encrypted = |protected: &Protected| match protected {
        Protected::Plain => false,
        Protected::Srtp(keys) => !keys.is_empty() && keys.iter().all(encrypts),
        // A handshake brings nothing that does not encrypt (RFC 5764 section 4.1.2: NULL suites are not offered).
        Protected::InMediaPath => true,
    };
    let keying =
        if encrypted(&agreed.inbound) && encrypted(&agreed.outbound) { agreed.keying } else { Keying::None };
    classify(keying, attested)
}

/// The best class that a keying can have, whatever signalling attests.
pub fn best_of(keying: Keying) -> RobustnessClass {
    TABLE.iter().filter(|row| row.keying == keying).map(|row| row.class).max().unwrap_or_default()
}

fn names() -> String {
    RobustnessClass::ALL.map(RobustnessClass::name).join(", ")
}

const fn row(
    keying: Keying,
    hop_confidential: bool,
    identity: IdentityBinding,
    class: RobustnessClass,
    why: &'static str,
) -> Row {
    Row { keying, hop_confidential, identity, class, why }
}

fn encrypts(key: &NegotiatedKey) -> bool {
    key.suite.encrypts() && !key.options.omit.rtp_encryption
}

#[cfg(test)]
mod tests;
