//! The inner transform of double suites (RFC 8723 §5): AES-GCM over the payload and a header without extension.

use super::{MAX_TAG, Nonce};
use crate::perc::{INNER_LEN, INNER_TAG, OriginalHeader};
use crate::{Error, Inbound, Kind, SessionKeys};

/// Octets of a fixed header with as many CSRCs as there can be.
const MAX_HEADER: usize = 12 + 15 * 4;

/// The header that is authenticated end to end: the original one without its extension.
fn synthetic(packet: &[u8], block: OriginalHeader) -> ([u8; MAX_HEADER], usize) {
    let len = 12 + 4 * usize::from(packet[0] & 0x0f);
    let mut header = [0; MAX_HEADER];
    header[..len].copy_from_slice(&packet[..len]);
    block.restore(&mut header);
    (header, len)
}

/// Encrypts the payload, which is octets `clear` to `end`, and appends tag and an empty block; where that ends.
/// The packet has the room.
pub(super) fn seal(
    inner: &SessionKeys,
    packet: &mut [u8],
    [clear, end]: [usize; 2],
    ssrc: u32,
    index: u64,
) -> Option<usize> {
    let (header, len) = synthetic(packet, OriginalHeader::default());
    let nonce = nonce(inner, &header, ssrc, index);
    let (data, rest) = packet[clear..].split_at_mut(end - clear);
    let sealed = inner.direction(Kind::Rtp).cipher.seal(
        inner.kernel(),
        &nonce,
        &header[..len],
        data,
        &mut rest[..INNER_TAG],
    );
    rest[INNER_TAG] = 0;
    sealed.then_some(end + INNER_LEN)
}

/// What the inner transform found.
pub(super) struct Opened {
    /// Where the payload ends.
    pub(super) end: usize,
    /// The index that the endpoint sent it with.
    pub(super) index: u64,
    /// The marker bit that it sent.
    pub(super) marker: bool,
}

/// Checks and decrypts octets `clear` to `end` of a packet that came out of the outer transform, where it had the
/// index `outer`. On an error they
/// are as they were.
pub(super) fn open(
    inner: &SessionKeys,
    context: &Inbound,
    packet: &mut [u8],
    [clear, end]: [usize; 2],
    ssrc: u32,
    outer: u64,
) -> Result<Opened, Error> {
    let (block, block_len) = OriginalHeader::read(&packet[clear..end])?;
    let end = end - block_len;
    let data_end = end.checked_sub(INNER_TAG).filter(|end| *end >= clear).ok_or(Error::TooShort)?;
    let (header, len) = synthetic(packet, block);
    let index = {
        let outer = block.sequence.is_none().then_some(outer);
        context.estimate_inner(u16::from_be_bytes([header[2], header[3]]), outer)?
    };
    let nonce = nonce(inner, &header, ssrc, index);
    let mut tag = [0; MAX_TAG];
    tag[..INNER_TAG].copy_from_slice(&packet[data_end..end]);
    let cipher = &inner.direction(Kind::Rtp).cipher;
    let data = &mut packet[clear..data_end];
    if !cipher.open(inner.kernel(), &nonce, &header[..len], data, &tag[..INNER_TAG]) {
        return Err(Error::AuthFailed);
    }
    Ok(Opened { end: data_end, index, marker: header[1] & 0x80 != 0 })
}

fn nonce(inner: &SessionKeys, header: &[u8], ssrc: u32, index: u64) -> Nonce {
    let roc = ((index >> 16) as u32).to_be_bytes();
    Nonce::new(inner.direction(Kind::Rtp).iv(ssrc, index), Kind::Rtp, header, roc)
}
