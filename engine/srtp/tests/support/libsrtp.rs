//! Debian's libsrtp2, by hand: the few calls that a comparison needs (`/usr/include/srtp2/srtp.h`).

use std::ffi::{c_int, c_uchar, c_uint, c_ulong, c_void};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::OnceLock;

use sluice_srtp::{Kind, Omit, Suite};

#[repr(C)]
#[derive(Clone, Copy)]
struct CryptoPolicy {
    cipher_type: u32,
    cipher_key_len: c_int,
    auth_type: u32,
    auth_key_len: c_int,
    auth_tag_len: c_int,
    services: c_int,
}

#[repr(C)]
struct Ssrc {
    kind: c_int,
    value: c_uint,
}

#[repr(C)]
struct MasterKey {
    key: *mut c_uchar,
    mki: *mut c_uchar,
    mki_size: c_uint,
}

#[repr(C)]
struct Policy {
    ssrc: Ssrc,
    rtp: CryptoPolicy,
    rtcp: CryptoPolicy,
    key: *mut c_uchar,
    keys: *mut *mut MasterKey,
    key_count: c_ulong,
    deprecated_ekt: *mut c_void,
    window_size: c_ulong,
    allow_repeat_tx: c_int,
    encrypted_extensions: *mut c_int,
    encrypted_extension_count: c_int,
    next: *mut Policy,
}

#[link(name = "srtp2")]
unsafe extern "C" {
    fn srtp_init() -> c_int;
    fn srtp_create(session: *mut *mut c_void, policy: *const Policy) -> c_int;
    fn srtp_dealloc(session: *mut c_void) -> c_int;
    fn srtp_crypto_policy_set_rtp_default(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_null_cipher_hmac_sha1_80(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_128_16_auth(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_256_16_auth(policy: *mut CryptoPolicy);
    fn srtp_protect_mki(s: *mut c_void, p: *mut c_void, len: *mut c_int, mki: c_uint, index: c_uint)
    -> c_int;
    fn srtp_unprotect_mki(s: *mut c_void, p: *mut c_void, len: *mut c_int, mki: c_uint) -> c_int;
    fn srtp_protect_rtcp_mki(
        s: *mut c_void,
        p: *mut c_void,
        len: *mut c_int,
        mki: c_uint,
        index: c_uint,
    ) -> c_int;
    fn srtp_unprotect_rtcp_mki(s: *mut c_void, p: *mut c_void, len: *mut c_int, mki: c_uint) -> c_int;
}

/// A status other than `srtp_err_status_ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) c_int);

/// One direction of one SSRC.
pub(crate) struct Session {
    raw: *mut c_void,
    use_mki: bool,
}

/// What a session is made from.
pub(crate) struct Setup<'a> {
    pub(crate) suite: Suite,
    /// Key ‖ salt.
    pub(crate) material: &'a [u8],
    pub(crate) mki: &'a [u8],
    pub(crate) omit: Omit,
    /// RFC 6904.
    pub(crate) encrypted_extensions: &'a [u8],
    pub(crate) ssrc: u32,
}

const SSRC_SPECIFIC: c_int = 1;
/// `sec_serv_auth`: authenticated, not encrypted.
const AUTHENTICATION_ONLY: c_int = 2;
/// `sec_serv_conf`: encrypted, not authenticated.
const CONFIDENTIALITY_ONLY: c_int = 1;
/// `SRTP_NULL_AUTH`.
const NULL_AUTHENTICATION: u32 = 0;

impl Session {
    pub(crate) fn new(setup: &Setup<'_>) -> Self {
        static INIT: OnceLock<c_int> = OnceLock::new();
        // SAFETY: called once, before any other call into the library.
        let status = INIT.get_or_init(|| unsafe { srtp_init() });
        assert_eq!(*status, 0, "srtp_init");

        let (mut rtp, mut rtcp) = policies(setup.suite).expect("a suite that libsrtp has, too");
        if setup.omit.rtcp_encryption {
            rtcp.services = AUTHENTICATION_ONLY;
        }
        if setup.omit.rtp_encryption {
            rtp.services = AUTHENTICATION_ONLY;
        }
        if setup.omit.rtp_authentication {
            rtp = CryptoPolicy {
                auth_type: NULL_AUTHENTICATION,
                auth_key_len: 0,
                auth_tag_len: 0,
                services: CONFIDENTIALITY_ONLY,
                ..rtp
            };
        }
        let mut material = setup.material.to_vec();
        let mut mki = setup.mki.to_vec();
        let mut key =
            MasterKey { key: material.as_mut_ptr(), mki: mki.as_mut_ptr(), mki_size: mki.len() as c_uint };
        let mut keys: [*mut MasterKey; 1] = [&raw mut key];
        let use_mki = !setup.mki.is_empty();
        let mut ids: Vec<c_int> = setup.encrypted_extensions.iter().map(|id| c_int::from(*id)).collect();
        let policy = Policy {
            ssrc: Ssrc { kind: SSRC_SPECIFIC, value: setup.ssrc },
            rtp,
            rtcp,
            key: if use_mki { null_mut() } else { material.as_mut_ptr() },
            keys: if use_mki { keys.as_mut_ptr() } else { null_mut() },
            key_count: c_ulong::from(use_mki),
            deprecated_ekt: null_mut(),
            window_size: 128,
            allow_repeat_tx: 0,
            encrypted_extensions: if ids.is_empty() { null_mut() } else { ids.as_mut_ptr() },
            encrypted_extension_count: ids.len() as c_int,
            next: null_mut(),
        };
        let mut raw = without_provenance_mut(0);
        // SAFETY: every pointer in the policy lives to the end of this call, and the library copies.
        let status = unsafe { srtp_create(&raw mut raw, &raw const policy) };
        assert_eq!(status, 0, "srtp_create for {}", setup.suite);
        Self { raw, use_mki }
    }

    /// The protected packet.
    pub(crate) fn protect(&mut self, kind: Kind, packet: &[u8]) -> Result<Vec<u8>, Status> {
        // The library writes up to SRTP_MAX_TRAILER_LEN (144) bytes behind the packet.
        let mki = c_uint::from(self.use_mki);
        self.run(packet, 256, |raw, bytes, len| {
            // SAFETY: `raw` is a live session, `bytes` has `*len` bytes and room for the trailer.
            unsafe {
                match kind {
                    Kind::Rtp => srtp_protect_mki(raw, bytes, len, mki, 0),
                    Kind::Rtcp => srtp_protect_rtcp_mki(raw, bytes, len, mki, 0),
                }
            }
        })
    }

    /// The plain packet.
    pub(crate) fn unprotect(&mut self, kind: Kind, packet: &[u8]) -> Result<Vec<u8>, Status> {
        let mki = c_uint::from(self.use_mki);
        self.run(packet, 16, |raw, bytes, len| {
            // SAFETY: `raw` is a live session, `bytes` has `*len` bytes.
            unsafe {
                match kind {
                    Kind::Rtp => srtp_unprotect_mki(raw, bytes, len, mki),
                    Kind::Rtcp => srtp_unprotect_rtcp_mki(raw, bytes, len, mki),
                }
            }
        })
    }

    fn run(
        &mut self,
        packet: &[u8],
        room: usize,
        call: impl FnOnce(*mut c_void, *mut c_void, *mut c_int) -> c_int,
    ) -> Result<Vec<u8>, Status> {
        // Words, since the library reads headers as such.
        let mut words = vec![0_u32; (packet.len() + room).div_ceil(4)];
        let start: *mut u8 = words.as_mut_ptr().cast();
        // SAFETY: the words have at least as many bytes as the packet, and are nobody else's.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, words.len() * 4) };
        bytes[..packet.len()].copy_from_slice(packet);
        let mut len = c_int::try_from(packet.len()).expect("a packet's length");
        match call(self.raw, bytes.as_mut_ptr().cast(), &raw mut len) {
            0 => Ok(bytes[..usize::try_from(len).expect("a packet's length")].to_vec()),
            status => Err(Status(status)),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: made by srtp_create, freed once.
        unsafe { srtp_dealloc(self.raw) };
    }
}

/// Whether libsrtp has the suite as the RFCs describe it. Its AES-192 is another than RFC 6188's;
/// f8-mode, ARIA, SEED and double suites it never had.
pub(crate) fn has(suite: Suite) -> bool {
    policies(suite).is_some()
}

/// RTP and RTCP; RFC 4568 §6.2.2 leaves SRTCP tags at 80 bits under the _32 suites.
fn policies(suite: Suite) -> Option<(CryptoPolicy, CryptoPolicy)> {
    let policy = |set: unsafe extern "C" fn(*mut CryptoPolicy)| {
        let mut policy = CryptoPolicy {
            cipher_type: 0,
            cipher_key_len: 0,
            auth_type: 0,
            auth_key_len: 0,
            auth_tag_len: 0,
            services: 0,
        };
        // SAFETY: fills in the structure that it is given.
        unsafe { set(&raw mut policy) };
        policy
    };
    let long = policy(srtp_crypto_policy_set_rtp_default);
    let both = match suite {
        Suite::AesCm128HmacSha1_80 => (long, long),
        Suite::AesCm128HmacSha1_32 => (policy(srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32), long),
        Suite::AeadAes128Gcm => {
            let gcm = policy(srtp_crypto_policy_set_aes_gcm_128_16_auth);
            (gcm, gcm)
        }
        Suite::AeadAes256Gcm => {
            let gcm = policy(srtp_crypto_policy_set_aes_gcm_256_16_auth);
            (gcm, gcm)
        }
        Suite::AesCm256HmacSha1_80 => {
            let long = policy(srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80);
            (long, long)
        }
        Suite::AesCm256HmacSha1_32 => (
            policy(srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32),
            policy(srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80),
        ),
        Suite::NullHmacSha1_80 | Suite::NullHmacSha1_32 => {
            let long = policy(srtp_crypto_policy_set_null_cipher_hmac_sha1_80);
            let tag = if suite == Suite::NullHmacSha1_32 { 4 } else { long.auth_tag_len };
            (CryptoPolicy { auth_tag_len: tag, ..long }, long)
        }
        Suite::AesCm192HmacSha1_80 | Suite::AesCm192HmacSha1_32 | Suite::F8_128HmacSha1_80 => return None,
        other if ["ARIA", "SEED", "DOUBLE"].iter().any(|part| other.name().contains(part)) => return None,
        other => panic!("compare {other} with libsrtp, or leave it out here and say why"),
    };
    Some(both)
}
