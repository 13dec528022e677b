//! intel-ipsec-mb as the system has it, crypto alone: bursts of jobs for AES_CM with HMAC-SHA1, its
//! direct calls for GCM.
#![allow(unsafe_code, reason = "it calls a C library")]

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use anyhow::Context as _;
use sluice_srtp::Suite;

use crate::engine::{Direction, Engine, Peer, Scope, in_batches};
use crate::packets::{Packet, RawKeys, STRIDE, Session};

/// Jobs in a burst; `BURST` in ipsec_mb.c.
const BATCHES: &[usize] = &[32];

pub(super) fn peer() -> Peer {
    Peer {
        name: "intel-ipsec-mb",
        version: version(),
        scope: Scope::Crypto,
        batches: BATCHES,
        most_sessions: 1000,
        open: |suite, sessions| Ok(Some(Box::new(IpsecMb::new(suite, sessions)?))),
    }
}

fn version() -> String {
    let arch = Manager::open().map(|manager| {
        // SAFETY: the manager is live; the result is a string constant.
        unsafe { CStr::from_ptr(sluice_mb_arch(manager.0.as_ptr())) }.to_string_lossy().into_owned()
    });
    // SAFETY: takes nothing; the result is a string constant.
    let version = unsafe { CStr::from_ptr(sluice_mb_version()) }.to_string_lossy();
    format!("{version}, {} kernel", arch.unwrap_or_default())
}

/// `IMB_MGR`.
#[repr(C)]
struct RawManager([u8; 0]);

/// `struct key` of ipsec_mb.c.
#[repr(C)]
struct RawKey([u8; 0]);

/// `struct work` of ipsec_mb.c.
#[repr(C)]
struct Work {
    key: *const RawKey,
    buffer: *mut u8,
    len: u64,
    iv: [u8; 16],
    roc: [u8; 4],
    ok: u8,
    want: [u8; 10],
    tag: [u8; 20],
}

// SAFETY: the declarations match ipsec_mb.c.
unsafe extern "C" {
    fn sluice_mb_version() -> *const c_char;
    fn sluice_mb_arch(manager: *const RawManager) -> *const c_char;
    fn sluice_mb_open() -> *mut RawManager;
    fn sluice_mb_close(manager: *mut RawManager);
    fn sluice_mb_key(manager: *mut RawManager, bits: c_int, key: *const u8, auth: *const u8) -> *mut RawKey;
    fn sluice_mb_key_free(key: *mut RawKey);
    fn sluice_mb_gcm(manager: *mut RawManager, unprotect: c_int, work: *mut Work, count: usize);
    fn sluice_mb_counter_hmac(
        manager: *mut RawManager,
        unprotect: c_int,
        work: *mut Work,
        count: usize,
    ) -> usize;
}

struct Manager(NonNull<RawManager>);

impl Manager {
    fn open() -> Option<Self> {
        // SAFETY: takes nothing; null means that there is no memory.
        NonNull::new(unsafe { sluice_mb_open() }).map(Self)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once.
        unsafe { sluice_mb_close(self.0.as_ptr()) }
    }
}

struct Key(NonNull<RawKey>);

impl Key {
    fn new(manager: &Manager, bits: c_int, raw: &RawKeys) -> Option<Self> {
        // SAFETY: the manager is live; `key` has `bits` bits, or 128 if that is 0; `auth` has 20 octets.
        let key = unsafe { sluice_mb_key(manager.0.as_ptr(), bits, raw.key.as_ptr(), raw.auth.as_ptr()) };
        NonNull::new(key).map(Self)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { sluice_mb_key_free(self.0.as_ptr()) }
    }
}

struct IpsecMb {
    gcm: bool,
    keys: Vec<Key>,
    manager: Manager,
}

impl IpsecMb {
    fn new(suite: Suite, sessions: &[Session]) -> anyhow::Result<Self> {
        let manager = Manager::open().context("intel-ipsec-mb: no manager")?;
        let bits = match suite {
            Suite::AeadAes128Gcm => 128,
            Suite::AeadAes256Gcm => 256,
            _ => 0,
        };
        let key = |session: &Session| Key::new(&manager, bits, &session.raw_keys());
        let keys = sessions.iter().map(key).collect::<Option<_>>().context("intel-ipsec-mb: no memory")?;
        Ok(Self { gcm: bits != 0, keys, manager })
    }
}

impl Engine for IpsecMb {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], batch: usize) -> Duration {
        let to_work = |packet: &mut Packet<'_>| {
            // The C code writes a tag behind the packet.
            assert!(packet.buffer.len() == STRIDE && packet.len + 16 <= STRIDE && packet.len >= 12 + 16);
            Work {
                key: self.keys[packet.session].0.as_ptr(),
                buffer: packet.buffer.as_mut_ptr(),
                len: packet.len as u64,
                iv: packet.iv,
                roc: packet.roc(),
                ok: 0,
                want: [0; 10],
                tag: [0; 20],
            }
        };
        let mut work: Vec<_> = packets.iter_mut().map(to_work).collect();
        let manager = self.manager.0.as_ptr();
        let unprotect = c_int::from(direction == Direction::Unprotect);
        let time = in_batches(&mut work, batch, |work| {
            // SAFETY: keys, manager and buffers are live and, as mutable borrows, not in use elsewhere;
            // the lengths were checked above; the C code keeps no pointer.
            unsafe {
                if self.gcm {
                    sluice_mb_gcm(manager, unprotect, work.as_mut_ptr(), work.len());
                } else {
                    sluice_mb_counter_hmac(manager, unprotect, work.as_mut_ptr(), work.len());
                }
            }
        });
        for (packet, work) in packets.iter_mut().zip(&work) {
            (packet.len, packet.ok) = (work.len as usize, work.ok == 1);
        }
        time
    }
}
