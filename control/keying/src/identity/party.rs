//! Who calls and who is called, in the form in which it is signed (RFC 8224 section 8).

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Digits of the longest telephone number (E.164).
pub(super) const LONGEST_NUMBER: usize = 15;

/// An identity: a telephone number or a URI, both canonical.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// Digits, `#` and `*` (RFC 8224 section 8.3).
    Number(String),
    /// `sip:user@host` or `sips:user@host` (RFC 8224 section 8.5).
    Uri(String),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number(number) => number,
            Self::Uri(uri) => uri,
        })
    }
}

/// How numbers that are not global become so (RFC 8224 section 8.3). Without any of it they are taken as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DialPlan {
    /// The country's code, as `49`.
    pub country_code: String,
    /// What stands before a number with its country code, as `00` or `011`.
    pub international_prefix: String,
    /// What stands before a number within the country, as `0`.
    pub national_prefix: String,
}

/// What is wrong with a URI of From or To.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PartyError {
    /// Another scheme.
    #[error("only sip, sips and tel URIs are identities, without display name or angle brackets")]
    Scheme,
    /// No user.
    #[error("the URI has no user before its host")]
    NoUser,
    /// No host, or none that can be one.
    #[error("the URI's host is none")]
    Host,
    /// What must be escaped is not, or an escape is none.
    #[error("the URI's user has characters that need escapes, or escapes that are none")]
    User,
    /// A tel URI without a number.
    #[error("the tel URI has no telephone number of 1 to {LONGEST_NUMBER} digits")]
    Number,
}

impl Party {
    /// The identity of an addr-spec.
    ///
    /// It is a telephone number if the URI is a tel URI, or says `user=phone`, or its user begins with `+`, and if what is
    /// left of the number is one (RFC 8224 section 8.1).
    ///
    /// # Errors
    /// What keeps it from being an identity.
    pub fn of_uri(uri: &str, plan: &DialPlan) -> Result<Self, PartyError> {
        let (scheme, rest) = uri.trim().split_once(':').ok_or(PartyError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "tel" => plan.number(rest).map(Self::Number).ok_or(PartyError::Number),
            scheme @ ("sip" | "sips") => {
                let parts = SipUri::read(rest)?;
                let phone = parts.phone || parts.user.starts_with('+');
                match plan.number(parts.user).filter(|_| phone) {
                    Some(number) => Ok(Self::Number(number)),
                    None => parts.canonical(scheme).map(Self::Uri),
                }
            }
            _ => Err(PartyError::Scheme),
        }
    }

    /// The host of a URI.
    pub(super) fn domain(&self) -> Option<&str> {
        match self {
            Self::Number(_) => None,
            Self::Uri(uri) => uri.rsplit_once('@').map(|(_, host)| host),
        }
    }
}

impl DialPlan {
    /// A subscriber's number in canonical form, its parameters left out.
    fn number(&self, subscriber: &str) -> Option<String> {
        let (digits, _) = subscriber.split_once(';').unwrap_or((subscriber, ""));
        // The visual separators of RFC 3966 section 5.1.1; a space may come of a display.
        let digits: String = digits.chars().filter(|character| !"-.() ".contains(*character)).collect();
        let (global, digits) = match digits.strip_prefix('+') {
            Some(digits) => (true, digits),
            None => (false, digits.as_str()),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || b"#*".contains(&byte)) {
            return None;
        }
        let number = if global { digits.to_owned() } else { self.globalised(digits) };
        (1..=LONGEST_NUMBER).contains(&number.len()).then_some(number)
    }

    fn globalised(&self, digits: &str) -> String {
        let after = |prefix: &str| if prefix.is_empty() { None } else { digits.strip_prefix(prefix) };
        if let Some(number) = after(&self.international_prefix) {
            return number.to_owned();
        }
        match after(&self.national_prefix) {
            Some(number) if !self.country_code.is_empty() => format!("{}{number}", self.country_code),
            // A number of a service (112), or one that has its country code and no mark of it.
            _ => digits.to_owned(),
        }
    }
}

/// What of a SIP URI counts.
struct SipUri<'a> {
    /// Without password.
    user: &'a str,
    /// Without port.
    host: &'a str,
    /// Whether it says `user=phone`.
    phone: bool,
}

impl<'a> SipUri<'a> {
    fn read(rest: &'a str) -> Result<Self, PartyError> {
        let (user, rest) = rest.split_once('@').ok_or(PartyError::NoUser)?;
        let (user, _password) = user.split_once(':').unwrap_or((user, ""));
        if user.is_empty() {
            return Err(PartyError::NoUser);
        }
        let host_end = match rest.strip_prefix('[') {
            Some(v6) => v6.find(']').ok_or(PartyError::Host)? + 2,
            None => rest.find([':', ';', '?']).unwrap_or(rest.len()),
        };
        let (host, rest) = rest.split_at(host_end);
        let (parameters, _headers) = rest.split_once('?').unwrap_or((rest, ""));
        let phone =
            parameters.split(';').skip(1).any(|parameter| parameter.eq_ignore_ascii_case("user=phone"));
        let marks: &[u8] = if host.starts_with('[') { b":.[]" } else { b"-." };
        let host_part = |byte: u8| byte.is_ascii_alphanumeric() || marks.contains(&byte);
        if host.is_empty()
            || !host.bytes().all(host_part)
            || !(rest.is_empty() || rest.starts_with([':', ';', '?']))
        {
            return Err(PartyError::Host);
        }
        Ok(Self { user, host, phone })
    }

    /// RFC 8224 section 8.5: nothing but user and host, in lower case, and no escape that needs none.
    fn canonical(&self, scheme: &str) -> Result<String, PartyError> {
        let mut canonical = format!("{scheme}:");
        let mut rest = self.user.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'%' => {
                    let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                    let (high, low) = (digit().ok_or(PartyError::User)?, digit().ok_or(PartyError::User)?);
                    push_octet(&mut canonical, (high << 4 | low) as u8);
                }
                byte if is_user(byte) => canonical.push(char::from(byte).to_ascii_lowercase()),
                _ => return Err(PartyError::User),
            }
        }
        canonical.push('@');
        canonical.push_str(&self.host.to_ascii_lowercase());
        Ok(canonical)
    }
}

/// An octet that was escaped: as itself if it is unreserved (RFC 3986 section 2.3), else escaped again.
fn push_octet(canonical: &mut String, octet: u8) {
    if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
        canonical.push(char::from(octet).to_ascii_lowercase());
    } else {
        // Nothing that is written to a string fails.
        let _ = write!(canonical, "%{octet:02X}");
    }
}

/// The characters of a user that need no escape (RFC 3261 section 25.1: unreserved, user-unreserved).
fn is_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(uri: &str) -> Result<Party, PartyError> {
        Party::of_uri(uri, &DialPlan::default())
    }

    fn number(digits: &str) -> Party {
        Party::Number(digits.to_owned())
    }

    fn uri(text: &str) -> Party {
        Party::Uri(text.to_owned())
    }

    #[test]
    fn telephone_numbers_lose_all_but_their_digits() {
        assert_eq!(party("sip:12155551212@example.com;user=phone"), Ok(number("12155551212")));
        assert_eq!(party("sip:+17005551008@chicago.example.com;user=phone"), Ok(number("17005551008")));
        assert_eq!(party("tel:+1-700-555-1008"), Ok(number("17005551008")));
        assert_eq!(party("TEL:+1(700)555.1008;ext=3"), Ok(number("17005551008")));
        assert_eq!(party("sips:+49-30-123@example.com;transport=tls"), Ok(number("4930123")));
        assert_eq!(party("sip:*21#@example.com;User=Phone"), Ok(number("*21#")));
        assert_eq!(party("sip:+1700;phone-context=x@example.com;user=phone"), Ok(number("1700")));
    }

    #[test]
    fn digits_are_no_number_unless_something_says_so() {
        assert_eq!(party("sip:1001@example.com"), Ok(uri("sip:1001@example.com")));
        assert_eq!(party("sip:alice@example.com;user=phone"), Ok(uri("sip:alice@example.com")));
        assert_eq!(
            party("sip:1234567890123456@example.com;user=phone"),
            Ok(uri("sip:1234567890123456@example.com"))
        );
        assert_eq!(party("tel:alice"), Err(PartyError::Number));
        assert_eq!(party("tel:+1234567890123456"), Err(PartyError::Number));
    }

    #[test]
    fn uris_are_user_and_host_in_lower_case_without_needless_escapes() {
        assert_eq!(
            party("SIP:Alice:secret@Example.COM:5061;transport=tls?subject=x"),
            Ok(uri("sip:alice@example.com"))
        );
        assert_eq!(party("sips:%41lic%65%2f%7e@example.com"), Ok(uri("sips:alice%2F~@example.com")));
        assert_eq!(party("sip:a@[2001:DB8::1]:5060"), Ok(uri("sip:a@[2001:db8::1]")));
    }

    #[test]
    fn what_is_no_identity_is_told_why() {
        assert_eq!(party("alice@example.com"), Err(PartyError::Scheme));
        assert_eq!(party("mailto:alice@example.com"), Err(PartyError::Scheme));
        assert_eq!(party("\"Bob\" <sip:bob@example.com>"), Err(PartyError::Scheme));
        assert_eq!(party("sip:example.com"), Err(PartyError::NoUser));
        assert_eq!(party("sip::pw@example.com"), Err(PartyError::NoUser));
        assert_eq!(party("sip:a@"), Err(PartyError::Host));
        assert_eq!(party("sip:a@b@c"), Err(PartyError::Host));
        assert_eq!(party("sip:a@[::1"), Err(PartyError::Host));
        assert_eq!(party("sip:a@[::1]x"), Err(PartyError::Host));
        assert_eq!(party("sip:a b@example.com"), Err(PartyError::User));
        assert_eq!(party("sip:a%4@example.com"), Err(PartyError::User));
        assert_eq!(party("sip:ä@example.com"), Err(PartyError::User));
    }

    #[test]
    fn a_dial_plan_makes_numbers_global() {
        let plan = DialPlan {
            country_code: "49".to_owned(),
            international_prefix: "00".to_owned(),
            national_prefix: "0".to_owned(),
        };
        for (dialled, global) in
            [("030123", "4930123"), ("0013035551212", "13035551212"), ("112", "112"), ("+3312", "3312")]
        {
            assert_eq!(Party::of_uri(&format!("tel:{dialled}"), &plan), Ok(number(global)), "{dialled}");
        }
    }
}
