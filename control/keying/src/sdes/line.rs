//! A crypto line: `<tag> <suite> <keys> [<session parameters>]` (RFC 4568 section 9.1).

use std::fmt::Write;

use sluice_srtp::Suite;
use zeroize::Zeroizing;

use super::key::{InlineKey, check_mki_lengths, parse_keys, write_keys};
use super::{MAX_PARAMETERS, Parameter, SdesError};

/// The value of an `a=crypto` attribute. `Debug` does not show its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoLine {
    pub(super) tag: u32,
    /// As it is written: an answer repeats it.
    pub(super) suite_name: String,
    pub(super) suite: Option<Suite>,
    pub(super) keys: Vec<InlineKey>,
    pub(super) parameters: Vec<Parameter>,
}

impl CryptoLine {
    /// Reads a line's value: what is after `a=crypto:`. Nothing is decoded, and a suite may be unknown.
    ///
    /// # Errors
    /// [`SdesError`] if its form is not that of RFC 4568 section 9, or its values contradict each other.
    pub fn parse(value: &str) -> Result<Self, SdesError> {
        let mut words = value.split([' ', '\t']).filter(|word| !word.is_empty());
        let tag = tag(words.next().ok_or(SdesError::Form)?)?;
        let suite_name = words.next().ok_or(SdesError::Form)?;
        let is_char = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
        if !suite_name.bytes().all(is_char) {
            return Err(SdesError::SuiteName);
        }
        let mut keys = Zeroizing::new(String::with_capacity(value.len()));
        keys.push_str(words.next().ok_or(SdesError::Form)?);
        // The example of section 7.1.5 can be read as if a space came after a semicolon, and some write it so.
        while keys.ends_with(';') {
            keys.push_str(words.next().ok_or(SdesError::Form)?);
        }
        let line = Self {
            tag,
            suite_name: suite_name.to_owned(),
            suite: suite_name.parse().ok(),
            keys: parse_keys(&keys)?,
            parameters: parameters(words)?,
        };
        check_mki_lengths(line.keys.iter().chain(line.fec_inline_keys()))?;
        Ok(line)
    }

    /// The value as text, wiped when dropped.
    pub fn value(&self) -> Zeroizing<String> {
        // At its full size from the start, so that no copy is left behind by growing.
        let keys = self.keys.iter().map(|key| key.size() + 1).sum::<usize>();
        let parameters = self.parameters.iter().map(|parameter| parameter.size() + 1).sum::<usize>();
        let mut out = Zeroizing::new(String::with_capacity(keys + parameters + self.suite_name.len() + 16));
        let written = self.write(&mut out);
        debug_assert!(written.is_ok(), "a string takes everything");
        out
    }

    /// Which of a medium's lines it is.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// Its suite; none if the engine does not have it.
    pub fn suite(&self) -> Option<Suite> {
        self.suite
    }

    /// The suite's name as it is written.
    pub fn suite_name(&self) -> &str {
        &self.suite_name
    }

    /// The keys, undecoded.
    pub fn inline_keys(&self) -> &[InlineKey] {
        &self.keys
    }

    /// The session parameters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    pub(super) fn fec_inline_keys(&self) -> impl Iterator<Item = &InlineKey> {
        let keys = self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::FecKey(keys) => Some(keys),
            _ => None,
        });
        keys.flatten()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "{} {} ", self.tag, self.suite_name)?;
        write_keys(&self.keys, out)?;
        self.parameters.iter().try_for_each(|parameter| {
            out.push(' ');
            parameter.write(out)
        })
    }
}

fn tag(text: &str) -> Result<u32, SdesError> {
    let read = super::key::decimal(text).filter(|_| text.len() <= 9);
    read.map(|tag| tag as u32).ok_or(SdesError::Tag)
}

fn parameters<'w>(words: impl Iterator<Item = &'w str>) -> Result<Vec<Parameter>, SdesError> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for word in words {
        if parameters.len() == MAX_PARAMETERS {
            return Err(SdesError::TooManyParameters);
        }
        let parameter = Parameter::parse(word)?;
        if let Some(name) = parameter.known_name()
            && parameters.iter().any(|other| other.known_name() == Some(name))
        {
            return Err(SdesError::RepeatedParameter { name });
        }
        parameters.push(parameter);
    }
    Ok(parameters)
}
