//! Session descriptions (RFC 8866), as lines that stay where they are: what is not changed is written as it was read,
//! in its place and order, whether it is understood or not.
//!
//! ```
//! use sluice_keying::sdp::Sdp;
//!
//! let text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
//!             m=audio 5004 RTP/SAVP 0\r\na=x-new:kept\r\n";
//! let mut sdp = Sdp::parse(text)?;
//! assert_eq!(sdp.write().as_str(), text);
//!
//! sdp.media_mut()[0].set_port(6000);
//! sdp.media_mut()[0].set_attribute("rtcp-mux", None)?;
//! assert!(sdp.write().ends_with("m=audio 6000 RTP/SAVP 0\r\na=x-new:kept\r\na=rtcp-mux\r\n"));
//! # Ok::<(), sluice_keying::sdp::SdpError>(())
//! ```
//!
//! Lines may end with LF alone, fields may stand further apart than by one space, and lines other than the first
//! three may be in any order within their section. All else that RFC 8866 has as a must is refused, with the number
//! of the line.

mod attributes;
mod error;
mod fields;
mod group;
mod line;
mod media;
mod parse;
mod profile;
mod section;

use zeroize::Zeroizing;

use crate::negotiation::Direction;

pub use attributes::{
    Candidate, Fingerprint, Fmtp, ICE_ATTRIBUTES, Rtcp, Rtpmap, Setup, SsrcAttribute, ZrtpHash,
};
pub use error::SdpError;
pub use fields::{Connection, OriginLine};
pub use group::Bundle;
pub use line::{Attribute, Line};
pub use media::Media;
pub use profile::{RtpProfile, Secured};
pub use section::Section;

/// Most octets of a description that is read: 1 MiB.
pub const MAX_SIZE: usize = 1 << 20;
/// Most media lines of a description.
pub const MAX_MEDIA: usize = 1024;
/// Most lines of a section, its media line included.
pub const MAX_SECTION_LINES: usize = 4096;

/// A session description: the session's section, and one for each media line.
///
/// `Debug` shows types of lines and names of attributes only: keys may be in their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdp {
    session: Section,
    media: Vec<Media>,
}

impl Sdp {
    /// Reads a description.
    ///
    /// # Errors
    /// [`SdpError`], with the number of the line, if it is too large, has lines that are none, contradict each other
    /// or are not where they must be, or if v=, o=, c= or m= cannot be read.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        parse::parse(text)
    }

    /// The description as text, each line with CRLF. It may hold keys, so it is wiped when dropped.
    pub fn write(&self) -> Zeroizing<String> {
        let sections = || std::iter::once(&self.session).chain(self.media.iter().map(|media| &**media));
        let lines = || sections().flat_map(Section::lines);
        // At its full size from the start, so that no copy is left behind by growing.
        let size = lines().map(|line| line.text().len() + 2).sum();
        let mut text = Zeroizing::new(String::with_capacity(size));
        for line in lines() {
            text.push_str(line.text());
            text.push_str("\r\n");
        }
        text
    }

    /// Lines before the first media line.
    pub fn session(&self) -> &Section {
        &self.session
    }

    /// The same, to be changed.
    pub fn session_mut(&mut self) -> &mut Section {
        &mut self.session
    }

    /// The media lines, each with the lines after it.
    pub fn media(&self) -> &[Media] {
        &self.media
    }

    /// The same, to be changed.
    pub fn media_mut(&mut self) -> &mut [Media] {
        &mut self.media
    }

    /// Puts a media line before the `at`th one, or last if there are fewer.
    ///
    /// # Errors
    /// [`SdpError::TooManyMedia`] if there are [`MAX_MEDIA`] already.
    pub fn insert_media(&mut self, at: usize, media: Media) -> Result<(), SdpError> {
        if self.media.len() >= MAX_MEDIA {
            return Err(SdpError::TooManyMedia { line: 0 });
        }
        self.media.insert(at.min(self.media.len()), media);
        Ok(())
    }

    /// Takes a media line out; none is there if `at` is past the last.
    pub fn remove_media(&mut self, at: usize) -> Option<Media> {
        (at < self.media.len()).then(|| self.media.remove(at))
    }

    /// Who made the description (o=).
    pub fn origin(&self) -> OriginLine<'_> {
        OriginLine::read(self.session.first('o').unwrap_or_default())
    }

    /// Replaces o=.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] if a field is empty or has spaces, or the numbers are none.
    pub fn set_origin(&mut self, origin: &OriginLine<'_>) -> Result<(), SdpError> {
        self.session.set('o', &origin.text()?)
    }

    /// Where a media line's peer receives: its own c=, or else the session's (RFC 8866 section 5.7).
    pub fn connection(&self, media: usize) -> Option<Connection<'_>> {
        let own = self.media.get(media).and_then(|media| media.connection());
        own.or_else(|| self.session.connection())
    }

    /// A media line's direction: its own, or else the session's, or else both ways (RFC 8866 section 6.7).
    pub fn direction(&self, media: usize) -> Direction {
        let own = self.media.get(media).and_then(|media| media.direction());
        own.or_else(|| self.session.direction()).unwrap_or_default()
    }

    /// An attribute's value for a media line: its own, or else the session's. Of flags the value is empty.
    pub fn inherited(&self, media: usize, name: &str) -> Option<&str> {
        let own = self.media.get(media).and_then(|media| media.value(name));
        own.or_else(|| self.session.value(name))
    }
}
