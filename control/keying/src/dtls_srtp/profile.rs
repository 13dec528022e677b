//! SRTP protection profiles (RFC 5764 section 4.1.2, RFC 7714 section 14.2, RFC 8723 section 9, RFC 8269 section 4).

use sluice_srtp::Suite;

/// Suites that a handshake can bring, wherever the library knows them; the ones that are preferred unless a policy says
/// otherwise come first.
pub const OFFERED: [Suite; 6] = [
    Suite::AeadAes256Gcm,
    Suite::AeadAes128Gcm,
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::DoubleAeadAes128Gcm,
    Suite::DoubleAeadAes256Gcm,
];

/// Whether a suite has a protection profile that the library at hand knows. OpenSSL before 3.1 knows no DOUBLE ones.
pub fn can_be_negotiated(suite: Suite) -> bool {
    super::engine::openssl_knows(suite)
}

/// The profile's number.
pub(super) const fn number(suite: Suite) -> Option<u16> {
    match suite {
        Suite::AesCm128HmacSha1_80 => Some(0x0001),
        Suite::AesCm128HmacSha1_32 => Some(0x0002),
        Suite::AeadAes128Gcm => Some(0x0007),
        Suite::AeadAes256Gcm => Some(0x0008),
        Suite::DoubleAeadAes128Gcm => Some(0x0009),
        Suite::DoubleAeadAes256Gcm => Some(0x000a),
        _ => None,
    }
}

/// The suite of a profile.
pub(super) fn suite(number: u16) -> Option<Suite> {
    OFFERED.into_iter().find(|suite| self::number(*suite) == Some(number))
}

/// What OpenSSL calls the profile.
pub(super) const fn openssl_name(suite: Suite) -> Option<&'static str> {
    match suite {
        Suite::AesCm128HmacSha1_80 => Some("SRTP_AES128_CM_SHA1_80"),
        Suite::AesCm128HmacSha1_32 => Some("SRTP_AES128_CM_SHA1_32"),
        Suite::AeadAes128Gcm => Some("SRTP_AEAD_AES_128_GCM"),
        Suite::AeadAes256Gcm => Some("SRTP_AEAD_AES_256_GCM"),
        Suite::DoubleAeadAes128Gcm => Some("SRTP_DOUBLE_AEAD_AES_128_GCM_AEAD_AES_128_GCM"),
        Suite::DoubleAeadAes256Gcm => Some("SRTP_DOUBLE_AEAD_AES_256_GCM_AEAD_AES_256_GCM"),
        _ => None,
    }
}

/// The suites that dimpl offers as a client, in its order, which cannot be changed; as a server it takes the first of the
/// client's that is among them.
pub(super) const DIMPL: [Suite; 3] = [Suite::AeadAes256Gcm, Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80];

/// Names of profiles that a peer offers, for a message.
pub(super) fn in_words(numbers: &[u16]) -> String {
    let name =
        |number: &u16| suite(*number).map_or_else(|| format!("{number:#06x}"), |suite| suite.to_string());
    numbers.iter().map(name).collect::<Vec<_>>().join(", ")
}
