//! What holds towards one side.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::Policy;
use super::{BestEffortForm, Handling, Keying, Security};
use crate::negotiation::NegotiatedKey;
use crate::robustness::RobustnessClass;

/// What holds towards one peer, or rather towards all that are on its side of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerPolicy {
    /// Whether media must be SRTP.
    pub security: Security,
    /// How both are offered under [`Security::BestEffort`].
    pub best_effort: BestEffortForm,
    /// What becomes of rtcp-mux.
    pub rtcp_mux: Handling,
    /// What becomes of BUNDLE.
    pub bundle: Handling,
    /// Local media address towards this side; none: the configuration's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Octets of the MKI of keys that are offered; 0: none. At most 128.
    pub mki_length: u8,
    /// Logarithm to base 2 of the lifetime of keys that are offered; none: not said, so the longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u8>,
    /// The lowest class of keying that is taken from this side, if it is another than [`Policy::lowest_robustness`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowest_robustness: Option<RobustnessClass>,
    /// Keyings on this side, the preferred one first, if they are others than [`Policy::keyings`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyings: Option<Vec<Keying>>,
    /// Whether SDES and DTLS-SRTP are offered beside each other on one media line, rather than the first of the keyings.
    pub both_keyings: bool,
    /// Whether the gateway takes part in ICE.
    pub ice: IceUse,
    /// Who begins handshakes.
    pub dtls_setup: DtlsSetup,
    /// Whether profiles that are offered have feedback (RFC 4585, RFC 5124).
    pub feedback: Feedback,
    /// Peers' RTCP packets have tags of 32 bits under the suites whose RTP packets have such, against RFC 4568 section
    /// 6.2.2 and RFC 5764 section 4.1.2: those of libre, baresip and ffmpeg do.
    pub short_rtcp_tags: bool,
}

impl PeerPolicy {
    /// Makes a key one of this side's, however it came: with [`Self::short_rtcp_tags`] where its suite has them.
    pub fn adapt(&self, key: &mut NegotiatedKey) {
        let short_in_rtp = !key.suite.is_aead() && key.suite.rtp_overhead() == SHORT_TAG;
        key.options.short_rtcp_tags |= self.short_rtcp_tags && short_in_rtp;
    }
}

/// Octets of the tags of 32 bits.
const SHORT_TAG: usize = 4;

/// Whether the gateway takes part in ICE towards a side (RFC 8445).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IceUse {
    /// Where the peer offers it, as a lite agent; it is not offered.
    #[default]
    WhenOffered,
    /// Nowhere: its attributes are taken out.
    Off,
    /// It is offered and answered as a lite agent, which answers checks.
    Lite,
    /// It is offered and answered as a full agent, which makes checks.
    Full,
}

impl IceUse {
    /// Whether it is offered to peers that have not offered it.
    pub const fn is_offered(self) -> bool {
        matches!(self, Self::Lite | Self::Full)
    }

    /// Whether the gateway is a lite agent where it takes part.
    pub const fn is_lite(self) -> bool {
        !matches!(self, Self::Full)
    }
}

/// Whether profiles that are offered to a side have feedback: RTP/AVPF and RTP/SAVPF rather than RTP/AVP and RTP/SAVP
/// (RFC 4585, RFC 5124). A peer's own offer is answered in its profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// Where the other peer's has.
    #[default]
    Pass,
    /// Always, as browsers want it.
    Add,
    /// Never, for phones that know none.
    Remove,
}

impl Feedback {
    /// Whether it is offered, where the other peer's profile has it or not.
    pub const fn of(self, other: bool) -> bool {
        match self {
            Self::Pass => other,
            Self::Add => true,
            Self::Remove => false,
        }
    }
}

/// Who begins handshakes, where the gateway may say (RFC 5763 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DtlsSetup {
    /// `a=setup:actpass` in offers, so that the peer chooses, and `active` in answers.
    #[default]
    Actpass,
    /// The gateway.
    Active,
    /// The peer.
    Passive,
}
