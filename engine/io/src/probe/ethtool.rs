//! The ethtool ioctl (linux/ethtool.h): driver, queues, receive-side scaling.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_DRIVER: u32 = 0x0000_0003;
const GET_HASH: u32 = 0x0000_0029;
const GET_INDIRECTION: u32 = 0x0000_0038;
const GET_CHANNELS: u32 = 0x0000_003c;
/// Entries of a table that are believed; the largest known tables have 2048.
const MAX_INDIRECTION: usize = 4096 - 128;

/// A network interface, by name.
pub struct Nic {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

/// Queues of an interface (`ethtool -l`): in use, and the most that there can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Queues that receive: receive-only ones and combined ones.
    pub receive: u32,
    /// Queues that send: send-only ones and combined ones.
    pub send: u32,
    /// The most that can receive.
    pub most_receive: u32,
    /// The most that can receive and send.
    pub most_combined: u32,
}

/// What receive-side scaling hashes of a UDP packet (`ethtool -n NAME rx-flow-hash udp4`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(u64);

impl FlowHash {
    /// Source and destination address, and both ports: what tells flows apart.
    pub const fn is_of_flows(self) -> bool {
        const ALL: u64 = 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7;
        self.0 & ALL == ALL
    }
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpFlow {
    /// UDP over IPv4.
    V4 = 0x02,
    /// UDP over IPv6.
    V6 = 0x06,
}

#[repr(C)]
struct RawHash {
    command: u32,
    flow: u32,
    fields: u64,
    _rest: [u64; 22],
}

#[repr(C)]
struct Driver {
    command: u32,
    name: [u8; 32],
    _rest: [u8; 160],
}

#[repr(C)]
#[derive(Default)]
struct RawChannels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

#[repr(C)]
struct Indirection {
    command: u32,
    size: u32,
    entries: [u32; MAX_INDIRECTION],
}

impl Nic {
    /// An interface of this network namespace.
    pub fn open(name: &str) -> io::Result<Self> {
        let mut field = [0; libc::IFNAMSIZ];
        if name.is_empty() || name.len() >= field.len() || name.contains('\0') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (place, byte) in field.iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, name: field })
    }

    /// The driver's name.
    pub fn driver(&self) -> io::Result<String> {
        let mut answer = Driver { command: GET_DRIVER, name: [0; 32], _rest: [0; 160] };
        self.call(&mut answer)?;
        let end = answer.name.iter().position(|byte| *byte == 0).unwrap_or(answer.name.len());
        Ok(String::from_utf8_lossy(&answer.name[..end]).into_owned())
    }

    /// The interface's queues.
    pub fn channels(&self) -> io::Result<Channels> {
        let mut raw = RawChannels { command: GET_CHANNELS, ..RawChannels::default() };
        self.call(&mut raw)?;
        Ok(Channels {
            receive: raw.rx.saturating_add(raw.combined),
            send: raw.tx.saturating_add(raw.combined),
            most_receive: raw.max_rx.saturating_add(raw.max_combined),
            most_combined: raw.max_combined,
        })
    }

    /// The queues that receive-side scaling spreads flows over: the distinct entries of the indirection
    /// table, sorted.
    pub fn spread(&self) -> io::Result<Vec<u32>> {
        let entries = [0; MAX_INDIRECTION];
        let mut table = Indirection { command: GET_INDIRECTION, size: 0, entries };
        // With size 0 the kernel only tells the size.
        self.call(&mut table)?;
        let size = table.size as usize;
        if size == 0 || size > MAX_INDIRECTION {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.call(&mut table)?;
        let mut queues = table.entries[..size].to_vec();
        queues.sort_unstable();
        queues.dedup();
        Ok(queues)
    }

    /// What receive-side scaling hashes of UDP packets.
    pub fn flow_hash(&self, flow: UdpFlow) -> io::Result<FlowHash> {
        let mut answer = RawHash { command: GET_HASH, flow: flow as u32, fields: 0, _rest: [0; 22] };
        self.call(&mut answer)?;
        Ok(FlowHash(answer.fields))
    }

    fn call<T>(&self, data: &mut T) -> io::Result<()> {
        let mut request = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: std::ptr::from_mut(data).cast() },
        };
        // SAFETY: the request points to `data`, which is alive and exclusively borrowed. `T` is one of this
        // module's `repr(C)` structures of integers, each laid out as its command in `linux/ethtool.h` says,
        // so that any bytes the kernel writes are valid; none of the commands writes more than the
        // structure: `GET_INDIRECTION` writes at most the `size` entries that the caller states.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
