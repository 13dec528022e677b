//! The bench's two programs: one sends frames that user space has laid out, one sends back what comes.
//!
//! `generate` runs on live frames of BPF_PROG_TEST_RUN, so that they reach the device under test as frames of a driver,
//! not as socket buffers that its end would have to convert. `reflect` is the least that a forwarder can do.
#![no_std]
#![no_main]

use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::{bpf_redirect, bpf_xdp_store_bytes};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use sluice_classifier::layout::MMAPABLE;
use sluice_classifier::traffic::{Control, FRAME, SLOTS};

#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, MMAPABLE);
#[map]
static FRAMES: Array<[u8; FRAME]> = Array::with_max_entries(SLOTS, MMAPABLE);

/// Octets of Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;

#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    let Some(control) = CONTROL.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: the pointer is to the map's only value, which lives as long as the program; user space writes `filled`,
    // this program, which runs on one CPU at a time, writes `sent`.
    let (filled, sent, len, interface) = unsafe {
        (
            read_volatile(&raw const (*control).filled),
            (*control).sent,
            (*control).len,
            (*control).interface,
        )
    };
    if sent == filled {
        return XDP_DROP;
    }
    let Some(frame) = FRAMES.get_ptr(sent as u32 % SLOTS) else { return XDP_ABORTED };
    // A mask, because the verifier follows it; lengths are below FRAME.
    let len = len & (FRAME as u32 - 1);
    if len == 0 {
        return XDP_ABORTED;
    }
    // SAFETY: the context is ours, and the value has FRAME octets; the verifier checks it once more.
    let stored = unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, frame as *mut c_void, len) };
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*control).sent, sent + 1) };
    if stored != 0 {
        return XDP_ABORTED;
    }
    // SAFETY: no memory is passed.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

#[xdp]
pub fn reflect(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + HEADERS > ctx.data_end() {
        return XDP_PASS;
    }
    let at = start as *mut u8;
    // SAFETY: HEADERS octets from the start lie in the packet; the verifier checks it once more.
    unsafe {
        let ipv4 = *at.add(12) == 8 && *at.add(13) == 0 && *at.add(14) == 0x45;
        if !ipv4 || *at.add(23) != 17 {
            return XDP_PASS;
        }
        // Sums do not change by swapping.
        swap::<6>(at, at.add(6));
        swap::<4>(at.add(26), at.add(30));
        swap::<2>(at.add(34), at.add(36));
    }
    XDP_TX
}

/// Swaps N octets at two places that do not overlap.
#[inline(always)]
unsafe fn swap<const N: usize>(a: *mut u8, b: *mut u8) {
    for n in 0..N {
        // SAFETY: the caller's.
        unsafe {
            let (left, right) = (read_volatile(a.add(n)), read_volatile(b.add(n)));
            write_volatile(a.add(n), right);
            write_volatile(b.add(n), left);
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here panics; the optimiser removes this.
    loop {}
}
