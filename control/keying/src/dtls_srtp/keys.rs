//! What a handshake is for.

use std::fmt;

use sluice_srtp::{KeyOptions, Suite};
use zeroize::Zeroizing;

use super::{Fingerprint, Role};
use crate::negotiation::NegotiatedKey;

/// A version of DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// DTLS 1.2 (RFC 6347).
    Dtls12,
    /// DTLS 1.3 (RFC 9147).
    Dtls13,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dtls12 => "DTLS 1.2",
            Self::Dtls13 => "DTLS 1.3",
        })
    }
}

/// Keys of an association whose peer is who signalling says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The suite that both chose.
    pub suite: Suite,
    /// What the peer's packets are protected with.
    pub inbound: NegotiatedKey,
    /// What the gateway's are.
    pub outbound: NegotiatedKey,
    /// The version that was spoken.
    pub version: Version,
    /// The cipher suite of the handshake, by the name that IANA has for it.
    pub cipher: String,
    /// The signalled fingerprint that the peer's certificate has.
    pub peer_fingerprint: Fingerprint,
    /// Whether an earlier association was resumed: no certificate was shown anew.
    pub resumed: bool,
    /// Whether who learns long-term keys later still cannot have these. Not so without a Diffie-Hellman exchange, nor in a
    /// resumed association, whose keys come from what both have kept.
    pub forward_secret: bool,
}

/// The label of the exporter (RFC 5764 section 4.2).
pub(super) const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// Octets that are exported for a suite.
pub(super) const fn exported_len(suite: Suite) -> usize {
    2 * (suite.key_len() + suite.salt_len())
}

/// Cuts what was exported into the keys of both directions, inbound first: "client_write_SRTP_master_key,
/// server_write_SRTP_master_key, client_write_SRTP_master_salt, server_write_SRTP_master_salt" (RFC 5764 section 4.2), of
/// the lengths that the suite has (RFC 7714 section 14.2). None if there is too little.
pub(super) fn cut(suite: Suite, exported: &[u8], role: Role) -> Option<[NegotiatedKey; 2]> {
    let (client_key, rest) = exported.split_at_checked(suite.key_len())?;
    let (server_key, rest) = rest.split_at_checked(suite.key_len())?;
    let (client_salt, rest) = rest.split_at_checked(suite.salt_len())?;
    let server_salt = rest.get(..suite.salt_len())?;
    let key = |key: &[u8], salt: &[u8]| NegotiatedKey {
        suite,
        key_salt: Zeroizing::new([key, salt].concat()),
        options: KeyOptions::default(),
        window: None,
    };
    let (client, server) = (key(client_key, client_salt), key(server_key, server_salt));
    Some(match role {
        Role::Client => [server, client],
        Role::Server => [client, server],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_has_the_key_of_who_writes() {
        let exported: Vec<u8> = (0..60).collect();
        let [inbound, outbound] = cut(Suite::AesCm128HmacSha1_80, &exported, Role::Server).unwrap();
        let client: Vec<u8> = (0..16).chain(32..46).collect();
        let server: Vec<u8> = (16..32).chain(46..60).collect();
        assert_eq!([&**inbound.key_salt, &**outbound.key_salt], [&*client, &*server]);
        let [inbound, outbound] = cut(Suite::AesCm128HmacSha1_80, &exported, Role::Client).unwrap();
        assert_eq!([&**inbound.key_salt, &**outbound.key_salt], [&*server, &*client]);
    }

    #[test]
    fn lengths_are_the_suites() {
        for suite in super::super::OFFERED {
            let exported = vec![7; exported_len(suite)];
            assert_eq!(
                cut(suite, &exported, Role::Client).unwrap()[0].key_salt.len(),
                suite.key_len() + suite.salt_len()
            );
            assert!(cut(suite, &exported[1..], Role::Client).is_none());
        }
        assert_eq!([Suite::AeadAes128Gcm, Suite::AeadAes256Gcm].map(exported_len), [56, 88]);
    }
}
