//! What is wrong with a description.

use super::{MAX_MEDIA, MAX_SECTION_LINES, MAX_SIZE};

/// Why a description, or a change to one, was refused. Values of lines are not repeated: they may be keys.
///
/// `line` counts from 1; 0 is a line that was not read but added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// More than [`MAX_SIZE`] octets.
    #[error("the SDP has {got} octets; at most {MAX_SIZE} are read")]
    TooLarge {
        /// Octets given.
        got: usize,
    },
    /// More than [`MAX_SECTION_LINES`] lines in one section.
    #[error("line {line}: a section has at most {MAX_SECTION_LINES} lines; leave some out")]
    TooManyLines {
        /// The first that is too many.
        line: u32,
    },
    /// More than [`MAX_MEDIA`] media lines.
    #[error("line {line}: an SDP has at most {MAX_MEDIA} media lines; split the session")]
    TooManyMedia {
        /// The first that is too many.
        line: u32,
    },
    /// No `<type>=<value>`.
    #[error("line {line} is no SDP line, which is a letter, \"=\" and a value (RFC 8866 section 5)")]
    NotALine {
        /// Which.
        line: u32,
    },
    /// A carriage return or NUL within a line.
    #[error("line {line} has a control character that no SDP line may have; end lines with CRLF or LF")]
    Control {
        /// Which.
        line: u32,
    },
    /// A type that RFC 8866 does not know, for which it asks to refuse all of it.
    #[error("line {line}: no SDP line has the type {kind:?} (RFC 8866 section 5)")]
    UnknownType {
        /// Which.
        line: u32,
        /// Its type.
        kind: char,
    },
    /// v=, o= or s= is missing, or not where it must be.
    #[error("line {line} must be {kind}= (RFC 8866 section 5)")]
    Expected {
        /// Where.
        line: u32,
        /// The type that must be there.
        kind: char,
    },
    /// A line of the session's section in a media section.
    #[error("line {line}: {kind}= belongs before the first m= (RFC 8866 section 5)")]
    Misplaced {
        /// Which.
        line: u32,
        /// Its type.
        kind: char,
    },
    /// A line that a section has once at most.
    #[error("line {line}: a second {kind}= in one section; the first is line {first}")]
    Repeated {
        /// The second.
        line: u32,
        /// The type of both.
        kind: char,
        /// The first.
        first: u32,
    },
    /// A line whose value cannot be read.
    #[error("line {line}: {kind}= must be {want}")]
    Malformed {
        /// Which.
        line: u32,
        /// Its type.
        kind: char,
        /// What it must be.
        want: &'static str,
    },
    /// An attribute whose value cannot be read.
    #[error("line {line}: a={name} must be {want}")]
    Attribute {
        /// Which.
        line: u32,
        /// The attribute's name.
        name: &'static str,
        /// What it must be.
        want: &'static str,
    },
    /// Two media lines with one identification (RFC 5888 section 4).
    #[error("line {line}: another media line has this a=mid already (RFC 5888 section 4)")]
    RepeatedMid {
        /// The second.
        line: u32,
    },
    /// A media line in two BUNDLE groups (RFC 8843 section 7.1).
    #[error("line {line}: a media line is in one BUNDLE group at most, and once (RFC 8843)")]
    RepeatedInBundle {
        /// The group's line.
        line: u32,
    },
}
