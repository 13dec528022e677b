//! The Identity header field (RFC 8224 section 4).

use std::fmt;

use thiserror::Error;

/// Octets of the longest value that is looked at.
const LONGEST: usize = 64 * 1024;

/// An Identity header field's value, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityHeader<'a> {
    /// The PASSporT, in full or compact form.
    pub token: &'a str,
    /// Where the certificate is: `info`, the PASSporT's `x5u`.
    pub info: &'a str,
    /// The algorithm, if it is said.
    pub alg: Option<&'a str>,
    /// The type of PASSporT, if it is an extension.
    pub ppt: Option<&'a str>,
}

/// What is wrong with an Identity header field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Longer than any that is meant well.
    #[error("the Identity header field is longer than {LONGEST} octets")]
    TooLong,
    /// No PASSporT at its beginning.
    #[error("the Identity header field has no PASSporT before its first semicolon")]
    Token,
    /// `info` is missing, or not in angle brackets.
    #[error("the Identity header field needs info=<URI>")]
    Info,
    /// A parameter twice.
    #[error("the Identity header field has the parameter {0:?} twice")]
    Repeated(&'static str),
    /// Not a parameter.
    #[error("the Identity header field has something that is no parameter, at octet {0}")]
    Parameter(usize),
}

impl<'a> IdentityHeader<'a> {
    /// Reads a value, without the name of the field. Parameters that RFC 8224 does not know are passed over
    /// (ident-info-extension).
    ///
    /// # Errors
    /// What of its grammar is broken.
    pub fn read(value: &'a str) -> Result<Self, HeaderError> {
        if value.len() > LONGEST {
            return Err(HeaderError::TooLong);
        }
        let (token, mut rest) = value.split_once(';').ok_or(HeaderError::Info)?;
        let token = token.trim();
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if token.is_empty() || !token.bytes().all(known) {
            return Err(HeaderError::Token);
        }
        let (mut info, mut alg, mut ppt) = (None, None, None);
        loop {
            let wrong = HeaderError::Parameter(value.len() - rest.len());
            let parameter = Parameter::read(rest).ok_or(wrong.clone())?;
            let is = |name| parameter.name.eq_ignore_ascii_case(name);
            if is("info") {
                set(&mut info, "info", bracketed(parameter.value).ok_or(HeaderError::Info)?)?;
            } else if is("alg") {
                set(&mut alg, "alg", unquoted(parameter.value).ok_or(wrong)?)?;
            } else if is("ppt") {
                set(&mut ppt, "ppt", unquoted(parameter.value).ok_or(wrong)?)?;
            }
            match parameter.rest {
                Some(more) => rest = more,
                None => break,
            }
        }
        Ok(Self { token, info: info.ok_or(HeaderError::Info)?, alg, ppt })
    }
}

impl fmt::Display for IdentityHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};info=<{}>", self.token, self.info)?;
        self.alg.iter().try_for_each(|alg| write!(f, ";alg={alg}"))?;
        self.ppt.iter().try_for_each(|ppt| write!(f, ";ppt={ppt}"))
    }
}

fn set<'a>(slot: &mut Option<&'a str>, name: &'static str, value: &'a str) -> Result<(), HeaderError> {
    slot.replace(value).map_or(Ok(()), |_| Err(HeaderError::Repeated(name)))
}

/// A URI in angle brackets.
fn bracketed(value: &str) -> Option<&str> {
    let uri = value.strip_prefix('<')?.strip_suffix('>')?;
    let visible = uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte));
    (visible && uri.contains(':')).then_some(uri)
}

/// A token, which some put in quotes (RFC 8588 section 5 does).
fn unquoted(value: &str) -> Option<&str> {
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (!bare.is_empty() && bare.bytes().all(is_token)).then_some(bare)
}

/// RFC 3261 section 25.1.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

struct Parameter<'a> {
    name: &'a str,
    value: &'a str,
    rest: Option<&'a str>,
}

impl<'a> Parameter<'a> {
    /// A parameter and what is behind its semicolon. A value in brackets or quotes may have semicolons inside.
    fn read(text: &'a str) -> Option<Self> {
        let name_len = text.find(['=', ';']).unwrap_or(text.len());
        let name = text[..name_len].trim();
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let Some(value) = text[name_len..].strip_prefix('=') else {
            return Some(Self { name, value: "", rest: text[name_len..].strip_prefix(';') });
        };
        let value = value.trim_start();
        let inside = match value.as_bytes().first()? {
            b'<' => value.find('>')? + 1,
            b'"' => value[1..].find('"')? + 2,
            _ => 0,
        };
        let end = inside + value[inside..].find(';').unwrap_or(value.len() - inside);
        let whole = value[..end].trim_end();
        // Nothing but space between a closing bracket or quote and the semicolon.
        if inside > 0 && whole.len() > inside {
            return None;
        }
        Some(Self { name, value: whole, rest: value[end..].strip_prefix(';') })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_in_any_order_with_space_and_unknown_ones_are_passed_over() {
        let value =
            "..abc-_9 ; ppt=\"shaken\";x=\"a;b\" ;y; info = <https://cert.example.org/a;b.cer> ;ALG=ES256";
        let header = IdentityHeader::read(value).unwrap();
        let expected = IdentityHeader {
            token: "..abc-_9",
            info: "https://cert.example.org/a;b.cer",
            alg: Some("ES256"),
            ppt: Some("shaken"),
        };
        assert_eq!(header, expected);
        assert_eq!(
            header.to_string(),
            "..abc-_9;info=<https://cert.example.org/a;b.cer>;alg=ES256;ppt=shaken"
        );
    }

    #[test]
    fn what_breaks_the_grammar_is_told_by_its_place() {
        let twice = "..a;info=<x:y>;alg=ES256;alg=none";
        for (value, error) in [
            ("", HeaderError::Info),
            ("..abc", HeaderError::Info),
            (";info=<x:y>", HeaderError::Token),
            ("a b;info=<x:y>", HeaderError::Token),
            ("..a;alg=ES256", HeaderError::Info),
            ("..a;info=x:y", HeaderError::Info),
            ("..a;info=< x:y>", HeaderError::Info),
            ("..a;alg;info=<x:y>", HeaderError::Parameter(4)),
            ("..a;info=<x:y>;ppt=\"a;b\"", HeaderError::Parameter(15)),
            ("..a;info=<xy>", HeaderError::Info),
            ("..a;info=<x:y", HeaderError::Parameter(4)),
            ("..a;info=<x:y>z", HeaderError::Parameter(4)),
            ("..a;info=<x:y>;", HeaderError::Parameter(15)),
            ("..a;=3;info=<x:y>", HeaderError::Parameter(4)),
            (twice, HeaderError::Repeated("alg")),
            ("..a;info=<x:y>;Info=<x:z>", HeaderError::Repeated("info")),
        ] {
            assert_eq!(IdentityHeader::read(value), Err(error), "{value}");
        }
        assert_eq!(IdentityHeader::read(&"a".repeat(LONGEST + 1)), Err(HeaderError::TooLong));
    }
}
