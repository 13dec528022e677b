//! A session's own rules, over the configuration's.

use std::net::IpAddr;

use serde::Deserialize;
use sluice_srtp::Suite;

use super::{
    BestEffortForm, DtlsSetup, EarlyMedia, Feedback, ForeignKeying, Handling, IceUse, Keying, PeerPolicy,
    Policy, PolicyError, RocOnRekey, Security,
};
use crate::robustness::RobustnessClass;

/// What a session says for itself; what it does not say is as in the policy it is put over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyOverrides {
    /// [`Policy::suites`]
    #[serde(deserialize_with = "suites")]
    pub suites: Option<Vec<Suite>>,
    /// [`Policy::keyings`]. A side's own in the policy below it give way.
    pub keyings: Option<Vec<Keying>>,
    /// [`Policy::lowest_robustness`]. A side's own in the policy below it gives way: the session speaks of all.
    pub lowest_robustness: Option<RobustnessClass>,
    /// [`Policy::fips_only`]
    pub fips_only: Option<bool>,
    /// [`Policy::caller`]
    pub caller: PeerOverrides,
    /// [`Policy::callee`]
    pub callee: PeerOverrides,
    /// [`Policy::foreign_keying`]
    pub foreign_keying: Option<ForeignKeying>,
    /// [`Policy::roc_on_rekey`]
    pub roc_on_rekey: Option<RocOnRekey>,
    /// [`Policy::early_media`]
    pub early_media: Option<EarlyMedia>,
    /// [`Policy::branch_timeout_seconds`]
    pub branch_timeout_seconds: Option<u16>,
}

/// What a session says of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerOverrides {
    /// [`PeerPolicy::security`]
    pub security: Option<Security>,
    /// [`PeerPolicy::best_effort`]
    pub best_effort: Option<BestEffortForm>,
    /// [`PeerPolicy::rtcp_mux`]
    pub rtcp_mux: Option<Handling>,
    /// [`PeerPolicy::bundle`]
    pub bundle: Option<Handling>,
    /// [`PeerPolicy::address`]
    pub address: Option<IpAddr>,
    /// [`PeerPolicy::mki_length`]
    pub mki_length: Option<u8>,
    /// [`PeerPolicy::lifetime`]
    pub lifetime: Option<u8>,
    /// [`PeerPolicy::lowest_robustness`]
    pub lowest_robustness: Option<RobustnessClass>,
    /// [`PeerPolicy::keyings`]
    pub keyings: Option<Vec<Keying>>,
    /// [`PeerPolicy::both_keyings`]
    pub both_keyings: Option<bool>,
    /// [`PeerPolicy::ice`]
    pub ice: Option<IceUse>,
    /// [`PeerPolicy::dtls_setup`]
    pub dtls_setup: Option<DtlsSetup>,
    /// [`PeerPolicy::feedback`]
    pub feedback: Option<Feedback>,
    /// [`PeerPolicy::short_rtcp_tags`]
    pub short_rtcp_tags: Option<bool>,
}

impl Policy {
    /// This policy with a session's own rules over it. The session's word counts, even where it is the weaker one: who
    /// makes sessions may also make them leg by leg, with whatever keys.
    ///
    /// # Errors
    /// Those of [`Policy::check`] of what comes out.
    pub fn with(&self, session: &PolicyOverrides) -> Result<Self, PolicyError> {
        let mut policy = self.clone();
        let PolicyOverrides {
            suites,
            keyings,
            lowest_robustness,
            fips_only,
            caller,
            callee,
            foreign_keying,
            roc_on_rekey,
            early_media,
            branch_timeout_seconds,
        } = session;
        replace(&mut policy.suites, suites.as_ref());
        if let Some(keyings) = keyings {
            policy.keyings.clone_from(keyings);
            (policy.caller.keyings, policy.callee.keyings) = (None, None);
        }
        if let Some(class) = lowest_robustness {
            policy.lowest_robustness = *class;
            policy.caller.lowest_robustness = None;
            policy.callee.lowest_robustness = None;
        }
        replace(&mut policy.fips_only, fips_only.as_ref());
        caller.put_over(&mut policy.caller);
        callee.put_over(&mut policy.callee);
        replace(&mut policy.foreign_keying, foreign_keying.as_ref());
        replace(&mut policy.roc_on_rekey, roc_on_rekey.as_ref());
        replace(&mut policy.early_media, early_media.as_ref());
        replace(&mut policy.branch_timeout_seconds, branch_timeout_seconds.as_ref());
        policy.check()?;
        Ok(policy)
    }
}

impl PeerOverrides {
    fn put_over(&self, peer: &mut PeerPolicy) {
        let Self {
            security,
            best_effort,
            rtcp_mux,
            bundle,
            address,
            mki_length,
            lifetime,
            lowest_robustness,
            keyings,
            both_keyings,
            ice,
            dtls_setup,
            feedback,
            short_rtcp_tags,
        } = self;
        replace(&mut peer.security, security.as_ref());
        replace(&mut peer.best_effort, best_effort.as_ref());
        replace(&mut peer.rtcp_mux, rtcp_mux.as_ref());
        replace(&mut peer.bundle, bundle.as_ref());
        replace(&mut peer.mki_length, mki_length.as_ref());
        replace(&mut peer.both_keyings, both_keyings.as_ref());
        replace(&mut peer.ice, ice.as_ref());
        replace(&mut peer.dtls_setup, dtls_setup.as_ref());
        replace(&mut peer.feedback, feedback.as_ref());
        replace(&mut peer.short_rtcp_tags, short_rtcp_tags.as_ref());
        if let Some(keyings) = keyings {
            peer.keyings = Some(keyings.clone());
        }
        peer.address = address.or(peer.address);
        peer.lifetime = lifetime.or(peer.lifetime);
        peer.lowest_robustness = lowest_robustness.or(peer.lowest_robustness);
    }
}

fn replace<T: Clone>(value: &mut T, with: Option<&T>) {
    if let Some(with) = with {
        value.clone_from(with);
    }
}

fn suites<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Suite>>, D::Error> {
    super::suites(deserializer).map(Some)
}
