//! Encrypted elements of RTP header extensions (RFC 6904).

use sluice_kernels::{CtrKey, Kernel, KeyLength};
use zeroize::{Zeroize, Zeroizing};

use super::{BlockStream, F8, Nonce, Stream};
use crate::Error;
use crate::kdf::{Label, Prf, SALT_BLOCK};
use crate::suite::Transform;
use crate::transform::counter_block;

/// Extension bodies up to this length need no memory of their own.
const COMMON: usize = 512;

/// Local identifiers of header extension elements (RFC 8285 §4.1), 1 to 255.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtensionIds([u64; 4]);

impl ExtensionIds {
    /// No identifiers.
    pub const NONE: Self = Self([0; 4]);

    /// Whether an identifier is among them.
    pub const fn contains(&self, id: u8) -> bool {
        self.0[(id / 64) as usize] >> (id % 64) & 1 == 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// The identifiers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (1..=u8::MAX).filter(|id| self.contains(*id))
    }
}

impl FromIterator<u8> for ExtensionIds {
    /// 0 is padding's, and left out.
    fn from_iter<I: IntoIterator<Item = u8>>(ids: I) -> Self {
        let mut set = Self::NONE;
        for id in ids.into_iter().filter(|id| *id != 0) {
            set.0[usize::from(id / 64)] |= 1 << (id % 64);
        }
        set
    }
}

impl std::fmt::Debug for ExtensionIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The key stream of header extensions: the payload's cipher under keys of its own (RFC 6904 §3.2), AES-CM
/// for AES-GCM (RFC 7714 §8.3), and alike for other AEADs.
pub(crate) struct ExtensionCipher {
    stream: Stream,
    salt: Zeroizing<[u64; 2]>,
}

impl ExtensionCipher {
    /// Derives k_he and k_hs, as long as key and salt of the payload. The 96 bits of an AEAD's salt are
    /// the high end of what counter mode takes, as they are for the KDF (RFC 7714 §11).
    pub(crate) fn derive(
        kernel: Kernel,
        transform: Transform,
        prf: &Prf,
        [key_len, salt_len]: [usize; 2],
        r: u64,
    ) -> Result<Self, KeyLength> {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..key_len];
        let mut salt = Zeroizing::new([0; 16]);
        prf.derive_each(
            r,
            [(Label::RtpHeaderEncryption, &mut *key), (Label::RtpHeaderSalt, &mut salt[..salt_len])],
        );
        let stream = match (transform, transform.block_cipher()) {
            (Transform::NullHmac, _) => Stream::Null,
            (Transform::F8Hmac, _) => Stream::AesF8(Box::new(F8::new(kernel, key, &salt[..SALT_BLOCK])?)),
            (_, Some(cipher)) => Stream::Block(Box::new(BlockStream::new(cipher, key)?)),
            (_, None) => Stream::AesCm(Box::new(CtrKey::new(kernel, key)?)),
        };
        let mut whole = u128::from_be_bytes(*salt);
        let halves = Zeroizing::new([(whole >> 64) as u64, whole as u64]);
        whole.zeroize();
        Ok(Self { stream, salt: halves })
    }

    /// Encrypts or decrypts the elements with these identifiers in the extension's body.
    pub(crate) fn apply(
        &self,
        kernel: Kernel,
        ids: &ExtensionIds,
        packet: &mut [u8],
        mut nonce: Nonce,
        ssrc: u32,
        index: u64,
    ) {
        let Some((at, form)) = body(packet) else { return };
        let end = at + usize::from(u16::from_be_bytes([packet[at - 2], packet[at - 1]])) * 4;
        let body = &mut packet[at..end];
        if !elements(body, form).flatten().any(|(id, _)| ids.contains(id)) {
            return;
        }
        nonce.iv = counter_block(&self.salt, 0, ssrc, index);
        let (mut common, mut long) = ([0; COMMON], Vec::new());
        let stream = common.get_mut(..body.len()).unwrap_or_else(|| {
            long.resize(body.len(), 0);
            &mut long
        });
        self.stream.apply(kernel, &nonce, stream);
        // The elements' headers stay as they are: the walk is the same before and after.
        let mut place = Element { at: 0, form };
        while let Some(Ok((id, data))) = place.next(body) {
            if ids.contains(id) {
                body[data.clone()].iter_mut().zip(&stream[data]).for_each(|(octet, key)| *octet ^= key);
            }
        }
        stream.zeroize();
    }
}

/// Refuses a packet whose extension elements run past the extension's end: which octets are encrypted would
/// be guesswork.
pub(crate) fn check(packet: &[u8]) -> Result<(), Error> {
    let Some((at, form)) = body(packet) else { return Ok(()) };
    let end = at + usize::from(u16::from_be_bytes([packet[at - 2], packet[at - 1]])) * 4;
    elements(&packet[at..end], form).try_for_each(|element| element.map(drop))
}

/// The two forms of RFC 8285.
#[derive(Clone, Copy)]
enum Form {
    OneByte,
    TwoByte,
}

/// Where the body of an extension of RFC 8285 begins, in a packet whose header was found whole.
fn body(packet: &[u8]) -> Option<(usize, Form)> {
    let at = 12 + 4 * usize::from(packet[0] & 0x0f);
    let profile = (packet[0] & 0x10 != 0).then(|| u16::from_be_bytes([packet[at], packet[at + 1]]))?;
    let form = match profile {
        0xbede => Form::OneByte,
        profile if profile & 0xfff0 == 0x1000 => Form::TwoByte,
        _ => return None,
    };
    Some((at + 4, form))
}

type Found = Result<(u8, std::ops::Range<usize>), Error>;

/// The elements of a body: identifier and data.
fn elements(body: &[u8], form: Form) -> impl Iterator<Item = Found> + '_ {
    let mut element = Element { at: 0, form };
    std::iter::from_fn(move || element.next(body))
}

/// A walk through elements.
struct Element {
    at: usize,
    form: Form,
}

impl Element {
    fn next(&mut self, body: &[u8]) -> Option<Found> {
        // Octets of zero between elements are padding.
        self.at += body.get(self.at..)?.iter().take_while(|octet| **octet == 0).count();
        let first = *body.get(self.at)?;
        let (id, header, len) = match self.form {
            // RFC 8285 §4.2: 15 ends the walk.
            Form::OneByte if first >> 4 == 15 => return None,
            Form::OneByte => (first >> 4, 1, usize::from(first & 15) + 1),
            Form::TwoByte => match body.get(self.at + 1) {
                Some(len) => (first, 2, usize::from(*len)),
                None => return Some(self.fail(body)),
            },
        };
        let data = self.at + header..self.at + header + len;
        if data.end > body.len() {
            return Some(self.fail(body));
        }
        self.at = data.end;
        Some(Ok((id, data)))
    }

    fn fail(&mut self, body: &[u8]) -> Found {
        self.at = body.len();
        Err(Error::ExtensionLength)
    }
}
