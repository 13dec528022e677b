//! Which version a server answers in, and so which library.

use sluice_srtp::Suite;

use super::hello::ClientHello;
use super::wire::{DTLS_1_2, DTLS_1_3};
use super::{DtlsError, KeyKind, Settings, Version, profile};

/// Decides on the answer to a `ClientHello`: the highest version that both speak, if its library can do what is needed.
pub(super) fn choose(
    settings: &Settings,
    certificate: KeyKind,
    suites: &[Suite],
    hello: &ClientHello,
) -> Result<Version, DtlsError> {
    let wanted = suites.iter().copied().find(|suite| offers(hello, *suite));
    let wanted = wanted.ok_or_else(|| DtlsError::NoCommonProfile(profile::in_words(&hello.profiles)))?;
    let offers_12 =
        hello.versions.contains(&DTLS_1_2) || hello.versions.is_empty() && hello.legacy_version <= DTLS_1_2;
    let offers_13 = hello.versions.contains(&DTLS_1_3);
    let can_12 = settings.versions.dtls12() && offers_12;
    let taken_13 = first_for_dimpl(hello);
    let can_13 = settings.versions.dtls13()
        && !settings.fips_only
        && offers_13
        // It came after a HelloVerifyRequest, which is not of 1.3.
        && hello.cookie.is_empty()
        && verifies(hello, certificate)
        && taken_13.is_some_and(|suite| suites.contains(&suite));
    // A client that resumes does so in 1.2; and a profile that is preferred is worth more than a version.
    let better_12 =
        settings.resumption && (hello.ticket || !hello.session_id.is_empty()) || taken_13 != Some(wanted);
    match (can_12, can_13) {
        (true, true) if better_12 => Ok(Version::Dtls12),
        (_, true) => Ok(Version::Dtls13),
        (true, false) => Ok(Version::Dtls12),
        (false, false) => Err(DtlsError::NoCommonVersion(offered(offers_12, offers_13))),
    }
}

fn offers(hello: &ClientHello, suite: Suite) -> bool {
    profile::number(suite).is_some_and(|number| hello.profiles.contains(&number))
}

/// What dimpl takes: the client's first that it knows.
fn first_for_dimpl(hello: &ClientHello) -> Option<Suite> {
    hello
        .profiles
        .iter()
        .filter_map(|number| profile::suite(*number))
        .find(|suite| profile::DIMPL.contains(suite))
}

/// Whether the client can verify a signature of the gateway's key, and shares a group with dimpl.
fn verifies(hello: &ClientHello, certificate: KeyKind) -> bool {
    let signature = match certificate {
        KeyKind::EcdsaP256 => 0x0403,
        KeyKind::EcdsaP384 => 0x0503,
        KeyKind::Rsa => return false,
    };
    // secp256r1, secp384r1, x25519.
    let group = hello.groups.iter().any(|group| matches!(group, 0x0017 | 0x0018 | 0x001d));
    group && hello.signatures.contains(&signature)
}

fn offered(offers_12: bool, offers_13: bool) -> &'static str {
    match (offers_12, offers_13) {
        (true, true) => "1.2 and 1.3",
        (true, false) => "1.2",
        (false, true) => "1.3; the gateway's certificate may be one that it cannot verify there",
        (false, false) => "neither 1.2 nor 1.3",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Versions;
    use super::*;

    const GCM: Suite = Suite::AeadAes128Gcm;
    const CM_32: Suite = Suite::AesCm128HmacSha1_32;

    fn hello(versions: &[u16], suites: &[Suite]) -> ClientHello {
        ClientHello {
            legacy_version: DTLS_1_2,
            versions: versions.to_vec(),
            groups: vec![0x001d],
            signatures: vec![0x0403],
            profiles: suites.iter().filter_map(|suite| profile::number(*suite)).collect(),
            ..ClientHello::default()
        }
    }

    fn chosen(settings: &Settings, suites: &[Suite], hello: &ClientHello) -> Result<Version, DtlsError> {
        choose(settings, KeyKind::EcdsaP256, suites, hello)
    }

    #[test]
    fn the_highest_common_version_is_spoken() {
        let both = hello(&[DTLS_1_3, DTLS_1_2], &[GCM]);
        assert_eq!(chosen(&Settings::default(), &[GCM], &both), Ok(Version::Dtls13));
        assert_eq!(chosen(&Settings::default(), &[GCM], &hello(&[], &[GCM])), Ok(Version::Dtls12));
        let only_12 = Settings { versions: Versions::Dtls12, ..Settings::default() };
        assert_eq!(chosen(&only_12, &[GCM], &both), Ok(Version::Dtls12));
        let only_13 = Settings { versions: Versions::Dtls13, ..Settings::default() };
        assert!(matches!(chosen(&only_13, &[GCM], &hello(&[], &[GCM])), Err(DtlsError::NoCommonVersion(_))));
    }

    #[test]
    fn what_only_one_library_can_decides() {
        let both = hello(&[DTLS_1_3, DTLS_1_2], &[GCM, CM_32]);
        assert_eq!(chosen(&Settings::default(), &[CM_32, GCM], &both), Ok(Version::Dtls12));
        assert_eq!(choose(&Settings::default(), KeyKind::Rsa, &[GCM], &both), Ok(Version::Dtls12));
        let fips = Settings { fips_only: true, ..Settings::default() };
        assert_eq!(chosen(&fips, &[GCM], &both), Ok(Version::Dtls12));
        let resumes = Settings { resumption: true, ..Settings::default() };
        assert_eq!(chosen(&resumes, &[GCM], &ClientHello { ticket: true, ..both }), Ok(Version::Dtls12));
    }

    #[test]
    fn without_a_common_profile_there_is_no_answer() {
        let error = chosen(&Settings::default(), &[GCM], &hello(&[], &[CM_32])).unwrap_err();
        assert!(error.to_string().contains("AES_CM_128_HMAC_SHA1_32"), "{error}");
    }
}
