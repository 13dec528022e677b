//! What a client's certificate says of it. That it is genuine and of the right authority was checked by TLS.

use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Role, Roles};
use crate::config::{CertificateName, RoleRules};

/// The names in a certificate (RFC 5280), and what tells it from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The subject's distinguished name, as text.
    pub(crate) subject: String,
    /// SHA-256 of the certificate.
    pub(crate) fingerprint: [u8; 32],
    /// The last moment that it is good for; a connection may live longer than that.
    pub(crate) not_after: SystemTime,
    common_names: Vec<String>,
    dns: Vec<String>,
    uris: Vec<String>,
}

impl Certificate {
    /// Reads a certificate in DER.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let subject = certificate.subject();
        let common_names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
        let not_after = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let mut read = Self {
            subject: subject.to_string(),
            fingerprint: Sha256::digest(der).into(),
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(not_after),
            common_names: common_names.map(ToOwned::to_owned).collect(),
            dns: Vec::new(),
            uris: Vec::new(),
        };
        let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => read.dns.push((*name).to_owned()),
                GeneralName::URI(name) => read.uris.push((*name).to_owned()),
                _ => {}
            }
        }
        Ok(read)
    }

    /// The roles that the rules give it: those of all rules that name it, or the default.
    pub(crate) fn roles(&self, rules: &RoleRules) -> Roles {
        let mut roles = Roles::NONE;
        for (role, names) in [
            (Role::Signalling, &rules.signalling),
            (Role::Recorder, &rules.recorder),
            (Role::Operator, &rules.operator),
            (Role::ReadOnly, &rules.read_only),
        ] {
            if names.iter().any(|name| self.is(name)) {
                roles.add(role);
            }
        }
        if roles == Roles::NONE { Roles::of(&rules.default) } else { roles }
    }

    fn is(&self, name: &CertificateName) -> bool {
        match name {
            CertificateName::CommonName(name) => self.common_names.contains(name),
            // Names of hosts are the same in any case (RFC 4343).
            CertificateName::Dns(name) => self.dns.iter().any(|own| own.eq_ignore_ascii_case(name)),
            CertificateName::Uri(name) => self.uris.contains(name),
            CertificateName::Fingerprint(fingerprint) => self.fingerprint == *fingerprint,
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate() -> (Certificate, Vec<u8>) {
        let mut params = CertificateParams::new(["Sbc.example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "sbc-1");
        params.subject_alt_names.push(SanType::URI("spiffe://example.com/sbc".try_into().unwrap()));
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        (Certificate::parse(&der).unwrap(), der)
    }

    fn rules(text: &str) -> RoleRules {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_kind_of_name_gives_its_role_and_others_give_none() {
        let (certificate, der) = certificate();
        assert!(certificate.subject.contains("sbc-1"), "{}", certificate.subject);
        let octets: Vec<_> = Sha256::digest(&der).iter().map(|octet| format!("{octet:02X}")).collect();
        let fingerprint = octets.join(":");
        for (name, named) in [
            ("cn:sbc-1", true),
            ("cn:SBC-1", false),
            ("cn:sbc", false),
            ("dns:sbc.EXAMPLE.com", true),
            ("dns:example.com", false),
            // A name of one kind is not taken for one of another.
            ("dns:sbc-1", false),
            ("cn:Sbc.example.com", false),
            ("uri:spiffe://example.com/sbc", true),
            ("uri:spiffe://example.com/", false),
            (&format!("sha256:{fingerprint}"), true),
            (&format!("sha256:{}", "00".repeat(32)), false),
        ] {
            let expected = if named { Roles::of(&[Role::Recorder]) } else { Roles::NONE };
            assert_eq!(certificate.roles(&rules(&format!("recorder = [{name:?}]"))), expected, "{name}");
        }
    }

    #[test]
    fn several_rules_add_up_and_the_default_is_for_those_that_none_names() {
        let (certificate, _) = certificate();
        let both = rules("operator = [\"cn:sbc-1\"]\nread-only = [\"cn:sbc-1\"]\ndefault = [\"recorder\"]");
        assert_eq!(certificate.roles(&both).to_string(), "operator, read-only");
        let other = rules("operator = [\"cn:other\"]\ndefault = [\"read-only\"]");
        assert_eq!(certificate.roles(&other).to_string(), "read-only");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(Certificate::parse(b"").is_err() && Certificate::parse(&[0x30, 0x03, 1, 2, 3]).is_err());
    }
}
