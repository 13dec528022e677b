//! This library and libsrtp, side by side behind the same functions.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unsafe_code, reason = "C interfaces")]

use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::path::PathBuf;

use sluice_srtp2::{
    srtp_err_status_t, srtp_event_handler_func_t, srtp_log_handler_func_t, srtp_policy_t, srtp_t,
};

/// The shared library that Cargo built beside the tests.
pub(crate) fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libsluice_srtp2.so");
    assert!(library.exists(), "no {}", library.display());
    library
}

macro_rules! api {
    ($($name:ident: fn($($arg:ty),*) -> $ret:ty;)*) => {
        /// Functions of one library. Statuses are numbers here: libsrtp's are not ours to trust as enumerators.
        pub(crate) struct Api {
            $(pub(crate) $name: unsafe extern "C" fn($($arg),*) -> $ret,)*
        }

        impl Api {
            /// `None` if there is no such library.
            pub(crate) fn load(path: &str) -> Option<Self> {
                let path = CString::new(path).unwrap();
                // SAFETY: a string; libraries of SRTP have harmless constructors.
                let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
                if handle.is_null() {
                    return None;
                }
                $(
                    let name = CString::new(stringify!($name)).unwrap();
                    // SAFETY: a live handle, which is never closed, and a string.
                    let $name = unsafe { libc::dlsym(handle, name.as_ptr()) };
                    assert!(!$name.is_null(), "no {}", stringify!($name));
                )*
                Some(Self { $(
                    // SAFETY: the function has this type in srtp.h.
                    $name: unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) -> $ret>($name) },
                )* })
            }
        }
    };
}

api! {
    srtp_init: fn() -> u32;
    srtp_create: fn(*mut srtp_t, *const srtp_policy_t) -> u32;
    srtp_dealloc: fn(srtp_t) -> u32;
    srtp_add_stream: fn(srtp_t, *const srtp_policy_t) -> u32;
    srtp_remove_stream: fn(srtp_t, c_uint) -> u32;
    srtp_update: fn(srtp_t, *const srtp_policy_t) -> u32;
    srtp_protect_mki: fn(srtp_t, *mut c_void, *mut c_int, c_uint, c_uint) -> u32;
    srtp_unprotect_mki: fn(srtp_t, *mut c_void, *mut c_int, c_uint) -> u32;
    srtp_protect_rtcp_mki: fn(srtp_t, *mut c_void, *mut c_int, c_uint, c_uint) -> u32;
    srtp_unprotect_rtcp_mki: fn(srtp_t, *mut c_void, *mut c_int, c_uint) -> u32;
    srtp_get_protect_trailer_length: fn(srtp_t, u32, u32, *mut u32) -> u32;
    srtp_get_protect_rtcp_trailer_length: fn(srtp_t, u32, u32, *mut u32) -> u32;
    srtp_set_stream_roc: fn(srtp_t, u32, u32) -> u32;
    srtp_get_stream_roc: fn(srtp_t, u32, *mut u32) -> u32;
    srtp_install_event_handler: fn(srtp_event_handler_func_t) -> u32;
    srtp_install_log_handler: fn(srtp_log_handler_func_t, *mut c_void) -> u32;
    srtp_get_version_string: fn() -> *const std::ffi::c_char;
}

pub(crate) const OK: u32 = srtp_err_status_t::srtp_err_status_ok as u32;

impl Api {
    pub(crate) fn sluice() -> Self {
        let api = Self::load(library().to_str().unwrap()).unwrap();
        assert!(api.version().starts_with("libsluice_srtp2"), "{}", api.version());
        api
    }

    /// `None`, loudly, if libsrtp is not installed; continuous integration has it.
    pub(crate) fn libsrtp() -> Option<Self> {
        let found = Self::load("libsrtp2.so.1");
        if found.is_none() {
            assert!(std::env::var_os("CI").is_none(), "libsrtp2 is missing");
            eprintln!("SKIP: no libsrtp2 here to compare with");
        }
        let api = found?;
        assert!(api.version().starts_with("libsrtp"), "{}", api.version());
        Some(api)
    }

    pub(crate) fn version(&self) -> String {
        // SAFETY: it returns a constant string.
        unsafe { CStr::from_ptr((self.srtp_get_version_string)()) }.to_string_lossy().into_owned()
    }
}

/// A session of one library.
pub(crate) struct Session<'a> {
    pub(crate) api: &'a Api,
    pub(crate) handle: srtp_t,
}

impl<'a> Session<'a> {
    pub(crate) fn new(api: &'a Api, policy: &srtp_policy_t) -> Result<Self, u32> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: policies of the tests point to what they say.
        let status = unsafe { (api.srtp_create)(&raw mut handle, policy) };
        if status == OK { Ok(Self { api, handle }) } else { Err(status) }
    }

    fn packet(plain: &[u8], call: impl FnOnce(*mut c_void, *mut c_int) -> u32) -> Result<Vec<u8>, u32> {
        let mut len = plain.len() as c_int;
        let mut buffer = [plain, &[0xee; 160]].concat();
        let status = call(buffer.as_mut_ptr().cast(), &raw mut len);
        if status == OK { Ok(buffer[..len as usize].to_vec()) } else { Err(status) }
    }

    /// The packet that comes out, or the status.
    pub(crate) fn protect(&self, rtcp: bool, plain: &[u8], mki: Option<u32>) -> Result<Vec<u8>, u32> {
        let f = if rtcp { self.api.srtp_protect_rtcp_mki } else { self.api.srtp_protect_mki };
        let (use_mki, index) = (u32::from(mki.is_some()), mki.unwrap_or(0));
        // SAFETY: a live session, and room for the longest trailer.
        Self::packet(plain, |at, len| unsafe { f(self.handle, at, len, use_mki, index) })
    }

    /// The packet that comes out, or the status.
    pub(crate) fn unprotect(&self, rtcp: bool, packet: &[u8], mki: bool) -> Result<Vec<u8>, u32> {
        let f = if rtcp { self.api.srtp_unprotect_rtcp_mki } else { self.api.srtp_unprotect_mki };
        // SAFETY: a live session and a packet.
        Self::packet(packet, |at, len| unsafe { f(self.handle, at, len, u32::from(mki)) })
    }

    pub(crate) fn roc(&self, ssrc: u32) -> Result<u32, u32> {
        let mut roc = 0;
        // SAFETY: a live session.
        let status = unsafe { (self.api.srtp_get_stream_roc)(self.handle, ssrc, &raw mut roc) };
        if status == OK { Ok(roc) } else { Err(status) }
    }

    pub(crate) fn set_roc(&self, ssrc: u32, roc: u32) -> u32 {
        // SAFETY: a live session.
        unsafe { (self.api.srtp_set_stream_roc)(self.handle, ssrc, roc) }
    }

    pub(crate) fn update(&self, policy: &srtp_policy_t) -> u32 {
        // SAFETY: a live session; policies of the tests point to what they say.
        unsafe { (self.api.srtp_update)(self.handle, policy) }
    }

    pub(crate) fn add(&self, policy: &srtp_policy_t) -> u32 {
        // SAFETY: as above.
        unsafe { (self.api.srtp_add_stream)(self.handle, policy) }
    }

    /// The SSRC in host order.
    pub(crate) fn remove(&self, ssrc: u32) -> u32 {
        // SAFETY: a live session.
        unsafe { (self.api.srtp_remove_stream)(self.handle, ssrc.to_be()) }
    }

    pub(crate) fn trailer(&self, rtcp: bool, mki: Option<u32>) -> Result<u32, u32> {
        let f = if rtcp {
            self.api.srtp_get_protect_rtcp_trailer_length
        } else {
            self.api.srtp_get_protect_trailer_length
        };
        let mut length = 0;
        // SAFETY: a live session.
        let status = unsafe { f(self.handle, u32::from(mki.is_some()), mki.unwrap_or(0), &raw mut length) };
        if status == OK { Ok(length) } else { Err(status) }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // SAFETY: a live session, which is not used any more.
        assert_eq!(unsafe { (self.api.srtp_dealloc)(self.handle) }, OK);
    }
}

/// A policy with what it points to.
pub(crate) struct Owned {
    pub(crate) policy: srtp_policy_t,
    _octets: Vec<Box<[u8]>>,
    _keys: Box<[sluice_srtp2::srtp_master_key_t]>,
    _pointers: Box<[*mut sluice_srtp2::srtp_master_key_t]>,
    _ids: Box<[c_int]>,
}

type Preset = unsafe extern "C" fn(*mut sluice_srtp2::srtp_crypto_policy_t);

/// Which streams, presets of RTP and RTCP, key and MKI of each master key, identifiers to encrypt.
pub(crate) fn policy(
    ssrc: Option<u32>,
    [rtp, rtcp]: [Preset; 2],
    keys: &[(Vec<u8>, Vec<u8>)],
    ids: &[c_int],
) -> Owned {
    // SAFETY: all-zero octets are a policy: numbers, NULL and enumerators of 0.
    let mut policy: srtp_policy_t = unsafe { std::mem::zeroed() };
    policy.ssrc.r#type.write(match ssrc {
        Some(_) => sluice_srtp2::srtp_ssrc_type_t::ssrc_specific,
        None => sluice_srtp2::srtp_ssrc_type_t::ssrc_any_inbound,
    });
    policy.ssrc.value = ssrc.unwrap_or(0);
    // SAFETY: policies to write to.
    unsafe {
        rtp(&raw mut policy.rtp);
        rtcp(&raw mut policy.rtcp);
    }
    let mut octets: Vec<Box<[u8]>> = Vec::new();
    let mut masters = Vec::new();
    for (key, mki) in keys {
        octets.push([&key[..], &[0; 64]].concat().into());
        let key = octets.last_mut().unwrap().as_mut_ptr();
        octets.push(mki[..].into());
        let mki_id = octets.last_mut().unwrap().as_mut_ptr();
        masters.push(sluice_srtp2::srtp_master_key_t { key, mki_id, mki_size: mki.len() as u32 });
    }
    let mut masters = masters.into_boxed_slice();
    let mut pointers: Box<[_]> = masters.iter_mut().map(|key| &raw mut *key).collect();
    policy.keys = pointers.as_mut_ptr();
    policy.num_master_keys = pointers.len() as _;
    let mut ids: Box<[c_int]> = ids.into();
    policy.enc_xtn_hdr = ids.as_mut_ptr();
    policy.enc_xtn_hdr_count = ids.len() as c_int;
    Owned { policy, _octets: octets, _keys: masters, _pointers: pointers, _ids: ids }
}

/// A small deterministic generator (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// An RTP packet with an extension of one-byte elements, or none.
    pub(crate) fn rtp(&mut self, ssrc: u32, sequence: u16) -> Vec<u8> {
        let extension = self.below(3) == 0;
        let csrcs = self.below(4) as u8;
        let mut packet = vec![0x80 | csrcs | if extension { 0x10 } else { 0 }, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend(self.bytes(4));
        packet.extend(ssrc.to_be_bytes());
        packet.extend(self.bytes(4 * usize::from(csrcs)));
        if extension {
            packet.extend([0xbe, 0xde, 0, 2, 0x11]);
            packet.extend(self.bytes(2));
            packet.push(0x22);
            packet.extend(self.bytes(3));
            packet.push(0);
        }
        let len = self.below(400) as usize;
        packet.extend(self.bytes(len));
        packet
    }

    /// A sender report.
    pub(crate) fn rtcp(&mut self, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(ssrc.to_be_bytes());
        packet.extend(self.bytes(20));
        packet
    }
}
