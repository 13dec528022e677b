//! A media line and what belongs to it.

use std::ops::{Deref, DerefMut};

use super::fields::{MEDIA_FORM, fields, is_token, number};
use super::{Line, RtpProfile, SdpError, Section};

/// A media line (RFC 8866 section 5.14) and the lines after it, which it derefs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    section: Section,
}

impl Media {
    /// A new media line with nothing after it.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] if media, protocol or formats are empty or have spaces.
    pub fn new<'f>(
        kind: &str,
        port: u16,
        proto: &str,
        formats: impl IntoIterator<Item = &'f str>,
    ) -> Result<Self, SdpError> {
        Self::with(&Parts { kind, port, count: 1, proto }, formats)
    }

    /// What is sent: `audio`, `video`, …
    pub fn kind(&self) -> &str {
        self.parts().kind
    }

    /// The port that receives; 0 refuses or ends the medium (RFC 3264 sections 6, 8.2).
    pub fn port(&self) -> u16 {
        self.parts().port
    }

    /// How many pairs of ports there are: 1 unless the line says otherwise.
    pub fn port_count(&self) -> u16 {
        self.parts().count
    }

    /// The transport protocol as it is written.
    pub fn proto(&self) -> &str {
        self.parts().proto
    }

    /// The profile, if the transport is RTP over UDP.
    pub fn profile(&self) -> Option<RtpProfile> {
        self.proto().parse().ok()
    }

    /// The media formats, the preferred one first.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        fields(self.value_of_m()).skip(3)
    }

    /// The formats that are RTP payload types, 0 to 127.
    pub fn payload_types(&self) -> Vec<u8> {
        self.formats().filter_map(number::<u8>).filter(|format| *format < 128).collect()
    }

    /// Changes the port, and makes it one.
    pub fn set_port(&mut self, port: u16) {
        self.change(|parts| Parts { port, count: 1, ..parts });
    }

    /// Changes the profile.
    pub fn set_profile(&mut self, profile: RtpProfile) {
        self.change(|parts| Parts { proto: profile.name(), ..parts });
    }

    /// Changes the transport protocol to any.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] if it is no protocol.
    pub fn set_proto(&mut self, proto: &str) -> Result<(), SdpError> {
        let changed = Self::with(&Parts { proto, ..self.parts() }, self.formats())?;
        self.take_line(&changed)
    }

    /// Changes the formats.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] if there is none, or one is none.
    pub fn set_formats<'f>(&mut self, formats: impl IntoIterator<Item = &'f str>) -> Result<(), SdpError> {
        let changed = Self::with(&self.parts(), formats)?;
        self.take_line(&changed)
    }

    /// `None` if the line is no media line.
    pub(super) fn read(line: Line) -> Option<Self> {
        let parts = Parts::read(line.value())?;
        let proto = parts.proto.split('/').all(is_token);
        let valid = is_token(parts.kind) && proto && fields(line.value()).nth(3).is_some();
        valid.then(|| Self { section: Section::beginning_with(line) })
    }

    fn with<'f>(parts: &Parts<'_>, formats: impl IntoIterator<Item = &'f str>) -> Result<Self, SdpError> {
        let mut value = parts.text();
        for format in formats {
            // A space would make it two, and nothing would make it none.
            if !super::fields::is_word(format) {
                return Err(SdpError::Malformed { line: 0, kind: 'm', want: MEDIA_FORM });
            }
            value.push(' ');
            value.push_str(format);
        }
        let read = Self::read(Line::new('m', &value)?);
        read.filter(|media| media.parts() == *parts).ok_or(SdpError::Malformed {
            line: 0,
            kind: 'm',
            want: MEDIA_FORM,
        })
    }

    /// A change that leaves a media line a media line.
    fn change(&mut self, to: impl for<'p> FnOnce(Parts<'p>) -> Parts<'p>) {
        let mut value = to(self.parts()).text();
        for format in self.formats() {
            value.push(' ');
            value.push_str(format);
        }
        let replaced = self.section.replace_first('m', &value);
        debug_assert_eq!(replaced, Ok(()), "fields of a line have no line ends");
    }

    fn take_line(&mut self, changed: &Self) -> Result<(), SdpError> {
        self.section.replace_first('m', changed.value_of_m())
    }

    fn value_of_m(&self) -> &str {
        self.section.first('m').unwrap_or_default()
    }

    fn parts(&self) -> Parts<'_> {
        // It was checked when it was read; `default` is for the compiler.
        Parts::read(self.value_of_m()).unwrap_or_default()
    }
}

impl Deref for Media {
    type Target = Section;

    fn deref(&self) -> &Section {
        &self.section
    }
}

impl DerefMut for Media {
    fn deref_mut(&mut self) -> &mut Section {
        &mut self.section
    }
}

/// All fields but the formats.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Parts<'a> {
    kind: &'a str,
    port: u16,
    count: u16,
    proto: &'a str,
}

impl<'a> Parts<'a> {
    fn read(value: &'a str) -> Option<Self> {
        let mut fields = fields(value);
        let (kind, ports, proto) = (fields.next()?, fields.next()?, fields.next()?);
        let (port, count) = match ports.split_once('/') {
            Some((port, count)) => (port, number::<u16>(count).filter(|count| *count > 0)?),
            None => (ports, 1),
        };
        Some(Self { kind, port: number(port)?, count, proto })
    }

    fn text(&self) -> String {
        let Self { kind, port, count, proto } = self;
        match count {
            1 => format!("{kind} {port} {proto}"),
            _ => format!("{kind} {port}/{count} {proto}"),
        }
    }
}
