//! RTCP of an overloaded queue goes past its full ring, by the kernel's sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluice_classifier::layout;

use super::mapping::Mapping;

/// How much of a queue's RTCP the program is to pass to the kernel. For the queue's worker.
#[derive(Clone)]
pub struct Relief {
    map: Arc<Mapping>,
    offset: usize,
}

impl Relief {
    pub(super) const BYTES: usize = layout::MAX_QUEUES as usize * size_of::<layout::Relief>();

    /// `None` for a queue beyond those that the program serves.
    pub(super) fn of(map: &Arc<Mapping>, queue: u32) -> Option<Self> {
        let offset =
            queue as usize * size_of::<layout::Relief>() + std::mem::offset_of!(layout::Relief, left);
        (queue < layout::MAX_QUEUES).then(|| Self { map: Arc::clone(map), offset })
    }

    /// Lets so many RTCP packets pass, from now on.
    pub fn allow(&self, packets: u64) {
        self.map.word(self.offset).store(packets, Ordering::Relaxed);
    }

    /// How many may still pass.
    pub fn left(&self) -> u64 {
        self.map.word(self.offset).load(Ordering::Relaxed)
    }
}
