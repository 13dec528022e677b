//! Sends under way: memory that must stay in place until the kernel is done with it.

use io_uring::squeue::Entry;

use super::address::{NAME_LEN, encode, traffic_class};
use super::files::Target;
use crate::{Frame, TxMeta};

/// How often a send is tried again. News of another datagram makes a send fail, and each failure takes one piece of
/// news away.
const RETRIES: u8 = 3;

/// One `sendmsg`: header, vector, address, control message, and the frame that it sends.
struct Slot {
    header: libc::msghdr,
    vector: libc::iovec,
    name: [u8; NAME_LEN],
    control: [u64; 3],
    frame: Option<Frame>,
    /// How often it was tried again.
    retries: u8,
}

/// A fixed number of slots that never move.
pub(super) struct Sends {
    slots: Box<[Slot]>,
    free: Vec<u32>,
}

// SAFETY: the pointers in a slot point into the slot itself or into the frame that it owns.
unsafe impl Send for Sends {}

impl Sends {
    pub(super) fn new(slots: u32) -> Self {
        let slot = |_| Slot {
            // SAFETY: all-zero is a valid msghdr: null pointers and lengths of 0.
            header: unsafe { std::mem::zeroed() },
            vector: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
            name: [0; NAME_LEN],
            control: [0; 3],
            frame: None,
            retries: 0,
        };
        Self { slots: (0..slots).map(slot).collect(), free: (0..slots).rev().collect() }
    }

    /// What it takes.
    pub(super) const fn bytes(slots: u32) -> usize {
        slots as usize * (size_of::<Slot>() + size_of::<u32>())
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Sends on their way.
    pub(super) fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Fills a slot and builds its entry; gives the frame back if no slot is free.
    #[allow(clippy::result_large_err, reason = "the error is the frame itself, which must not be lost")]
    pub(super) fn prepare(
        &mut self,
        socket: Target,
        meta: &TxMeta,
        mut frame: Frame,
    ) -> Result<(u32, Entry), Frame> {
        let Some(number) = self.free.pop() else { return Err(frame) };
        let slot = &mut self.slots[number as usize];
        let payload = frame.payload_mut();
        slot.vector = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
        let (name, name_len) = encode(meta.remote);
        slot.name = name;
        slot.header.msg_name = slot.name.as_mut_ptr().cast();
        slot.header.msg_namelen = name_len as u32;
        slot.header.msg_iov = &raw mut slot.vector;
        slot.header.msg_iovlen = 1;
        if meta.dscp == 0 {
            (slot.header.msg_control, slot.header.msg_controllen) = (std::ptr::null_mut(), 0);
        } else {
            slot.control = traffic_class(meta.remote.is_ipv6(), meta.dscp);
            slot.header.msg_control = slot.control.as_mut_ptr().cast();
            slot.header.msg_controllen = size_of_val(&slot.control);
        }
        (slot.frame, slot.retries) = (Some(frame), 0);
        Ok((number, socket.send(&raw const slot.header)))
    }

    /// What a send sends.
    pub(super) fn frame(&self, number: u32) -> Option<&Frame> {
        self.slots.get(number as usize)?.frame.as_ref()
    }

    /// The entry of a send that failed through no fault of its own; `None` if that happened too often.
    pub(super) fn again(&mut self, number: u32, socket: Target) -> Option<Entry> {
        let slot = self.slots.get_mut(number as usize).filter(|slot| slot.frame.is_some())?;
        slot.retries += 1;
        (slot.retries <= RETRIES).then(|| socket.send(&raw const slot.header))
    }

    /// Ends a send and gives its frame back.
    pub(super) fn finish(&mut self, number: u32) -> Option<Frame> {
        let frame = self.slots.get_mut(number as usize)?.frame.take()?;
        self.free.push(number);
        Some(frame)
    }
}
