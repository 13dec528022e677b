//! How a key is used: from the API's fields to the engine's options.

use sluice_proto::v1;
use sluice_srtp::{
    Cryptex, DerivationRate, Indices, KeyOptions, Lifetime, Mki, Omit, Rcc, RccMode, RocOnRekey,
};

use crate::ApiError;

/// Checks the options of an entry.
pub(super) fn options(install: &v1::KeyInstall) -> Result<KeyOptions, ApiError> {
    Ok(KeyOptions {
        mki: Mki::new(&install.mki)?,
        lifetime: lifetime(install.lifetime_rtp_packets, install.lifetime_rtcp_packets)?,
        derivation_rate: DerivationRate::new(install.key_derivation_rate.into())?,
        omit: Omit {
            rtp_encryption: install.unencrypted_rtp,
            rtcp_encryption: install.unencrypted_rtcp,
            rtp_authentication: install.unauthenticated_rtp,
        },
        encrypted_extensions: install
            .encrypted_extensions
            .iter()
            .map(|id| u8::try_from(*id).ok().filter(|id| *id != 0))
            .collect::<Option<_>>()
            .ok_or_else(|| {
                let message = "an identifier of a header extension element is 1 to 255";
                ApiError::invalid("encrypted_extensions", message, "correct the identifiers")
            })?,
        cryptex: match v1::Cryptex::try_from(install.cryptex) {
            Ok(v1::Cryptex::Unspecified) => Cryptex::Off,
            Ok(v1::Cryptex::On) => Cryptex::On,
            Ok(v1::Cryptex::Required) => Cryptex::Required,
            Err(_) => return Err(ApiError::invalid("cryptex", "is no value of Cryptex", "leave it out")),
        },
        rcc: install.roc_carrying.as_ref().map(rcc).transpose()?,
        indices: match &install.packet_indices {
            Some(indices) => Indices::new(indices.from, indices.to)?,
            None => Indices::ALL,
        },
        short_rtcp_tags: install.short_rtcp_tags,
    })
}

/// How rollover counters go on under the key.
pub(super) fn roc(install: &v1::KeyInstall) -> Result<RocOnRekey, ApiError> {
    match v1::RocOnRekey::try_from(install.roc) {
        Ok(v1::RocOnRekey::Unspecified | v1::RocOnRekey::Keep) => Ok(RocOnRekey::Keep),
        Ok(v1::RocOnRekey::Reset) => Ok(RocOnRekey::Reset),
        Ok(v1::RocOnRekey::TryBoth) => Ok(RocOnRekey::TryBoth),
        Err(_) => Err(ApiError::invalid("roc", "is no value of RocOnRekey", "leave it out")),
    }
}

fn lifetime(rtp: u64, rtcp: u64) -> Result<Lifetime, ApiError> {
    let or_longest = |packets: u64, longest: u64| if packets == 0 { longest } else { packets };
    let longest = Lifetime::MAX;
    let checked = |rtp, rtcp| Lifetime::new(rtp, rtcp).map_err(ApiError::from);
    let rtp = or_longest(rtp, longest.rtp_packets);
    checked(rtp, longest.rtcp_packets)?;
    checked(rtp, or_longest(rtcp, longest.rtcp_packets)).map_err(|error| error.at("lifetime_rtcp_packets"))
}

fn rcc(carrying: &v1::RocCarrying) -> Result<Rcc, ApiError> {
    let (mode, usual) = match carrying.mode {
        1 => (RccMode::One, 14),
        2 => (RccMode::Two, 14),
        3 => (RccMode::Three, 4),
        _ => return Err(ApiError::invalid("roc_carrying", "a mode is 1, 2 or 3", "correct the mode")),
    };
    let tag = if carrying.tag_length == 0 { usual } else { carrying.tag_length };
    // What is too large for RFC 4771 is refused as what it cannot be.
    let rate = u16::try_from(carrying.rate).unwrap_or(0);
    Ok(Rcc::new(mode, rate, u8::try_from(tag).unwrap_or(0))?)
}

/// The first field in which two keys are used differently.
pub(super) fn difference(existing: &KeyOptions, wanted: &KeyOptions) -> Option<&'static str> {
    let (a, b) = (existing, wanted);
    let same = [
        ("mki", a.mki == b.mki),
        ("lifetime_rtp_packets", a.lifetime.rtp_packets == b.lifetime.rtp_packets),
        ("lifetime_rtcp_packets", a.lifetime.rtcp_packets == b.lifetime.rtcp_packets),
        ("key_derivation_rate", a.derivation_rate == b.derivation_rate),
        ("unencrypted_rtp", a.omit.rtp_encryption == b.omit.rtp_encryption),
        ("unencrypted_rtcp", a.omit.rtcp_encryption == b.omit.rtcp_encryption),
        ("unauthenticated_rtp", a.omit.rtp_authentication == b.omit.rtp_authentication),
        ("encrypted_extensions", a.encrypted_extensions == b.encrypted_extensions),
        ("cryptex", a.cryptex == b.cryptex),
        ("roc_carrying", a.rcc == b.rcc),
        ("packet_indices", a.indices == b.indices),
        ("short_rtcp_tags", a.short_rtcp_tags == b.short_rtcp_tags),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}
