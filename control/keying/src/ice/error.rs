//! Why a datagram, a candidate or credentials were not taken.

/// Why a datagram changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceError {
    /// The datagram is no STUN message of one piece, or its FINGERPRINT is wrong or missing.
    #[error("no STUN message with a right FINGERPRINT: {0}")]
    Malformed(&'static str),
    /// The message is of another method than Binding.
    #[error("a STUN message that is no Binding: nothing else is served here")]
    NotBinding,
    /// The request has no USERNAME or no MESSAGE-INTEGRITY. It was refused with 400.
    #[error("a check without USERNAME or MESSAGE-INTEGRITY: the peer does not do ICE")]
    NoCredentials,
    /// The request is for a username fragment that is not in use.
    #[error("a check for another username fragment: that of a call that ended, or of before a restart")]
    UnknownUser,
    /// The request is from another peer than the one that signalling named.
    #[error("a check from a peer of another username fragment than signalling brought")]
    UnknownPeer,
    /// MESSAGE-INTEGRITY is not of the password. A request was refused with 401.
    #[error("MESSAGE-INTEGRITY is not of the password")]
    WrongIntegrity,
    /// The message has an attribute that has to be understood and is not. A request was refused with 420.
    #[error("attribute {0:#06x} has to be understood and is not")]
    UnknownAttribute(u16),
    /// The request lacks what RFC 8445 section 7.1 asks for, or contradicts itself. It was refused with 400.
    #[error("the check is not as RFC 8445 has it: {0}")]
    BadRequest(&'static str),
    /// Both sides had the same role and the peer has to give way. It was told by 487.
    #[error("both sides have the same role; the peer has to change its own")]
    RoleConflict,
    /// The response is to no check that is under way.
    #[error("a response to no check that is under way: it came too late, or is forged")]
    UnknownTransaction,
    /// The peer refused a check with this code.
    #[error("the peer refused the check with {0}")]
    Refused(u16),
    /// The response came from, or to, another address than the check went to, or from (RFC 8445 section 7.2.5.2.1).
    #[error("the response came by other addresses than the check")]
    NotSymmetric,
    /// The leg has no such component.
    #[error("component {0} is not in use")]
    UnknownComponent(u16),
    /// More requests came than are answered.
    #[error("more checks than are answered")]
    TooMany,
    /// Signalling brought more candidates than are kept.
    #[error("more than {} candidates", super::MAX_PEER_CANDIDATES)]
    TooManyCandidates,
}

/// Why a candidate line (RFC 8839 section 5.1) is not a candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CandidateError {
    /// The line does not follow the grammar.
    #[error("not a candidate of RFC 8839 section 5.1: {0}")]
    Malformed(&'static str),
    /// The candidate is a TCP one, or of another transport that is not UDP.
    #[error("a candidate of transport {0}: only UDP is used")]
    Transport(String),
    /// The candidate has a name for an address, such as `….local` of multicast DNS.
    #[error("a candidate with a name instead of an address")]
    Name,
    /// The candidate is of a kind that nobody here knows.
    #[error("a candidate of the unknown kind {0}")]
    Kind(String),
}

impl CandidateError {
    /// Whether the line is right and only of no use here: it is to be passed over (RFC 8839 section 5.1).
    pub fn is_ignorable(&self) -> bool {
        !matches!(self, Self::Malformed(_))
    }
}

/// Why credentials cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The username fragment is not 4 to 256 letters, digits, `+` or `/`.
    #[error("a=ice-ufrag has to have 4 to 256 letters, digits, + or / (RFC 8839 section 5.4)")]
    Ufrag,
    /// The password is not 22 to 256 letters, digits, `+` or `/`.
    #[error("a=ice-pwd has to have 22 to 256 letters, digits, + or / (RFC 8839 section 5.4)")]
    Password,
}
