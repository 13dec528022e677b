//! Which attacker a leg's keying resists: from and to the API's fields, and of legs that are made by hand.

use sluice_keying::policy::Keying;
use sluice_keying::robustness::{Attested, IdentityBinding, RobustnessClass, classify};
use sluice_proto::v1;

/// A keying as the API names it.
pub(crate) const fn keying_shown(keying: Keying) -> v1::Keying {
    match keying {
        Keying::None => v1::Keying::None,
        Keying::Sdes => v1::Keying::Sdes,
        Keying::DtlsSrtp => v1::Keying::DtlsSrtp,
        Keying::Mikey => v1::Keying::Mikey,
        Keying::Zrtp => v1::Keying::Zrtp,
        Keying::Static => v1::Keying::Static,
    }
}

/// `None`: it is not specified.
pub(crate) const fn keying_from(keying: v1::Keying) -> Option<Keying> {
    Some(match keying {
        v1::Keying::Unspecified => return None,
        v1::Keying::None => Keying::None,
        v1::Keying::Sdes => Keying::Sdes,
        v1::Keying::DtlsSrtp => Keying::DtlsSrtp,
        v1::Keying::Mikey => Keying::Mikey,
        v1::Keying::Zrtp => Keying::Zrtp,
        v1::Keying::Static => Keying::Static,
    })
}

/// A class as the API names it.
pub(crate) const fn class_shown(class: RobustnessClass) -> v1::RobustnessClass {
    use RobustnessClass as Is;
    use v1::RobustnessClass as Shown;
    match class {
        Is::NoSignalingPassiveMedia => Shown::NoSignalingPassiveMedia,
        Is::NoSignalingActiveMedia => Shown::NoSignalingActiveMedia,
        Is::PassiveSignalingPassiveMedia => Shown::PassiveSignalingPassiveMedia,
        Is::PassiveSignalingActiveMedia => Shown::PassiveSignalingActiveMedia,
        Is::ActiveSignalingPassiveMedia => Shown::ActiveSignalingPassiveMedia,
        Is::ActiveSignalingActiveMedia => Shown::ActiveSignalingActiveMedia,
        Is::ActiveSignalingActiveMediaDetect => Shown::ActiveSignalingActiveMediaDetect,
    }
}

/// `None`: it is not specified.
pub(crate) const fn class_from(class: v1::RobustnessClass) -> Option<RobustnessClass> {
    use RobustnessClass as Is;
    use v1::RobustnessClass as Said;
    Some(match class {
        Said::Unspecified => return None,
        Said::NoSignalingPassiveMedia => Is::NoSignalingPassiveMedia,
        Said::NoSignalingActiveMedia => Is::NoSignalingActiveMedia,
        Said::PassiveSignalingPassiveMedia => Is::PassiveSignalingPassiveMedia,
        Said::PassiveSignalingActiveMedia => Is::PassiveSignalingActiveMedia,
        Said::ActiveSignalingPassiveMedia => Is::ActiveSignalingPassiveMedia,
        Said::ActiveSignalingActiveMedia => Is::ActiveSignalingActiveMedia,
        Said::ActiveSignalingActiveMediaDetect => Is::ActiveSignalingActiveMediaDetect,
    })
}

/// What signalling attests, as a leg's configuration says it.
pub(crate) fn attested_shown(attested: Attested) -> v1::LegAttestation {
    let identity = match attested.identity {
        IdentityBinding::None => v1::IdentityBinding::Unspecified,
        IdentityBinding::One => v1::IdentityBinding::One,
        IdentityBinding::OfferAndAnswer => v1::IdentityBinding::OfferAndAnswer,
    };
    v1::LegAttestation { hop_tls: attested.hop_confidential, identity: identity.into() }
}

/// The class of a leg by its configuration and the keys that it has. Media that either direction sends in the clear is as
/// plain RTP is, whatever signalling says.
pub(super) fn of_leg(config: &v1::LegConfig, keys: &[super::state::Key]) -> RobustnessClass {
    if config.ring {
        // It never leaves the host's memory, and who has that needs no signalling.
        return classify(Keying::None, &Attested::default());
    }
    let is_srtp = |protection| protection == v1::Protection::Srtp;
    let encrypted = is_srtp(config.inbound()) && is_srtp(config.outbound());
    let encrypts = |key: &super::state::Key| key.suite.encrypts() && !key.options.omit.rtp_encryption;
    let keying = if encrypted && keys.iter().all(encrypts) {
        let usual = if config.dtls.is_some() { Keying::DtlsSrtp } else { Keying::Static };
        keying_from(config.keying()).unwrap_or(usual)
    } else {
        Keying::None
    };
    let attestation = config.attestation.unwrap_or_default();
    let identity = match attestation.identity() {
        v1::IdentityBinding::Unspecified => IdentityBinding::None,
        v1::IdentityBinding::One => IdentityBinding::One,
        v1::IdentityBinding::OfferAndAnswer => IdentityBinding::OfferAndAnswer,
    };
    classify(keying, &Attested { hop_confidential: attestation.hop_tls, identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyings_and_classes_go_to_and_fro() {
        for class in RobustnessClass::ALL {
            assert_eq!(class_from(class_shown(class)), Some(class));
        }
        for keying in Keying::ALL {
            assert_eq!(keying_from(keying_shown(keying)), Some(keying));
        }
    }

    #[test]
    fn a_leg_that_sends_in_the_clear_is_as_plain_whatever_it_says() {
        let srtp = v1::Protection::Srtp.into();
        let attestation = Some(v1::LegAttestation { hop_tls: true, identity: 0 });
        let keying = v1::Keying::Sdes.into();
        let config =
            v1::LegConfig { inbound: srtp, outbound: srtp, keying, attestation, ..Default::default() };
        assert_eq!(of_leg(&config, &[]), RobustnessClass::PassiveSignalingPassiveMedia);
        let half = v1::LegConfig { outbound: v1::Protection::Plain.into(), ..config.clone() };
        assert_eq!(of_leg(&half, &[]), RobustnessClass::NoSignalingPassiveMedia);
        let unattested = v1::LegConfig { attestation: None, ..config };
        assert_eq!(of_leg(&unattested, &[]), RobustnessClass::NoSignalingPassiveMedia);
    }
}
