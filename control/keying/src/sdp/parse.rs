//! Text to lines and sections, in one pass.

use super::fields::{self, MEDIA_FORM};
use super::{Line, MAX_MEDIA, MAX_SIZE, Media, Sdp, SdpError, Section};

/// The types of RFC 8866 section 5.
const KINDS: &str = "vosiuepcbtrzkam";
/// Those that belong to the session.
const OF_SESSION: &str = "vosueptrz";
/// Those that a section has once at most. RFC 8866 section 5.7 has several c= for layers sent to multicast groups,
/// which this gateway does not do: to it they contradict each other.
const ONCE: &str = "vosiuck";
/// What the first lines must be.
const BEGINNING: [char; 3] = ['v', 'o', 's'];

pub(super) fn parse(text: &str) -> Result<Sdp, SdpError> {
    if text.len() > MAX_SIZE {
        return Err(SdpError::TooLarge { got: text.len() });
    }
    let mut reader = Reader { session: Section::default(), media: Vec::new(), seen: [0; ONCE.len()] };
    let mut lines = 0;
    for (text, number) in trimmed(text).split('\n').zip(1..) {
        let text = text.strip_suffix('\r').unwrap_or(text);
        reader.take(Line::read(text, number)?)?;
        lines = number;
    }
    match BEGINNING.get(lines as usize) {
        Some(&kind) => Err(SdpError::Expected { line: lines + 1, kind }),
        None => Ok(Sdp { session: reader.session, media: reader.media }),
    }
}

/// Without empty lines at the end, which mail and files add.
fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

struct Reader {
    session: Section,
    media: Vec<Media>,
    /// Line numbers of the current section's lines of [`ONCE`]; 0: none yet.
    seen: [u32; ONCE.len()],
}

impl Reader {
    fn take(&mut self, line: Line) -> Result<(), SdpError> {
        let (kind, number) = (line.kind(), line.number());
        if !KINDS.contains(kind) {
            return Err(SdpError::UnknownType { line: number, kind });
        }
        self.in_place(kind, number)?;
        match kind {
            'v' if line.value().trim_end() != "0" => {
                return Err(SdpError::Malformed { line: number, kind, want: "0 (RFC 8866 section 5.1)" });
            }
            'o' => fields::check_origin(line.value(), number)?,
            'c' => fields::check_connection(line.value(), number)?,
            'm' => return self.begin(line),
            _ => {}
        }
        match self.media.last_mut() {
            Some(media) => media.push_read(line),
            None => self.session.push_read(line),
        }
    }

    fn in_place(&mut self, kind: char, number: u32) -> Result<(), SdpError> {
        if !self.media.is_empty() && OF_SESSION.contains(kind) {
            return Err(SdpError::Misplaced { line: number, kind });
        }
        if let Some(at) = ONCE.find(kind) {
            if self.seen[at] != 0 {
                return Err(SdpError::Repeated { line: number, kind, first: self.seen[at] });
            }
            self.seen[at] = number;
        }
        match BEGINNING.get(number as usize - 1) {
            Some(&expected) if expected != kind => Err(SdpError::Expected { line: number, kind: expected }),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: Line) -> Result<(), SdpError> {
        let number = line.number();
        if self.media.len() >= MAX_MEDIA {
            return Err(SdpError::TooManyMedia { line: number });
        }
        let media = Media::read(line);
        let want = MEDIA_FORM;
        self.media.push(media.ok_or(SdpError::Malformed { line: number, kind: 'm', want })?);
        self.seen = [0; ONCE.len()];
        Ok(())
    }
}
