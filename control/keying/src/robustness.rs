//! Which attacker a leg's keying resists: the labels of RFC 5479 section 3.

use serde::Deserialize;

/// How robust a leg's keying is, from what is easiest to compromise to what is hardest (RFC 5479 section 3).
///
/// The label names what an attacker needs. RFC 5479 orders "generally"; this order is by the table of its section 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
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
