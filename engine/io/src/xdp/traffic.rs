//! Programs of the bench: frames sent as a driver would hand them over, and frames sent back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aya::maps::Map;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use sluice_classifier::traffic::{self, Control, FRAME, SLOTS};

use super::XdpError;
use super::mapping::Mapping;
use super::object::{damaged, load_error};

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ebpf/program/traffic.bpf.o"));

/// Frames that are sent together.
const BURST: u32 = 64;
/// Turns of the program in one call: some tens of milliseconds, so that it is soon seen that it is to stop. Each call
/// makes a pool of pages, which is not to be done often.
const TURNS: u32 = 1 << 20;

/// Lays out frames for [`LiveFrames`] to send. One thread fills it, another one sends.
pub struct Feed {
    shared: Arc<Shared>,
    filled: u64,
}

/// Sends what a [`Feed`] holds, as live frames of `BPF_PROG_TEST_RUN`: without a socket buffer.
pub struct LiveFrames {
    ebpf: Ebpf,
    shared: Arc<Shared>,
    len: usize,
}

/// The maps' memory.
struct Shared {
    control: Mapping,
    frames: Mapping,
}

/// Frames of `len` octets each, to leave by the interface with this index, which belongs to the network namespace of the
/// thread that will send.
pub fn live_frames(interface: u32, len: usize) -> Result<(Feed, LiveFrames), XdpError> {
    if len == 0 || len >= FRAME {
        let source =
            io::Error::other(format!("frames have at least 1 octet and less than {FRAME}, not {len}"));
        return Err(XdpError::Kernel { action: "lay out frames", source });
    }
    let mut ebpf = load(traffic::GENERATE)?;
    let control = map(&mut ebpf, traffic::CONTROL, size_of::<Control>())?;
    let frames = map(&mut ebpf, traffic::FRAMES, FRAME * SLOTS as usize)?;
    let shared = Arc::new(Shared { control, frames });
    let start = Control { filled: 0, sent: 0, len: len as u32, interface };
    // SAFETY: the mapping holds a Control, aligned to a page, and nobody else looks at it yet.
    unsafe { shared.control.at().cast::<Control>().write(start) };
    Ok((Feed { shared: Arc::clone(&shared), filled: 0 }, LiveFrames { ebpf, shared, len }))
}

impl Feed {
    /// How many more frames fit.
    pub fn room(&self) -> usize {
        // Acquire: the program has read the frames before they are written over.
        let sent = self.shared.sent().load(Ordering::Acquire);
        SLOTS as usize - (self.filled - sent) as usize
    }

    /// Lays out a frame, which is sent after [`Self::publish`]; whether there was room.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.room() == 0 || frame.len() > FRAME {
            return false;
        }
        let at = (self.filled % u64::from(SLOTS)) as usize * FRAME;
        // SAFETY: the slot lies in the mapping, frame is no longer than it, and the program does not look at it before
        // `filled` covers it, nor any more: there was room.
        unsafe {
            std::ptr::copy_nonoverlapping(
                frame.as_ptr(),
                self.shared.frames.at().add(at).as_ptr(),
                frame.len(),
            );
        };
        self.filled += 1;
        true
    }

    /// Has everything sent that was laid out.
    pub fn publish(&self) {
        // Release: frames are written before the number that covers them.
        self.shared.filled().store(self.filled, Ordering::Release);
    }
}

impl LiveFrames {
    /// Sends until `stop`, on this thread, which from now on gets what time others leave it (`SCHED_IDLE`): while there
    /// is nothing to send, the program asks again and again.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), XdpError> {
        become_idle();
        while !stop.load(Ordering::Relaxed) {
            self.turn(TURNS)?;
        }
        Ok(())
    }

    /// The same with this thread's claim to the CPU as it is, for machines that have no time left. It may take a second
    /// until `stop` is seen.
    pub fn run_eagerly(&self, stop: &AtomicBool) -> Result<(), XdpError> {
        while !stop.load(Ordering::Relaxed) {
            self.turn(16 * TURNS)?;
        }
        Ok(())
    }

    fn turn(&self, turns: u32) -> Result<(), XdpError> {
        let program: Option<&Xdp> =
            self.ebpf.program(traffic::GENERATE).and_then(|program| program.try_into().ok());
        let template = [0; FRAME];
        let options = TestRunOptions {
            data_in: Some(&template[..self.len]),
            repeat: turns,
            attrs: TestRunAttrs::new().xdp_live_frames(BURST),
            ..TestRunOptions::new()
        };
        let run = program.ok_or_else(damaged)?.test_run(options);
        run.map(|_| ()).map_err(|error| XdpError::from_aya("send live frames", &error))
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent().load(Ordering::Acquire)
    }
}

impl Shared {
    fn filled(&self) -> &AtomicU64 {
        self.control.word(std::mem::offset_of!(Control, filled))
    }

    fn sent(&self) -> &AtomicU64 {
        self.control.word(std::mem::offset_of!(Control, sent))
    }
}

/// A program that sends back whatever UDP datagram comes to an interface, in the driver where it can (`XDP_TX`). Dropping
/// it ends that.
pub struct Reflector {
    _ebpf: Ebpf,
}

impl Reflector {
    /// Attaches it to the interface of this name in the network namespace of this thread.
    pub fn attach(interface: &str) -> Result<Self, XdpError> {
        let mut ebpf = load(traffic::REFLECT)?;
        let program: &mut Xdp = ebpf
            .program_mut(traffic::REFLECT)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(damaged)?;
        program
            .attach(interface, XdpMode::Driver)
            .or_else(|_| program.attach(interface, XdpMode::Skb))
            .map_err(|error| XdpError::from_aya("attach the reflecting program", &error))?;
        Ok(Self { _ebpf: ebpf })
    }
}

fn load(name: &str) -> Result<Ebpf, XdpError> {
    let mut ebpf = EbpfLoader::new()
        .load(OBJECT)
        .map_err(|error| XdpError::from_aya("create the bench's maps", &error))?;
    let program: &mut Xdp =
        ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or_else(damaged)?;
    program.load().map_err(load_error)?;
    Ok(ebpf)
}

fn map(ebpf: &mut Ebpf, name: &str, bytes: usize) -> Result<Mapping, XdpError> {
    let Some(Map::Array(data)) = ebpf.map(name) else { return Err(damaged()) };
    Mapping::of(data, bytes, "map the bench's frames")
}

fn become_idle() {
    // SAFETY: all-zero is a valid sched_param.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the structure outlives the call; 0 is this thread. Without it, others only wait longer.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
}
