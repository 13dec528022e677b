//! What is wrong with a crypto line.

use sluice_srtp::{KeyError, Suite};

use super::{MAX_KEYS, MAX_PARAMETERS};

/// Why a crypto line, or an answer with one, was refused. Keys are never repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdesError {
    /// No `<tag> <suite> <keys>`.
    #[error("a crypto line is \"<tag> <suite> inline:<key> ...\" (RFC 4568 section 9.1)")]
    Form,
    /// A tag that is none.
    #[error("a tag has 1 to 9 digits, the first not 0 (RFC 4568 sections 4.1, 9.1)")]
    Tag,
    /// A suite's name with other characters than letters, digits and underscores.
    #[error("a suite's name has letters, digits and underscores only (RFC 4568 section 9.1)")]
    SuiteName,
    /// Another key method than inline.
    #[error("SRTP has the key method \"inline:\" only (RFC 4568 section 6.1)")]
    Method,
    /// More keys than [`MAX_KEYS`].
    #[error("a crypto line has at most {MAX_KEYS} keys here")]
    TooManyKeys,
    /// Fields of a key that are none.
    #[error("a key is \"inline:<base64>[|<lifetime>][|<MKI>:<length>]\" (RFC 4568 section 6.1)")]
    Key,
    /// A lifetime that is none, 0, or longer than 2^48 packets.
    #[error(
        "a lifetime is 1 to 2^48 packets, in decimal or as 2^n, without leading zeroes (RFC 4568 section 6.1)"
    )]
    Lifetime,
    /// An MKI that is none.
    #[error("an MKI is a positive decimal number without leading zeroes (RFC 4568 section 6.1)")]
    Mki,
    /// The length of an MKI that is none.
    #[error("an MKI's length is 1 to 128, without leading zeroes (RFC 4568 section 6.1)")]
    MkiLength,
    /// An MKI that its length does not hold.
    #[error("an MKI is larger than its length of {length} octets holds")]
    MkiTooLarge {
        /// Octets.
        length: u8,
    },
    /// One of several keys without MKI.
    #[error("each of several keys must have an MKI (RFC 4568 section 6.1)")]
    MkiMissing,
    /// MKIs of different lengths, or keys with and without.
    #[error("all MKIs of a crypto line must have one length (RFC 4568 section 6.1)")]
    MkiLengthsDiffer,
    /// Two keys with one MKI.
    #[error("two keys of a crypto line have the same MKI; packets could not be told apart")]
    RepeatedMki,
    /// More session parameters than [`MAX_PARAMETERS`].
    #[error("a crypto line has at most {MAX_PARAMETERS} session parameters here")]
    TooManyParameters,
    /// A session parameter whose value is none.
    #[error("the session parameter {name} must be {want}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What it must be.
        want: &'static str,
    },
    /// A session parameter that is there twice.
    #[error("the session parameter {name} is there twice")]
    RepeatedParameter {
        /// Its name.
        name: &'static str,
    },
    /// Two lines of a medium with one tag.
    #[error("two crypto lines of a media line have the tag {tag} (RFC 4568 section 4.1)")]
    RepeatedTag {
        /// The tag.
        tag: u32,
    },
    /// A suite that the engine does not have.
    #[error("crypto line {tag}: its suite is not known here")]
    UnknownSuite {
        /// The line's.
        tag: u32,
    },
    /// A session parameter that must be understood and is not.
    #[error(
        "crypto line {tag}: a session parameter is not known here, and has no \"-\" that lets it be ignored \
         (RFC 4568 section 6.3.7)"
    )]
    UnknownParameter {
        /// The line's.
        tag: u32,
    },
    /// FEC of SRTP packets.
    #[error(
        "crypto line {tag}: FEC_ORDER=SRTP_FEC protects packets as they are encrypted; a gateway that encrypts \
         them anew cannot forward it: use FEC_SRTP"
    )]
    FecOrder {
        /// The line's.
        tag: u32,
    },
    /// What the suite cannot leave out.
    #[error("crypto line {tag}: {suite} cannot go without {what}")]
    Inseparable {
        /// The line's.
        tag: u32,
        /// Its suite.
        suite: Suite,
        /// Encryption or authentication.
        what: &'static str,
    },
    /// A key that is no base64.
    #[error("crypto line {tag}: a key is no base64 (RFC 4568 section 6.1)")]
    Base64 {
        /// The line's.
        tag: u32,
    },
    /// A key that is not as long as the suite's.
    #[error("crypto line {tag}: {suite} takes a key and salt of {want} octets together, not {got}",
        want = suite.key_len() + suite.salt_len())]
    KeyLength {
        /// The line's.
        tag: u32,
        /// Its suite.
        suite: Suite,
        /// Octets there.
        got: usize,
    },
    /// A master key that is another's as well.
    #[error(
        "crypto line {tag}: a master key is used twice; each must be its own (RFC 4568 sections 6.1, 7.1.2)"
    )]
    RepeatedKey {
        /// The line's.
        tag: u32,
    },
    /// What the engine refuses all the same.
    #[error("crypto line {tag}: {error}")]
    Refused {
        /// The line's.
        tag: u32,
        /// Why.
        error: KeyError,
    },
    /// An answer with several crypto lines for a medium.
    #[error("an answer has one crypto line for a media line (RFC 4568 section 7.1.2)")]
    SeveralLines,
    /// An answer with a tag that was not offered.
    #[error("the answer's crypto line has the tag {tag}, which was not offered (RFC 4568 section 5.1.3)")]
    TagNotOffered {
        /// The answer's.
        tag: u32,
    },
    /// An answer with another suite than was offered.
    #[error(
        "the answer's crypto line has the tag {tag}, but not the suite that was offered with it (RFC 4568 section 5.1.3)"
    )]
    SuiteChanged {
        /// Of both.
        tag: u32,
    },
    /// A negotiated parameter of the offer that the answer does not have.
    #[error("crypto line {tag}: {name} was offered and must be in the answer (RFC 4568 section 5.1.3)")]
    ParameterNotAnswered {
        /// Of both.
        tag: u32,
        /// The parameter.
        name: &'static str,
    },
    /// A negotiated parameter of the answer that the offer does not have.
    #[error("crypto line {tag}: {name} is in the answer and was not offered (RFC 4568 section 6.3)")]
    ParameterNotOffered {
        /// Of both.
        tag: u32,
        /// The parameter.
        name: &'static str,
    },
}
