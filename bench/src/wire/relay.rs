//! A plain relay: a socket for each leg, epoll, libsrtp; one thread, no more system calls than such a relay needs.

use std::io::{Cursor, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rustix::event::epoll;
use sluice_srtp::Suite;
use sluice_tools::bench::bed::{Bed, DEVICE, Role, peer_address};
use sluice_tools::bench::case::{Case, Key};
use sluice_tools::bench::forwarder::{Forwarder, Running};
use sluice_tools::bench::through::Worker;
use srtp::{CryptoPolicy, Session, StreamPolicy};

/// First local port; a call has two.
const FIRST_PORT: usize = 10_000;
/// Most calls: two descriptors each.
const MOST_CALLS: usize = 9_000;
/// Sockets told of at a time.
const READY: usize = 256;
/// Octets of the largest packet with libsrtp's trailer.
const BUFFER: usize = 2048;
/// libsrtp writes up to so many octets behind a packet.
const TRAILER: usize = srtp::sys::SRTP_MAX_TRAILER_LEN as usize;
/// Sluice's replay window in packets.
const WINDOW: u64 = 128;

/// The relay.
#[derive(Clone, Copy, Debug)]
pub struct Relay;

impl Forwarder for Relay {
    fn path(&self) -> &'static str {
        "sockets-libsrtp"
    }

    fn version(&self) -> String {
        format!("epoll, recv, send; {}, {}", srtp::get_version_string(), openssl::version::version())
    }

    fn can(&self, case: &Case) -> bool {
        case.fanout == 1 && !case.shared_port && case.calls <= MOST_CALLS
    }

    fn start(&self, bed: &Bed, case: &Case) -> Result<Box<dyn Running + Send>> {
        let of_case = *case;
        let worker = Worker::start(bed, move |ready, stop| match Calls::open(&of_case) {
            Ok(mut calls) => {
                ready(Ok(()));
                // An error ends the relay, and the bench sees that nothing comes any more.
                if let Err(error) = calls.run(stop) {
                    eprintln!("the relay ended: {error:#}");
                }
            }
            Err(error) => ready(Err(error)),
        })?;
        Ok(Box::new(Started { case: *case, _worker: worker }))
    }
}

struct Started {
    case: Case,
    _worker: Worker,
}

impl Running for Started {
    fn inlet(&self, call: usize) -> SocketAddr {
        local(2 * call)
    }

    fn listener_key(&self, listener: usize) -> Option<Key> {
        self.case.listener_key(listener)
    }
}

struct Calls {
    epoll: rustix::fd::OwnedFd,
    calls: Vec<Call>,
}

struct Call {
    from: UdpSocket,
    to: UdpSocket,
    inbound: Option<Session>,
    outbound: Option<Session>,
}

impl Calls {
    fn open(case: &Case) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut calls = Vec::with_capacity(case.calls);
        for call in 0..case.calls {
            let ssrc = Case::ssrc(call);
            let session = |key: Option<Key>| key.map(|key| session(ssrc, &key)).transpose();
            let (from, to) = (socket(2 * call)?, socket(2 * call + 1)?);
            // Connected, so that the kernel need not look up the route for every packet.
            from.connect(peer_address(Role::Caller, call))?;
            to.connect(peer_address(Role::Listener, call))?;
            epoll::add(&epoll, &from, epoll::EventData::new_u64(call as u64), epoll::EventFlags::IN)?;
            let (inbound, outbound) = (session(case.caller_key(call))?, session(case.listener_key(call))?);
            calls.push(Call { from, to, inbound, outbound });
        }
        Ok(Self { epoll, calls })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut ready = Vec::with_capacity(READY);
        let mut buffer = [0; BUFFER];
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        while !stop.load(Ordering::Relaxed) {
            let spare = rustix::buffer::spare_capacity(&mut ready);
            match epoll::wait(&self.epoll, spare, Some(&patience)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("epoll_wait"),
            }
            for event in ready.drain(..) {
                self.calls[event.data.u64() as usize].relay(&mut buffer)?;
            }
        }
        Ok(())
    }
}

impl Call {
    /// Relays what there is.
    fn relay(&mut self, buffer: &mut [u8; BUFFER]) -> Result<()> {
        loop {
            let len = match self.from.recv(&mut buffer[..BUFFER - TRAILER]) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("recv"),
            };
            if let Some(len) = self.convert(buffer, len) {
                // What the socket's queue has no room for is lost, as it is on a wire.
                let _ = self.to.send(&buffer[..len]);
            }
        }
    }

    /// The packet's length for the listener; `None` if it is none.
    fn convert(&mut self, buffer: &mut [u8; BUFFER], mut len: usize) -> Option<usize> {
        if let Some(session) = &mut self.inbound {
            let mut octets = Cursor::new(&mut buffer[..len]);
            octets.set_position(len as u64);
            session.unprotect(&mut octets).ok()?;
            len = octets.position() as usize;
        }
        if let Some(session) = &mut self.outbound {
            // The wrapper wants a buffer of exactly the room that libsrtp may use.
            let mut packet_and_room = Cursor::new(&mut buffer[..len + TRAILER]);
            packet_and_room.set_position(len as u64);
            session.protect(&mut packet_and_room).ok()?;
            len = packet_and_room.position() as usize;
        }
        Some(len)
    }
}

fn local(leg: usize) -> SocketAddr {
    SocketAddr::new(DEVICE.into(), (FIRST_PORT + leg) as u16)
}

fn socket(leg: usize) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(local(leg)).with_context(|| format!("no socket at {}", local(leg)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn session(ssrc: u32, key: &Key) -> Result<Session> {
    let policy = match key.suite {
        Suite::AeadAes128Gcm => CryptoPolicy::aes_gcm_128_16_auth(),
        Suite::AeadAes256Gcm => CryptoPolicy::aes_gcm_256_16_auth(),
        _ => CryptoPolicy::aes_cm_128_hmac_sha1_80(),
    };
    let mut session = Session::new()?;
    let policy = StreamPolicy {
        rtp: policy,
        rtcp: policy,
        key: &key.material,
        window_size: WINDOW,
        ..StreamPolicy::default()
    };
    session.add_stream(ssrc, policy)?;
    Ok(session)
}
