//! The XDP program: the shared classifier over the packet that the driver hands us, and the maps.
//!
//! Everything that is decided is decided by [`sluice_classifier::decide`]; here are only the reading of
//! packet memory in the form that the verifier can follow, the lookup of legs, the counters and the
//! redirect. Where no AF_XDP socket serves the receive queue every frame passes to the kernel, so that a
//! program whose daemon died takes nothing away.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT};
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;
use sluice_classifier::layout::{MAX_LEGS, MAX_QUEUES, MMAPABLE, Relief};
use sluice_classifier::{Action, Bytes, Counter, LegEntry, LocalKey, decide};

/// `BPF_F_NO_PREALLOC`: an entry that is removed stays readable until the programs that look at it have
/// ended, instead of being given to another key at once.
const NO_PREALLOC: u32 = 1;
/// The longest offset that is ever read at: headers of 14 + 8 + 40 + 4 * 2048 octets and one datagram
/// end far below. The verifier asks for a bound of at most 65535.
const MAX_OFFSET: usize = 0x7fff;

#[map]
static LEGS: HashMap<LocalKey, LegEntry> = HashMap::with_max_entries(MAX_LEGS, NO_PREALLOC);
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT as u32, 0);
#[map]
static RELIEF: Array<Relief> = Array::with_max_entries(MAX_QUEUES, MMAPABLE);

#[xdp(frags)]
pub fn sluice(ctx: XdpContext) -> u32 {
    let (action, counter) = decide(&Packet::new(&ctx), lookup);
    count(counter);
    match action {
        Action::Pass => XDP_PASS,
        Action::Redirect if counter == Counter::Rtcp && may_go_aside(&ctx) => {
            count(Counter::RtcpAside);
            XDP_PASS
        }
        Action::Redirect if redirect(&ctx) => XDP_REDIRECT,
        Action::Drop if SOCKETS.get(ctx.rx_queue_index()).is_some() => XDP_DROP,
        Action::Redirect | Action::Drop => {
            count(Counter::NoSocket);
            XDP_PASS
        }
    }
}

#[inline(always)]
fn redirect(ctx: &XdpContext) -> bool {
    matches!(SOCKETS.redirect(ctx.rx_queue_index(), XDP_PASS as u64), Ok(XDP_REDIRECT))
}

/// Whether the queue's worker, which is overloaded, wants its RTCP by the kernel's sockets.
#[inline(always)]
fn may_go_aside(ctx: &XdpContext) -> bool {
    let Some(relief) = RELIEF.get_ptr_mut(ctx.rx_queue_index()) else { return false };
    // SAFETY: the pointer is to a value of the map, which lives as long as the program. A queue's frames are processed
    // one at a time; what its worker writes meanwhile makes the count wrong by one at most.
    unsafe {
        let left = read_volatile(&raw const (*relief).left);
        if left == 0 {
            return false;
        }
        write_volatile(&raw mut (*relief).left, left - 1);
    }
    true
}

#[inline(always)]
fn lookup(key: &LocalKey) -> Option<LegEntry> {
    // SAFETY: `NO_PREALLOC` keeps the entry from being reused while the program runs, and user space
    // replaces entries instead of writing into them.
    unsafe { LEGS.get(key) }.copied()
}

#[inline(always)]
fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter.index()) {
        // SAFETY: the pointer is to this CPU's slot, and XDP programs are not preempted by one another
        // on a CPU.
        unsafe { *value += 1 };
    }
}

/// The first buffer of a frame.
struct Packet {
    start: usize,
    end: usize,
    wire_len: usize,
}

impl Packet {
    #[inline(always)]
    fn new(ctx: &XdpContext) -> Self {
        // SAFETY: the context is the one that the kernel called us with.
        let wire_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize;
        Self { start: ctx.data(), end: ctx.data_end(), wire_len }
    }
}

impl Bytes for Packet {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn wire_len(&self) -> usize {
        self.wire_len
    }

    #[inline(always)]
    fn array_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // The verifier wants the bound on the very register that is added to the packet pointer, and the
        // comparison with the end on the very pointer that is read through. `opaque` keeps the optimiser
        // from folding either into something equal but harder to prove.
        let offset = opaque(offset);
        if offset > MAX_OFFSET {
            return None;
        }
        let at = opaque(self.start + offset);
        if at + N > self.end {
            return None;
        }
        // SAFETY: `at..at + N` lies between the start and the end of the packet; the verifier checks it
        // once more. `[u8; N]` has no alignment and no invalid values.
        Some(unsafe { *(at as *const [u8; N]) })
    }
}

/// The value itself, of which the optimiser knows nothing.
#[inline(always)]
fn opaque(mut value: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in the classifier panics; the optimiser removes this.
    loop {}
}
