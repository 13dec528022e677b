//! A `ClientHello` (RFC 6347 section 4.3.2, RFC 8446 section 4.1.2), as far as it decides who answers it.

use super::wire::number;

/// What of a `ClientHello` decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    pub(super) legacy_version: u16,
    pub(super) random: [u8; 32],
    pub(super) session_id: Vec<u8>,
    pub(super) cookie: Vec<u8>,
    /// Of `supported_versions`; none without it.
    pub(super) versions: Vec<u16>,
    pub(super) groups: Vec<u16>,
    pub(super) signatures: Vec<u16>,
    /// Of `use_srtp`.
    pub(super) profiles: Vec<u16>,
    /// Whether a session ticket is offered.
    pub(super) ticket: bool,
    /// Whether the cookie extension of 1.3 is there.
    pub(super) cookie_extension: bool,
}

/// What the beginning of a `ClientHello` has, which the first of its fragments is enough for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening<'a> {
    pub(super) version: u16,
    pub(super) random: &'a [u8],
    pub(super) session_id: &'a [u8],
    pub(super) cookie: &'a [u8],
}

impl<'a> Opening<'a> {
    /// Reads it; none if it is not whole.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        Self::split(body).map(|(opening, _)| opening)
    }

    fn split(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut rest = body;
        let version = number(take(&mut rest, 2)?) as u16;
        let random = take(&mut rest, 32)?;
        let session_id = vector(&mut rest, 1)?;
        let cookie = vector(&mut rest, 1)?;
        Some((Self { version, random, session_id, cookie }, rest))
    }
}

impl ClientHello {
    /// Reads a body; none if it is not what it says.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (opening, mut rest) = Opening::split(body)?;
        let mut hello = Self {
            legacy_version: opening.version,
            random: opening.random.try_into().ok()?,
            session_id: opening.session_id.to_vec(),
            cookie: opening.cookie.to_vec(),
            ..Self::default()
        };
        let _cipher_suites = vector(&mut rest, 2)?;
        let _compression = vector(&mut rest, 1)?;
        if rest.is_empty() {
            return Some(hello);
        }
        let mut extensions = vector(&mut rest, 2)?;
        while !extensions.is_empty() {
            let kind = number(take(&mut extensions, 2)?);
            let data = vector(&mut extensions, 2)?;
            hello.take_extension(kind, data)?;
        }
        Some(hello)
    }

    fn take_extension(&mut self, kind: u64, mut data: &[u8]) -> Option<()> {
        match kind {
            10 => self.groups = numbers(vector(&mut data, 2)?),
            13 => self.signatures = numbers(vector(&mut data, 2)?),
            14 => self.profiles = numbers(vector(&mut data, 2)?),
            35 => self.ticket = !data.is_empty(),
            43 => self.versions = numbers(vector(&mut data, 1)?),
            44 => self.cookie_extension = true,
            _ => {}
        }
        Some(())
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// A vector behind its length, which has so many octets.
fn vector<'a>(bytes: &mut &'a [u8], octets: usize) -> Option<&'a [u8]> {
    let length = number(take(bytes, octets)?);
    take(bytes, usize::try_from(length).ok()?)
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| number(pair) as u16).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The body of a `ClientHello` with these extensions.
    pub(in super::super) fn body(random: u8, cookie: &[u8], extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([random; 32]);
        body.push(0);
        body.push(cookie.len() as u8);
        body.extend(cookie);
        body.extend([0, 2, 0xc0, 0x2b, 1, 0]);
        let mut all = Vec::new();
        for (kind, data) in extensions {
            all.extend(kind.to_be_bytes());
            all.extend((data.len() as u16).to_be_bytes());
            all.extend(*data);
        }
        body.extend((all.len() as u16).to_be_bytes());
        body.extend(all);
        body
    }

    #[test]
    fn what_decides_is_read() {
        let extensions: [(u16, &[u8]); 4] = [
            (43, &[4, 0xfe, 0xfc, 0xfe, 0xfd]),
            (14, &[0, 4, 0, 7, 0, 1, 0]),
            (13, &[0, 2, 4, 3]),
            (35, &[]),
        ];
        let hello = ClientHello::read(&body(9, &[1, 2], &extensions)).unwrap();
        assert_eq!(hello.random, [9; 32]);
        assert_eq!(hello.cookie, [1, 2]);
        assert_eq!(hello.versions, [0xfefc, 0xfefd]);
        assert_eq!(hello.profiles, [7, 1]);
        assert_eq!(hello.signatures, [0x0403]);
        assert!(!hello.ticket);
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let whole = body(9, &[1, 2], &[(14, &[0, 4, 0, 7, 0, 1, 0])]);
        for length in 0..whole.len() {
            let read = ClientHello::read(&whole[..length]);
            // Cut before the extensions it is one that has none.
            assert!(read.is_none_or(|hello| hello.profiles.is_empty()), "{length}");
        }
    }
}
