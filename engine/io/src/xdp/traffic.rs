//! Programs of the bench: frames sent as a driver would hand them over, and frames sent back.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

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
/// Turns of the program in one call: minutes. Between two calls the kernel takes a pool of pages down, in which time
/// (20 ms were seen) nothing is sent, and what has come to be due is a burst. A signal ends a call early.
const TURNS: u32 = u32::MAX;
/// The signal; it does nothing else.
const WAKE: libc::c_int = libc::SIGUSR2;
/// How often the thread is told that it is to end: once may be just before it would be heard.
const INSISTENCE: Duration = Duration::from_millis(1);

/// Lays out frames for [`LiveFrames`] to send. One thread fills it, another one sends.
pub struct Feed {
    shared: Shared,
    filled: u64,
}

/// Sends what a [`Feed`] holds, as live frames of `BPF_PROG_TEST_RUN`: without a socket buffer.
pub struct LiveFrames {
    ebpf: Ebpf,
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
    let shared = Shared { control, frames };
    let start = Control { filled: 0, sent: 0, len: len as u32, interface };
    // SAFETY: the mapping holds a Control, aligned to a page, and nobody else looks at it yet.
    unsafe { shared.control.at().cast::<Control>().write(start) };
    Ok((Feed { shared, filled: 0 }, LiveFrames { ebpf, len }))
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
    /// Sends on a thread of its own, in the network namespace and on the CPUs of the calling one, until the sending is
    /// dropped. While there is nothing to send, the program asks again and again.
    pub fn send(self, claim: Claim) -> Result<Sending, XdpError> {
        let failed = |action| move |source| XdpError::Kernel { action, source };
        listen().map_err(failed("have a signal end live frames"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            match claim {
                Claim::Leftovers => become_idle(),
                // Without it, others only have less time.
                Claim::Nice(steps) => drop(rustix::process::nice(steps)),
            }
            while !stopped.load(Ordering::Relaxed) {
                match self.turn() {
                    Err(_) if stopped.load(Ordering::Relaxed) => break,
                    turn => turn?,
                }
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("generator".into()).spawn(work);
        Ok(Sending { stop, thread: Some(thread.map_err(failed("start a thread"))?) })
    }

    fn turn(&self) -> Result<(), XdpError> {
        let program: Option<&Xdp> =
            self.ebpf.program(traffic::GENERATE).and_then(|program| program.try_into().ok());
        let template = [0; FRAME];
        let options = TestRunOptions {
            data_in: Some(&template[..self.len]),
            repeat: TURNS,
            attrs: TestRunAttrs::new().xdp_live_frames(BURST),
            ..TestRunOptions::new()
        };
        let run = program.ok_or_else(damaged)?.test_run(options);
        run.map(|_| ()).map_err(|error| XdpError::from_aya("send live frames", &error))
    }
}

/// What claim a sender has to its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The time that others leave it (`SCHED_IDLE`).
    Leftovers,
    /// A share, by so many steps of niceness less than others'.
    Nice(i32),
}

/// Live frames that are being sent. Dropping it ends that.
pub struct Sending {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), XdpError>>>,
}

impl Sending {
    /// An error if it ended by itself.
    pub fn check(&mut self) -> Result<(), XdpError> {
        let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) else { return Ok(()) };
        let panicked = |_| {
            let source = io::Error::other("its thread panicked");
            Err(XdpError::Kernel { action: "send live frames", source })
        };
        thread.join().unwrap_or_else(panicked)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.stop.store(true, Ordering::Relaxed);
        while !thread.is_finished() {
            // SAFETY: the thread has not been joined, so that its name is valid. It has a handler for the signal.
            unsafe { libc::pthread_kill(thread.as_pthread_t(), WAKE) };
            std::thread::sleep(INSISTENCE);
        }
        // What it says does not matter any more.
        let _ = thread.join();
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

/// Has the signal end system calls, and do nothing else.
fn listen() -> io::Result<()> {
    extern "C" fn heard(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = heard;
    // SAFETY: all-zero is a valid sigaction: no flags, which is to say that calls are not restarted, and no mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler lives for ever and touches nothing; the action outlives the call.
    let done = unsafe { libc::sigaction(WAKE, &raw const action, std::ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
