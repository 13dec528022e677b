//! A session's policy: from the API's fields to [`PolicyOverrides`], and what holds back to the API's fields.

use sluice_keying::policy::{
    BestEffortForm, DtlsSetup, EarlyMedia, EarlyMediaMode, Feedback, ForeignKeying, Handling, IceUse, Keying,
    PeerOverrides, PeerPolicy, Policy, PolicyOverrides, RocOnRekey, Security,
};
use sluice_keying::robustness::RobustnessClass;
use sluice_proto::v1;
use sluice_srtp::Suite;

use crate::ApiError;
use crate::gateway::robustness::{class_from, class_shown, keying_from, keying_shown};

const FIELD: &str = "policy";
const IN_RANGE: &str = "correct it, or leave it out for what the configuration says";

/// The configuration's policy with a session's own over it.
pub(super) fn merged(base: &Policy, own: &v1::SessionPolicy) -> Result<Policy, ApiError> {
    let overrides = overrides(base, own)?;
    base.with(&overrides).map_err(|error| {
        let remedy = "correct the session's policy; what it does not say is as in the configuration";
        ApiError::invalid(FIELD, error.to_string(), remedy)
    })
}

/// What holds, whole.
pub(super) fn shown(policy: &Policy, latching: v1::Latching) -> v1::SessionPolicy {
    let early = &policy.early_media;
    v1::SessionPolicy {
        suites: policy.suites.iter().map(|suite| suite.name().to_owned()).collect(),
        keyings: policy.keyings.iter().map(|keying| keying_shown(*keying).into()).collect(),
        lowest_robustness: class_shown(policy.lowest_robustness).into(),
        fips_only: Some(policy.fips_only),
        caller: Some(peer_shown(&policy.caller)),
        callee: Some(peer_shown(&policy.callee)),
        foreign_keying: match policy.foreign_keying {
            ForeignKeying::Remove => v1::ForeignKeying::Remove,
            ForeignKeying::Pass => v1::ForeignKeying::Pass,
            ForeignKeying::Refuse => v1::ForeignKeying::Refuse,
        }
        .into(),
        roc_on_rekey: match policy.roc_on_rekey {
            RocOnRekey::Keep => v1::RocOnRekey::Keep,
            RocOnRekey::Reset => v1::RocOnRekey::Reset,
            RocOnRekey::TryBoth => v1::RocOnRekey::TryBoth,
        }
        .into(),
        early_media: Some(v1::EarlyMedia {
            mode: early_media_mode(early.mode).into(),
            packets: early.packets.into(),
            milliseconds: early.milliseconds.into(),
        }),
        branch_timeout_seconds: Some(policy.branch_timeout_seconds.into()),
        latching: latching.into(),
    }
}

fn overrides(base: &Policy, own: &v1::SessionPolicy) -> Result<PolicyOverrides, ApiError> {
    let suites = own.suites.iter().map(|name| name.parse::<Suite>()).collect::<Result<Vec<_>, _>>()?;
    Ok(PolicyOverrides {
        suites: (!suites.is_empty()).then_some(suites),
        keyings: keyings(own.keyings())?,
        lowest_robustness: class("lowest_robustness", own.lowest_robustness)?,
        fips_only: own.fips_only,
        caller: peer(own.caller.as_ref())?,
        callee: peer(own.callee.as_ref())?,
        foreign_keying: match known("foreign_keying", own.foreign_keying)? {
            v1::ForeignKeying::Unspecified => None,
            v1::ForeignKeying::Remove => Some(ForeignKeying::Remove),
            v1::ForeignKeying::Pass => Some(ForeignKeying::Pass),
            v1::ForeignKeying::Refuse => Some(ForeignKeying::Refuse),
        },
        roc_on_rekey: match known("roc_on_rekey", own.roc_on_rekey)? {
            v1::RocOnRekey::Unspecified => None,
            v1::RocOnRekey::Keep => Some(RocOnRekey::Keep),
            v1::RocOnRekey::Reset => Some(RocOnRekey::Reset),
            v1::RocOnRekey::TryBoth => Some(RocOnRekey::TryBoth),
        },
        early_media: own
            .early_media
            .as_ref()
            .map(|early| early_media(base.early_media, early))
            .transpose()?,
        branch_timeout_seconds: number("branch_timeout_seconds", own.branch_timeout_seconds)?,
    })
}

fn peer(own: Option<&v1::PeerPolicy>) -> Result<PeerOverrides, ApiError> {
    let Some(own) = own else { return Ok(PeerOverrides::default()) };
    let address = own.address.as_ref().map(|text| {
        let wrong = || ApiError::invalid(FIELD, format!("address {text:?} is no IP address"), IN_RANGE);
        text.parse().map_err(|_| wrong())
    });
    Ok(PeerOverrides {
        security: match known("security", own.security)? {
            v1::MediaSecurity::Unspecified => None,
            v1::MediaSecurity::Required => Some(Security::Required),
            v1::MediaSecurity::BestEffort => Some(Security::BestEffort),
            v1::MediaSecurity::Plain => Some(Security::Plain),
        },
        best_effort: match known("best_effort", own.best_effort)? {
            v1::BestEffortForm::Unspecified => None,
            v1::BestEffortForm::Osrtp => Some(BestEffortForm::Osrtp),
            v1::BestEffortForm::Capabilities => Some(BestEffortForm::Capabilities),
            v1::BestEffortForm::DualLines => Some(BestEffortForm::DualLines),
        },
        rtcp_mux: handling("rtcp_mux", own.rtcp_mux)?,
        bundle: handling("bundle", own.bundle)?,
        address: address.transpose()?,
        mki_length: number("mki_length", own.mki_length)?,
        lifetime: number("lifetime", own.lifetime)?,
        lowest_robustness: class("lowest_robustness", own.lowest_robustness)?,
        keyings: keyings(own.keyings())?,
        both_keyings: own.both_keyings,
        ice: match known("ice", own.ice)? {
            v1::IceUse::Unspecified => None,
            v1::IceUse::WhenOffered => Some(IceUse::WhenOffered),
            v1::IceUse::Off => Some(IceUse::Off),
            v1::IceUse::Lite => Some(IceUse::Lite),
            v1::IceUse::Full => Some(IceUse::Full),
        },
        dtls_setup: match known("dtls_setup", own.dtls_setup)? {
            v1::DtlsSetup::Unspecified => None,
            v1::DtlsSetup::Actpass => Some(DtlsSetup::Actpass),
            v1::DtlsSetup::Active => Some(DtlsSetup::Active),
            v1::DtlsSetup::Passive => Some(DtlsSetup::Passive),
        },
        feedback: match known("feedback", own.feedback)? {
            v1::Feedback::Unspecified => None,
            v1::Feedback::Pass => Some(Feedback::Pass),
            v1::Feedback::Add => Some(Feedback::Add),
            v1::Feedback::Remove => Some(Feedback::Remove),
        },
        short_rtcp_tags: own.short_rtcp_tags,
    })
}

/// None: it is not said.
fn keyings(named: impl Iterator<Item = v1::Keying>) -> Result<Option<Vec<Keying>>, ApiError> {
    let known = named.map(|keying| keying_from(keying).ok_or_else(|| unknown("keyings")));
    let known = known.collect::<Result<Vec<_>, _>>()?;
    Ok((!known.is_empty()).then_some(known))
}

fn peer_shown(peer: &PeerPolicy) -> v1::PeerPolicy {
    let handling = |handling| match handling {
        Handling::Terminate => v1::Handling::Terminate.into(),
        Handling::Pass => v1::Handling::Pass.into(),
    };
    v1::PeerPolicy {
        security: match peer.security {
            Security::Required => v1::MediaSecurity::Required,
            Security::BestEffort => v1::MediaSecurity::BestEffort,
            Security::Plain => v1::MediaSecurity::Plain,
        }
        .into(),
        best_effort: match peer.best_effort {
            BestEffortForm::Osrtp => v1::BestEffortForm::Osrtp,
            BestEffortForm::Capabilities => v1::BestEffortForm::Capabilities,
            BestEffortForm::DualLines => v1::BestEffortForm::DualLines,
        }
        .into(),
        rtcp_mux: handling(peer.rtcp_mux),
        bundle: handling(peer.bundle),
        address: peer.address.map(|address| address.to_string()),
        mki_length: Some(peer.mki_length.into()),
        lifetime: peer.lifetime.map(Into::into),
        lowest_robustness: peer
            .lowest_robustness
            .map_or(v1::RobustnessClass::Unspecified, class_shown)
            .into(),
        keyings: peer.keyings.iter().flatten().map(|keying| keying_shown(*keying).into()).collect(),
        both_keyings: Some(peer.both_keyings),
        ice: match peer.ice {
            IceUse::WhenOffered => v1::IceUse::WhenOffered,
            IceUse::Off => v1::IceUse::Off,
            IceUse::Lite => v1::IceUse::Lite,
            IceUse::Full => v1::IceUse::Full,
        }
        .into(),
        dtls_setup: match peer.dtls_setup {
            DtlsSetup::Actpass => v1::DtlsSetup::Actpass,
            DtlsSetup::Active => v1::DtlsSetup::Active,
            DtlsSetup::Passive => v1::DtlsSetup::Passive,
        }
        .into(),
        feedback: match peer.feedback {
            Feedback::Pass => v1::Feedback::Pass,
            Feedback::Add => v1::Feedback::Add,
            Feedback::Remove => v1::Feedback::Remove,
        }
        .into(),
        short_rtcp_tags: Some(peer.short_rtcp_tags),
    }
}

/// A mode as the API names it.
pub(super) const fn early_media_mode(mode: EarlyMediaMode) -> v1::EarlyMediaMode {
    match mode {
        EarlyMediaMode::Hold => v1::EarlyMediaMode::Hold,
        EarlyMediaMode::Plain => v1::EarlyMediaMode::Plain,
        EarlyMediaMode::Drop => v1::EarlyMediaMode::Drop,
    }
}

fn early_media(base: EarlyMedia, own: &v1::EarlyMedia) -> Result<EarlyMedia, ApiError> {
    let given = |value| Some(value).filter(|value| *value > 0);
    Ok(EarlyMedia {
        mode: match known("early_media.mode", own.mode)? {
            v1::EarlyMediaMode::Unspecified => base.mode,
            v1::EarlyMediaMode::Hold => EarlyMediaMode::Hold,
            v1::EarlyMediaMode::Plain => EarlyMediaMode::Plain,
            v1::EarlyMediaMode::Drop => EarlyMediaMode::Drop,
        },
        packets: number("early_media.packets", given(own.packets))?.unwrap_or(base.packets),
        milliseconds: number("early_media.milliseconds", given(own.milliseconds))?
            .unwrap_or(base.milliseconds),
    })
}

fn handling(name: &str, value: i32) -> Result<Option<Handling>, ApiError> {
    Ok(match known(name, value)? {
        v1::Handling::Unspecified => None,
        v1::Handling::Terminate => Some(Handling::Terminate),
        v1::Handling::Pass => Some(Handling::Pass),
    })
}

fn class(name: &str, value: i32) -> Result<Option<RobustnessClass>, ApiError> {
    known(name, value).map(class_from)
}

/// The value of an enum; of a newer version's it must not become something that was not meant.
fn known<E: TryFrom<i32>>(name: &str, value: i32) -> Result<E, ApiError> {
    E::try_from(value).map_err(|_| unknown(name))
}

fn unknown(name: &str) -> ApiError {
    ApiError::invalid(FIELD, format!("{name} has a value that is not known"), IN_RANGE)
}

fn number<N: TryFrom<u32>>(name: &str, value: Option<u32>) -> Result<Option<N>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let wrong = |_| ApiError::invalid(FIELD, format!("{name} is {value}, which is too large"), IN_RANGE);
    N::try_from(value).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        let mut policy = Policy { fips_only: true, branch_timeout_seconds: 7, ..Policy::default() };
        policy.callee.security = Security::BestEffort;
        policy.callee.best_effort = BestEffortForm::DualLines;
        policy.callee.keyings = Some(vec![Keying::DtlsSrtp, Keying::None]);
        policy.callee.ice = IceUse::Full;
        policy.callee.dtls_setup = DtlsSetup::Passive;
        policy.callee.feedback = Feedback::Remove;
        policy.callee.short_rtcp_tags = true;
        policy.caller.rtcp_mux = Handling::Pass;
        policy.caller.lifetime = Some(31);
        policy.caller.address = Some([192, 0, 2, 1].into());
        policy.early_media.mode = EarlyMediaMode::Plain;
        policy.keyings = vec![Keying::None, Keying::Sdes];
        let again = merged(&Policy::default(), &shown(&policy, v1::Latching::Never)).unwrap();
        assert_eq!(again, Policy { caller: policy.caller.clone(), ..policy.clone() });
    }

    #[test]
    fn what_is_not_said_is_as_configured() {
        let base = Policy { branch_timeout_seconds: 9, ..Policy::default() };
        assert_eq!(merged(&base, &v1::SessionPolicy::default()).unwrap(), base);
        let early = v1::EarlyMedia { packets: 7, ..Default::default() };
        let own = v1::SessionPolicy { early_media: Some(early), ..Default::default() };
        let wanted = EarlyMedia { packets: 7, ..base.early_media };
        assert_eq!(merged(&base, &own).unwrap().early_media, wanted);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |own: v1::SessionPolicy| merged(&Policy::default(), &own).unwrap_err().message;
        let none = v1::SessionPolicy::default;
        assert!(refused(v1::SessionPolicy { suites: vec!["AES".into()], ..none() }).contains("AES"));
        assert!(refused(v1::SessionPolicy { foreign_keying: 77, ..none() }).contains("foreign_keying"));
        let timeout = v1::SessionPolicy { branch_timeout_seconds: Some(100_000), ..none() };
        assert!(refused(timeout).contains("branch_timeout_seconds"));
        let peer = v1::PeerPolicy { address: Some("here".into()), ..Default::default() };
        assert!(refused(v1::SessionPolicy { caller: Some(peer), ..none() }).contains("address"));
    }
}
