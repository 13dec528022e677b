//! Why a packet was refused.

/// The reason, exact enough to count by; `Copy`, so that it can index a counter array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
#[repr(u8)]
pub enum Error {
    /// Shorter than its header, or than header, tag and MKI together.
    #[error("packet too short")]
    TooShort,
    /// The RTP version is not 2.
    #[error("RTP version is not 2")]
    Version,
    /// The CSRC list runs past the packet's end.
    #[error("CSRC count exceeds the packet")]
    CsrcCount,
    /// The header extension runs past the packet's end.
    #[error("header extension exceeds the packet")]
    ExtensionLength,
    /// A packet to be sent under cryptex has an extension that is marked as encrypted already (RFC 9335 §5), so
    /// that its receiver would decrypt what nobody encrypted; or one that is not of RFC 8285 and would have to
    /// go in the clear, where the session negotiated that none does.
    #[error("cryptex cannot encrypt a header extension of this profile")]
    ExtensionProfile,
    /// The buffer has no room for tag, index and MKI.
    #[error("buffer lacks tailroom for tag, index and MKI")]
    NoTailroom,
    /// A packet with this index was accepted before (RFC 3711 §3.3.2).
    #[error("replayed packet")]
    Replayed,
    /// The index lies before the replay window; it can be neither accepted nor called a replay.
    #[error("packet older than the replay window")]
    TooOld,
    /// No key of the context gives this tag.
    #[error("authentication failed")]
    AuthFailed,
    /// The packet's MKI names none of the context's keys.
    #[error("unknown MKI")]
    UnknownMki,
    /// The key has protected as many packets as its lifetime allows (RFC 3711 §9.2), or the packet's index is
    /// none that the key is for (§8.1.1).
    #[error("key lifetime over")]
    KeyExpired,
    /// Sending this packet would use an index twice under one key: a two-time pad.
    #[error("sender index already used")]
    IndexReused,
    /// The packet's SSRC is not the context's.
    #[error("SSRC is not the context's")]
    WrongSsrc,
    /// SRTCP that is not encrypted, or a header without cryptex, where the session negotiated it.
    #[error("SRTCP packet or RTP header is not encrypted")]
    NotEncrypted,
    /// The context has no key to protect with.
    #[error("no key")]
    NoKey,
    /// Longer than the cipher allows under one initialization vector.
    #[error("packet too long for the cipher")]
    TooLong,
}

impl Error {
    /// How many reasons there are.
    pub const COUNT: usize = Self::TooLong as usize + 1;
}
