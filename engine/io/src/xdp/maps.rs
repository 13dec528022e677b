//! The program's maps from user space: legs, sockets, counters, relief.

use std::ops::Index;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::{Ebpf, Pod};
use sluice_classifier::{Counter, LegEntry, LocalKey, layout};

use super::mapping::Mapping;
use super::object::damaged;
use super::{Relief, XdpError, error::kernel_answer};

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Key(LocalKey);
// SAFETY: `LocalKey` is `repr(C)` of byte arrays only: no padding, no pointers, any bytes are valid.
unsafe impl Pod for Key {}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value(LegEntry);
// SAFETY: `LegEntry` is `repr(C)` of two `u32` and a `Policy` of three `u64`: no implicit padding, no
// pointers, any bytes are valid.
unsafe impl Pod for Value {}
const _: () = assert!(size_of::<Value>() == 4 + 4 + 8 + 16 && size_of::<Key>() == 20);

/// The maps of one loaded program.
pub struct Maps {
    legs: HashMap<MapData, Key, Value>,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, u64>,
    relief: Arc<Mapping>,
    max_legs: u32,
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf, max_legs: u32) -> Result<Self, XdpError> {
        let mut take = |name| ebpf.take_map(name).ok_or_else(damaged);
        let (legs, sockets, counters) =
            (take(layout::LEGS)?, take(layout::SOCKETS)?, take(layout::COUNTERS)?);
        let Map::Array(relief) = take(layout::RELIEF)? else { return Err(damaged()) };
        let relief = Mapping::of(&relief, Relief::BYTES, "map the XDP program's allowances")?;
        Ok(Self {
            legs: HashMap::try_from(legs).map_err(|_| damaged())?,
            sockets: XskMap::try_from(sockets).map_err(|_| damaged())?,
            counters: PerCpuArray::try_from(counters).map_err(|_| damaged())?,
            relief: Arc::new(relief),
            max_legs,
        })
    }

    /// Makes a local port known, or changes what is known of it; the next frame sees it.
    pub fn insert_leg(&mut self, local: impl Into<LocalKey>, entry: LegEntry) -> Result<(), XdpError> {
        self.legs.insert(Key(local.into()), Value(entry), 0).map_err(|error| {
            match kernel_answer(&error).raw_os_error() {
                Some(libc::E2BIG) => XdpError::LegsFull { max: self.max_legs },
                _ => XdpError::from_aya("tell the XDP program about a leg", &error),
            }
        })
    }

    /// Forgets a local port: its media passes to the kernel again. Says whether it was known.
    pub fn remove_leg(&mut self, local: impl Into<LocalKey>) -> Result<bool, XdpError> {
        match self.legs.remove(&Key(local.into())) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(XdpError::from_aya("make the XDP program forget a leg", &error)),
        }
    }

    /// How many local ports the program knows.
    pub fn legs(&self) -> usize {
        self.legs.keys().flatten().count()
    }

    /// Gives media of a receive queue to an AF_XDP socket, which must have its receive ring and be bound
    /// to that queue.
    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        self.sockets
            .set(queue, socket, 0)
            .map_err(|error| socket_error(queue, "give a receive queue to its AF_XDP socket", &error))
    }

    /// Lets everything of a receive queue pass to the kernel again.
    pub fn clear_socket(&mut self, queue: u32) -> Result<(), XdpError> {
        match self.sockets.unset(queue) {
            Err(error) if !is_absent(&error) => {
                Err(socket_error(queue, "take a receive queue from its AF_XDP socket", &error))
            }
            _ => Ok(()),
        }
    }

    /// By which the worker of a receive queue, while it is overloaded, has RTCP pass to the kernel; `None` if there is
    /// no such queue.
    pub fn relief(&self, queue: u32) -> Option<Relief> {
        Relief::of(&self.relief, queue)
    }

    /// The counters since the program was loaded, summed over all CPUs.
    pub fn counters(&self) -> Result<Counters, XdpError> {
        let mut sums = Counters::default();
        for counter in Counter::ALL {
            let per_cpu = self
                .counters
                .get(&counter.index(), 0)
                .map_err(|error| XdpError::from_aya("read the XDP program's counters", &error))?;
            sums.0[counter as usize] = per_cpu.iter().sum();
        }
        Ok(sums)
    }
}

fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound | MapError::ElementNotFound)
        || kernel_answer(error).raw_os_error() == Some(libc::ENOENT)
}

fn socket_error(queue: u32, action: &'static str, error: &MapError) -> XdpError {
    match error {
        MapError::OutOfBounds { max_entries, .. } => XdpError::NoSuchQueue { queue, max: *max_entries },
        other => XdpError::from_aya(action, other),
    }
}

/// Frames by what the program did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Counter::COUNT]);

impl Counters {
    /// Each counter with its value, in the order of [`Counter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.into_iter().zip(self.0)
    }

    /// Frames that the program has seen.
    pub fn frames(&self) -> u64 {
        self.iter().filter(|(counter, _)| !counter.is_beside()).map(|(_, count)| count).sum()
    }
}

impl Index<Counter> for Counters {
    type Output = u64;

    fn index(&self, counter: Counter) -> &u64 {
        &self.0[counter as usize]
    }
}
