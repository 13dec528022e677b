//! Nothing is allocated per packet, good or bad. Alone in its file: the count is the process's.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use sluice_srtp::{
    Inbound, Job, Kind, MAX_OVERHEAD, Omit, Outbound, ReplayWindow, Suite, protect, unprotect,
};
use support::{Random, keys};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: hands every call on to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's duties are those of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System::alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const SSRC: u32 = 7;
const BATCH: usize = 32;

#[test]
fn packets_allocate_nothing() {
    let mut random = Random(3);
    for suite in Suite::ALL {
        let keys = keys(suite, &vec![9; suite.key_len() + suite.salt_len()], b"", Omit::default());
        let mut outbound = [Outbound::new(SSRC, keys.clone(), 0)];
        let mut inbound = [Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 0)];
        let mut sequence = 65_500_u16;
        for kind in [Kind::Rtp, Kind::Rtcp] {
            for round in 0..20 {
                let mut buffers: Vec<(Vec<u8>, usize)> = (0..BATCH)
                    .map(|_| {
                        sequence = sequence.wrapping_add(1);
                        let plain = match kind {
                            Kind::Rtp => random.rtp(SSRC, sequence, 1200),
                            Kind::Rtcp => random.rtcp(SSRC),
                        };
                        ([&plain[..], &[0; MAX_OVERHEAD]].concat(), plain.len())
                    })
                    .collect();
                let mut jobs: Vec<Job<'_>> =
                    buffers.iter_mut().map(|(buffer, len)| Job::new(0, kind, buffer, *len)).collect();

                let before = ALLOCATIONS.load(Ordering::Relaxed);
                protect(&mut outbound[..], &mut jobs);
                for job in jobs.iter_mut().step_by(3) {
                    job.packet[job.len - 1] ^= 1;
                }
                unprotect(&mut inbound[..], &mut jobs);
                // A stream of a double suite has a second replay list, of its own memory.
                let plain = suite.half().is_none();
                let provisional =
                    plain.then(|| Inbound::new(SSRC + 1, keys.clone(), ReplayWindow::default(), 0));
                let after = ALLOCATIONS.load(Ordering::Relaxed);

                drop(provisional);
                assert_eq!(after - before, 0, "{suite} {kind:?} round {round}");
                let forged = jobs.iter().filter(|job| job.result.is_err()).count();
                assert_eq!(forged, BATCH.div_ceil(3), "the others were read");
            }
        }
    }
}
