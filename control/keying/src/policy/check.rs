//! What a policy contradicts itself in.

use sluice_srtp::{MAX_MKI, Suite};
use thiserror::Error;

use super::{EarlyMedia, EarlyMediaMode, Keying, PeerPolicy, Policy, Security, Side, fips_approved};
use crate::robustness::{RobustnessClass, best_of};

/// The longest lifetime is 2^48 packets (RFC 3711 section 9.2).
const LIFETIME_MAX: u8 = 48;
const PACKETS_MAX: u16 = 1024;
const MILLISECONDS_MAX: u16 = 10_000;
const BRANCH_TIMEOUT_MAX: u16 = 3600;

/// What is wrong with a policy, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// No suite, though a side may have SRTP.
    #[error("policy.suites is empty, and policy.{0}.security takes SRTP: name at least one suite")]
    NoSuites(Side),
    /// A suite twice.
    #[error("policy.suites has {0} twice")]
    RepeatedSuite(Suite),
    /// No keying.
    #[error("policy.keyings is empty: name at least one of none, sdes, dtls-srtp, mikey, zrtp, static")]
    NoKeyings,
    /// A keying twice.
    #[error("policy.keyings has {0} twice")]
    RepeatedKeying(Keying),
    /// No keying of a side's own.
    #[error(
        "policy.{0}.keyings is empty: name at least one, or leave it out to have those of policy.keyings"
    )]
    NoPeerKeyings(Side),
    /// A keying twice among a side's own.
    #[error("policy.{side}.keyings has {keying} twice")]
    RepeatedPeerKeying {
        /// Of which side.
        side: Side,
        /// Which.
        keying: Keying,
    },
    /// Two keyings beside each other, of which one is not there.
    #[error("policy.{0}.both_keyings needs \"sdes\" and \"dtls-srtp\" among the keyings of that side")]
    NotBothKeyings(Side),
    /// Approved algorithms only, of which there are none.
    #[error("policy.fips_only leaves none of policy.suites: add AEAD_AES_256_GCM or another suite of AES")]
    NoApprovedSuite,
    /// Plain RTP is taken from a side, and is no keying.
    #[error("policy.{side}.security is {security}, which takes plain RTP: add \"none\" to policy.keyings")]
    PlainWithoutKeying {
        /// Of which side.
        side: Side,
        /// What its policy says.
        security: Security,
    },
    /// SRTP is taken from a side, and there is no keying for it.
    #[error(
        "policy.{side}.security is {security}, which takes SRTP: add a keying such as \"sdes\" to policy.keyings"
    )]
    SrtpWithoutKeying {
        /// Of which side.
        side: Side,
        /// What its policy says.
        security: Security,
    },
    /// Plain RTP is taken from a side, and is below the lowest class.
    #[error(
        "policy.{side}.security is {security}, which takes plain RTP, and its lowest robustness is {floor}, which \
         plain RTP never has: set security to \"required\" or the lowest robustness to \
         \"no-signaling-passive-media\""
    )]
    PlainBelowFloor {
        /// Of which side.
        side: Side,
        /// What its policy says.
        security: Security,
        /// The lowest class that it takes.
        floor: RobustnessClass,
    },
    /// No keying can have the lowest class.
    #[error(
        "the lowest robustness of the {side} is {floor}, and none of policy.keyings can be better than {best}: add a \
         stronger keying or lower it"
    )]
    FloorOutOfReach {
        /// Of which side.
        side: Side,
        /// The lowest class that it takes.
        floor: RobustnessClass,
        /// The best that the keyings can have.
        best: RobustnessClass,
    },
    /// Early media is plain RTP, which is below the lowest class.
    #[error(
        "policy.early_media.mode is \"plain\", and the lowest robustness of the {side} is {floor}, which plain RTP \
         never has: set the mode to \"hold\""
    )]
    EarlyMediaBelowFloor {
        /// Of which side.
        side: Side,
        /// The lowest class that it takes.
        floor: RobustnessClass,
    },
    /// An MKI that no packet can have.
    #[error("policy.{side}.mki_length is {length}: at most {MAX_MKI} octets (RFC 4568 section 6.1)")]
    MkiLength {
        /// Of which side.
        side: Side,
        /// What its policy says.
        length: u8,
    },
    /// A lifetime of no packet or of more than SRTP counts.
    #[error("policy.{side}.lifetime is {exponent}: 1 to {LIFETIME_MAX}, the power of two of packets")]
    Lifetime {
        /// Of which side.
        side: Side,
        /// What its policy says.
        exponent: u8,
    },
    /// A hold of no packets or too many.
    #[error("policy.early_media.packets is {0}: 1 to {PACKETS_MAX}")]
    EarlyMediaPackets(u16),
    /// A hold of no time or too much.
    #[error("policy.early_media.milliseconds is {0}: 1 to {MILLISECONDS_MAX}")]
    EarlyMediaMilliseconds(u16),
    /// A branch that times out at once or hardly ever.
    #[error("policy.branch_timeout_seconds is {0}: 1 to {BRANCH_TIMEOUT_MAX}")]
    BranchTimeout(u16),
}

impl Policy {
    /// Looks whether the policy can be kept at all.
    ///
    /// # Errors
    /// The first thing that is out of range or contradicts another.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.check_lists()?;
        self.early_media.check()?;
        if !(1..=BRANCH_TIMEOUT_MAX).contains(&self.branch_timeout_seconds) {
            return Err(PolicyError::BranchTimeout(self.branch_timeout_seconds));
        }
        Side::BOTH.into_iter().try_for_each(|side| self.check_side(side))
    }

    fn check_lists(&self) -> Result<(), PolicyError> {
        if let Some(suite) = repeated(&self.suites) {
            return Err(PolicyError::RepeatedSuite(suite));
        }
        if let Some(keying) = repeated(&self.keyings) {
            return Err(PolicyError::RepeatedKeying(keying));
        }
        if self.keyings.is_empty() {
            return Err(PolicyError::NoKeyings);
        }
        if self.fips_only && !self.suites.is_empty() && !self.suites.iter().copied().any(fips_approved) {
            return Err(PolicyError::NoApprovedSuite);
        }
        Ok(())
    }

    fn check_side(&self, side: Side) -> Result<(), PolicyError> {
        let peer = self.peer(side);
        peer.check(side)?;
        let (security, keyings) = (peer.security, self.keyings_of(side));
        let both = [Keying::Sdes, Keying::DtlsSrtp].iter().all(|keying| keyings.contains(keying));
        if peer.both_keyings && !both {
            return Err(PolicyError::NotBothKeyings(side));
        }
        if security.allows_srtp() {
            if self.suites.is_empty() {
                return Err(PolicyError::NoSuites(side));
            }
            if keyings.iter().all(|keying| *keying == Keying::None) {
                return Err(PolicyError::SrtpWithoutKeying { side, security });
            }
        }
        if security.allows_plain() && !keyings.contains(&Keying::None) {
            return Err(PolicyError::PlainWithoutKeying { side, security });
        }
        self.check_floor(side)
    }

    fn check_floor(&self, side: Side) -> Result<(), PolicyError> {
        let security = self.peer(side).security;
        let floor = self.floor(side);
        if floor == RobustnessClass::NoSignalingPassiveMedia {
            return Ok(());
        }
        if security.allows_plain() {
            return Err(PolicyError::PlainBelowFloor { side, security, floor });
        }
        let best = self.keyings_of(side).iter().map(|keying| best_of(*keying)).max().unwrap_or_default();
        if best < floor {
            return Err(PolicyError::FloorOutOfReach { side, floor, best });
        }
        if self.early_media.mode == EarlyMediaMode::Plain {
            return Err(PolicyError::EarlyMediaBelowFloor { side, floor });
        }
        Ok(())
    }
}

impl PeerPolicy {
    fn check(&self, side: Side) -> Result<(), PolicyError> {
        if usize::from(self.mki_length) > MAX_MKI {
            return Err(PolicyError::MkiLength { side, length: self.mki_length });
        }
        let keyings = self.keyings.as_deref();
        if keyings.is_some_and(<[Keying]>::is_empty) {
            return Err(PolicyError::NoPeerKeyings(side));
        }
        if let Some(keying) = keyings.and_then(repeated) {
            return Err(PolicyError::RepeatedPeerKeying { side, keying });
        }
        match self.lifetime {
            Some(exponent) if !(1..=LIFETIME_MAX).contains(&exponent) => {
                Err(PolicyError::Lifetime { side, exponent })
            }
            _ => Ok(()),
        }
    }
}

impl EarlyMedia {
    fn check(self) -> Result<(), PolicyError> {
        if !(1..=PACKETS_MAX).contains(&self.packets) {
            return Err(PolicyError::EarlyMediaPackets(self.packets));
        }
        if !(1..=MILLISECONDS_MAX).contains(&self.milliseconds) {
            return Err(PolicyError::EarlyMediaMilliseconds(self.milliseconds));
        }
        Ok(())
    }
}

fn repeated<T: Copy + PartialEq>(list: &[T]) -> Option<T> {
    list.iter().enumerate().find(|(at, item)| list[..*at].contains(item)).map(|(_, item)| *item)
}
