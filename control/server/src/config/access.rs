//! Roles of clients, and the audit log.

use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::{AbsolutePath, Role};

/// `[api.tcp.roles]`: which certificates have which roles.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RoleRules {
    /// Certificates that make, change and end calls.
    pub signalling: Vec<CertificateName>,
    /// Certificates that tap calls.
    pub recorder: Vec<CertificateName>,
    /// Certificates that run the gateway.
    pub operator: Vec<CertificateName>,
    /// Certificates that look.
    pub read_only: Vec<CertificateName>,
    /// Roles of certificates that none of these name.
    pub default: Vec<Role>,
}

/// What names a certificate: `"cn:NAME"`, `"dns:NAME"`, `"uri:URI"` or `"sha256:HEX"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// A common name of its subject.
    CommonName(String),
    /// A DNS name among its subject's alternative names.
    Dns(String),
    /// A URI among them.
    Uri(String),
    /// The SHA-256 of the certificate in DER.
    Fingerprint([u8; 32]),
}

impl<'de> Deserialize<'de> for CertificateName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            de::Error::custom(format!(
                "{text:?} names no certificate; write \"cn:NAME\", \"dns:NAME\", \"uri:URI\" or \"sha256:HEX\", \
                 as `openssl x509 -fingerprint -sha256` prints it"
            ))
        };
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(wrong)?;
        match kind {
            "cn" => Ok(Self::CommonName(name.to_owned())),
            "dns" => Ok(Self::Dns(name.to_owned())),
            "uri" => Ok(Self::Uri(name.to_owned())),
            "sha256" => fingerprint(name).map(Self::Fingerprint).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let mut digits = text.chars().filter(|c| *c != ':').map(|digit| digit.to_digit(16));
    let mut octets = [0; 32];
    for octet in &mut octets {
        *octet = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    digits.next().is_none().then_some(octets)
}

/// `[audit]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The file that lines are appended to; none: they are log lines of the target `audit`.
    pub file: Option<AbsolutePath>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates_are_read_and_others_refused() {
        let rules = |text: &str| toml::from_str::<RoleRules>(text).map_err(|error| error.to_string());
        let read = rules("signalling = [\"cn:a:b\"]\nread-only = [\"dns:c\"]").unwrap();
        assert_eq!(read.signalling, [CertificateName::CommonName("a:b".into())]);
        assert_eq!(read.read_only, [CertificateName::Dns("c".into())]);
        let hex = "0A".repeat(32);
        let read = rules(&format!("operator = [\"sha256:{hex}\"]")).unwrap();
        assert_eq!(read.operator, [CertificateName::Fingerprint([10; 32])]);
        for wrong in ["sbc", "cn:", "ip:1.2.3.4", "sha256:0a", &format!("sha256:{hex}0"), "sha256:zz"] {
            let error = rules(&format!("operator = [{wrong:?}]")).unwrap_err();
            assert!(error.contains("names no certificate"), "{wrong}: {error}");
        }
        assert!(rules("root = []").unwrap_err().contains("signalling"));
        assert!(rules("default = [\"all\"]").unwrap_err().contains("read-only"));
    }
}
