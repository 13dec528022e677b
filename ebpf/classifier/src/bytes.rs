//! Bounds-checked reading, in network byte order, from whatever holds a packet.

/// Bytes of a packet that can be read at any offset without ever leaving it.
///
/// Implemented for slices here and over `data..data_end` in the XDP program. A read that is not wholly
/// inside answers `None`; nothing panics.
pub trait Bytes {
    /// How many bytes can be read.
    fn len(&self) -> usize;

    /// The length of the packet on the wire: more than [`Bytes::len`] where a driver spread a jumbo
    /// frame over several buffers, of which only the first can be read.
    #[inline(always)]
    fn wire_len(&self) -> usize {
        self.len()
    }

    /// The `N` bytes at `offset`.
    fn array_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Whether there is nothing to read.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The byte at `offset`.
    #[inline(always)]
    fn u8_at(&self, offset: usize) -> Option<u8> {
        let [byte] = self.array_at(offset)?;
        Some(byte)
    }

    /// The big-endian 16-bit number at `offset`.
    #[inline(always)]
    fn u16_at(&self, offset: usize) -> Option<u16> {
        self.array_at(offset).map(u16::from_be_bytes)
    }

    /// The big-endian 32-bit number at `offset`.
    #[inline(always)]
    fn u32_at(&self, offset: usize) -> Option<u32> {
        self.array_at(offset).map(u32::from_be_bytes)
    }
}

impl Bytes for [u8] {
    #[inline(always)]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    #[inline(always)]
    fn array_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

impl<B: Bytes + ?Sized> Bytes for &B {
    #[inline(always)]
    fn len(&self) -> usize {
        (**self).len()
    }

    #[inline(always)]
    fn wire_len(&self) -> usize {
        (**self).wire_len()
    }

    #[inline(always)]
    fn array_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        (**self).array_at(offset)
    }
}

/// One datagram inside a larger packet: reads are relative to its start and end where it ends, so that
/// a field beyond the UDP length is never seen, even where the frame goes on (Ethernet padding).
pub(crate) struct Window<'a, B: ?Sized> {
    pub(crate) bytes: &'a B,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl<B: Bytes + ?Sized> Bytes for Window<'_, B> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn array_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N)?;
        if end > self.length {
            return None;
        }
        let at = self.start.checked_add(offset)?;
        self.bytes.array_at(at)
    }
}
