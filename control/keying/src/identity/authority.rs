//! For whom a certificate may sign: telephone numbers by its TNAuthList (RFC 8226 section 9), domains by its subject
//! alternative names (RFC 5922 section 7).

use x509_parser::asn1_rs::{Any, Class, FromDer, Ia5String, Oid, Tag, oid};
use x509_parser::extensions::GeneralName;

use x509_parser::prelude::X509Certificate;

use super::certificates::CertificateError;
use super::party::Party;

/// id-pe-TNAuthList.
const TN_AUTH_LIST: Oid<'static> = oid!(1.3.6.1.5.5.7.1.26);

/// For whom a certificate may sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Service provider codes: who they are, not for which numbers.
    providers: Vec<String>,
    /// Numbers, each with how many from it on.
    numbers: Vec<(String, u64)>,
    /// SIP domains, in lower case.
    domains: Vec<String>,
}

impl Authority {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let unreadable = |error: &dyn std::fmt::Display| CertificateError::Unreadable(error.to_string());
        let mut authority = Self { domains: domains(certificate)?, ..Self::default() };
        let list = certificate.get_extension_unique(&TN_AUTH_LIST).map_err(|error| unreadable(&error))?;
        if let Some(list) = list {
            authority.read_list(list.value).ok_or_else(|| unreadable(&"its TNAuthList is not RFC 8226's"))?;
        }
        Ok(authority)
    }

    /// Whether it may sign for someone. A service provider code is no number: it counts for all numbers if it is among
    /// those that are trusted with that.
    pub(super) fn covers(&self, party: &Party, providers: &[String]) -> bool {
        match party {
            Party::Number(number) => {
                self.numbers.iter().any(|(first, count)| in_range(number, first, *count))
                    || self.providers.iter().any(|code| providers.contains(code))
            }
            // RFC 5922 section 7.2: as it is, without wildcards and without regard to case.
            Party::Uri(_) => {
                party.domain().is_some_and(|host| self.domains.iter().any(|domain| domain == host))
            }
        }
    }

    /// Its service provider codes.
    pub fn providers(&self) -> &[String] {
        &self.providers
    }

    /// Its SIP domains.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// `SEQUENCE OF CHOICE { spc [0], range [1], one [2] }`, with explicit tags.
    fn read_list(&mut self, der: &[u8]) -> Option<()> {
        let list = whole(der)?;
        if list.tag() != Tag::Sequence || list.class() != Class::Universal {
            return None;
        }
        let mut rest = list.data;
        while !rest.is_empty() {
            let (after, entry) = Any::from_der(rest).ok()?;
            rest = after;
            if entry.class() != Class::ContextSpecific {
                return None;
            }
            match entry.tag().0 {
                0 => self.providers.push(text(entry.data)?),
                1 => self.numbers.push(range(entry.data)?),
                2 => self.numbers.push((text(entry.data)?, 1)),
                _ => return None,
            }
        }
        Some(())
    }
}

/// RFC 5922 section 7.1: hosts of `sip` URIs without a user; only without any, DNS names.
fn domains(certificate: &X509Certificate<'_>) -> Result<Vec<String>, CertificateError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| CertificateError::Unreadable(error.to_string()))?
        .map_or(&[][..], |names| &names.value.general_names[..]);
    let uris: Vec<_> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => sip_domain(uri),
            _ => None,
        })
        .collect();
    if !uris.is_empty() {
        return Ok(uris);
    }
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        _ => None,
    };
    Ok(names.iter().filter_map(dns).collect())
}

fn sip_domain(uri: &str) -> Option<String> {
    let (scheme, host) = uri.split_once(':')?;
    let plain =
        scheme.eq_ignore_ascii_case("sip") && !host.is_empty() && !host.contains(['@', ';', '?', ':']);
    plain.then(|| host.to_ascii_lowercase())
}

/// Numbers of as many digits as the first, from it on.
fn in_range(number: &str, first: &str, count: u64) -> bool {
    if count == 1 {
        return number == first;
    }
    let digits =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let (Some(number_value), Some(first_value)) = (digits(number), digits(first)) else { return false };
    number.len() == first.len() && number_value.checked_sub(first_value).is_some_and(|offset| offset < count)
}

/// `SEQUENCE { start TelephoneNumber, count INTEGER (2..MAX) }`
fn range(der: &[u8]) -> Option<(String, u64)> {
    let range = whole(der)?;
    if range.tag() != Tag::Sequence {
        return None;
    }
    let (rest, start) = Ia5String::from_der(range.data).ok()?;
    // What may follow is for later versions.
    let (_, count) = u64::from_der(rest).ok()?;
    (count >= 2).then(|| (start.string(), count))
}

fn text(der: &[u8]) -> Option<String> {
    let (rest, text) = Ia5String::from_der(der).ok()?;
    rest.is_empty().then(|| text.string())
}

fn whole(der: &[u8]) -> Option<Any<'_>> {
    let (rest, any) = Any::from_der(der).ok()?;
    rest.is_empty().then_some(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[0] "1234"`, `[1] { "12155551000", 1000 }`, `[2] "911"`.
    const LIST: &[u8] =
        b"\x30\x24\xa0\x06\x16\x041234\xa1\x13\x30\x11\x16\x0b12155551000\x02\x02\x03\xe8\xa2\x05\x16\x03911";

    fn number(digits: &str) -> Party {
        Party::Number(digits.to_owned())
    }

    #[test]
    fn a_list_of_numbers_covers_them_and_no_others() {
        let mut authority = Authority::default();
        authority.read_list(LIST).unwrap();
        for covered in ["12155551000", "12155551999", "911"] {
            assert!(authority.covers(&number(covered), &[]), "{covered}");
        }
        for other in ["12155550999", "12155552000", "912", "012155551000", "2155551000", "1215555100#"] {
            assert!(!authority.covers(&number(other), &[]), "{other}");
        }
        assert!(!authority.covers(&Party::Uri("sip:911@example.com".to_owned()), &[]));
    }

    #[test]
    fn a_provider_counts_for_numbers_only_where_it_is_trusted() {
        let mut authority = Authority::default();
        authority.read_list(b"\x30\x08\xa0\x06\x16\x041234").unwrap();
        assert!(!authority.covers(&number("12155551212"), &[]));
        assert!(!authority.covers(&number("12155551212"), &["123".to_owned()]));
        assert!(authority.covers(&number("12155551212"), &["123".to_owned(), "1234".to_owned()]));
    }

    #[test]
    fn lists_that_are_cut_or_lengthened_are_refused() {
        for end in 0..LIST.len() {
            assert_eq!(Authority::default().read_list(&LIST[..end]), None, "{end}");
        }
        assert_eq!(Authority::default().read_list(&[LIST, b"\0"].concat()), None);
        assert_eq!(Authority::default().read_list(b"\x30\x05\xa3\x03\x16\x01a"), None, "an unknown entry");
        assert_eq!(
            Authority::default().read_list(b"\x30\x0a\xa1\x08\x30\x06\x16\x011\x02\x01\x01"),
            None,
            "a range of one"
        );
    }

    #[test]
    fn sip_uris_of_a_host_alone_are_domains() {
        assert_eq!(sip_domain("SIP:Example.com").as_deref(), Some("example.com"));
        for other in
            ["sip:alice@example.com", "sips:example.com", "sip:", "https://example.com", "example.com"]
        {
            assert_eq!(sip_domain(other), None, "{other}");
        }
    }
}
