//! A line, and an attribute in it.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::SdpError;

/// A line without its end. Two are equal if their text is.
#[derive(Clone)]
pub struct Line {
    /// `k=…`, wiped when dropped: some lines hold keys.
    text: Zeroizing<String>,
    number: u32,
}

impl Line {
    /// A new line.
    ///
    /// # Errors
    /// [`SdpError::Control`] if the value has a line end or NUL: it would be another line to its reader.
    pub fn new(kind: char, value: &str) -> Result<Self, SdpError> {
        let mut text = Zeroizing::new(String::with_capacity(value.len() + 2));
        text.push(kind);
        text.push('=');
        text.push_str(value);
        Self::checked(text, 0)
    }

    /// A new a= line: a flag, or with a value.
    ///
    /// # Errors
    /// As of [`Line::new`].
    pub fn attribute(name: &str, value: Option<&str>) -> Result<Self, SdpError> {
        let mut text = Zeroizing::new(String::with_capacity(name.len() + value.map_or(0, str::len) + 3));
        text.push_str("a=");
        text.push_str(name);
        if let Some(value) = value {
            text.push(':');
            text.push_str(value);
        }
        Self::checked(text, 0)
    }

    /// A line that was read.
    pub(super) fn read(text: &str, number: u32) -> Result<Self, SdpError> {
        let [kind, b'=', ..] = text.as_bytes() else { return Err(SdpError::NotALine { line: number }) };
        if !kind.is_ascii_alphabetic() {
            return Err(SdpError::NotALine { line: number });
        }
        Self::checked(Zeroizing::new(text.to_owned()), number)
    }

    fn checked(text: Zeroizing<String>, number: u32) -> Result<Self, SdpError> {
        if text.bytes().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return Err(SdpError::Control { line: number });
        }
        Ok(Self { text, number })
    }

    /// All of it, without its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its type: the letter before `=`.
    pub fn kind(&self) -> char {
        self.text.chars().next().unwrap_or_default()
    }

    /// What is after `=`.
    pub fn value(&self) -> &str {
        self.text.split_once('=').map_or("", |(_, value)| value)
    }

    /// Its number in what was read, from 1; 0 if it was added.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The attribute in it, if its type is `a`.
    pub fn as_attribute(&self) -> Option<Attribute<'_>> {
        let attribute = self.text.strip_prefix("a=")?;
        let (name, value) = match attribute.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (attribute, None),
        };
        Some(Attribute { name, value, line: self.number })
    }

    /// The same place with another value.
    pub(super) fn replaced(&self, value: &str) -> Result<Self, SdpError> {
        Ok(Self { number: self.number, ..Self::new(self.kind(), value)? })
    }
}

/// In constant time for lines of one length, as there may be keys in them.
impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.text.as_bytes().ct_eq(other.text.as_bytes()).into()
    }
}

impl Eq for Line {}

/// Without values: they may be keys.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.as_attribute().map_or("", |attribute| attribute.name);
        write!(f, "{}: {}={name}…", self.number, self.kind())
    }
}

/// An attribute (RFC 8866 section 5.13).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name; case counts.
    pub name: &'a str,
    /// What is after the first colon; a flag has none.
    pub value: Option<&'a str>,
    /// The number of its line; 0 if it was added.
    pub line: u32,
}

impl<'a> Attribute<'a> {
    /// Its value; empty for a flag.
    pub fn text(&self) -> &'a str {
        self.value.unwrap_or_default()
    }
}

impl fmt::Debug for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: a={}…", self.line, self.name)
    }
}
