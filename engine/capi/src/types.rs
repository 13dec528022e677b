//! Constants, statuses and structures, laid out as libsrtp's.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use std::mem::MaybeUninit;

/// Octets of an AES-128 master key with its salt.
pub const SRTP_MASTER_KEY_LEN: c_int = 30;
/// Most octets of a master key with its salt.
pub const SRTP_MAX_KEY_LEN: c_int = 64;
/// Most octets of an authentication tag.
pub const SRTP_MAX_TAG_LEN: c_int = 16;
/// Most octets of an MKI.
pub const SRTP_MAX_MKI_LEN: c_int = 128;
/// Most octets that `srtp_protect` adds; `srtp_protect_rtcp` adds 4 more.
pub const SRTP_MAX_TRAILER_LEN: c_int = 144;
/// Most master keys of one stream.
pub const SRTP_MAX_NUM_MASTER_KEYS: c_int = 16;
/// Octets of a master salt for counter mode.
pub const SRTP_SALT_LEN: c_int = 14;
/// Octets of a master salt for GCM.
pub const SRTP_AEAD_SALT_LEN: c_int = 12;
/// Octets of an AES-128 key.
pub const SRTP_AES_128_KEY_LEN: c_int = 16;
/// Octets of an AES-192 key.
pub const SRTP_AES_192_KEY_LEN: c_int = 24;
/// Octets of an AES-256 key.
pub const SRTP_AES_256_KEY_LEN: c_int = 32;
/// Octets of master key and salt, AES-128 in counter mode.
pub const SRTP_AES_ICM_128_KEY_LEN_WSALT: c_int = 30;
/// Octets of master key and salt, AES-192 in counter mode.
pub const SRTP_AES_ICM_192_KEY_LEN_WSALT: c_int = 38;
/// Octets of master key and salt, AES-256 in counter mode.
pub const SRTP_AES_ICM_256_KEY_LEN_WSALT: c_int = 46;
/// Octets of master key and salt, AES-128-GCM.
pub const SRTP_AES_GCM_128_KEY_LEN_WSALT: c_int = 28;
/// Octets of master key and salt, AES-192-GCM, which no suite has.
pub const SRTP_AES_GCM_192_KEY_LEN_WSALT: c_int = 36;
/// Octets of master key and salt, AES-256-GCM.
pub const SRTP_AES_GCM_256_KEY_LEN_WSALT: c_int = 44;

/// `cipher_type`: no encryption.
pub const SRTP_NULL_CIPHER: c_uint = 0;
/// `cipher_type`: AES-128 in counter mode (RFC 3711).
pub const SRTP_AES_ICM_128: c_uint = 1;
/// `cipher_type`: AES-192 in counter mode (RFC 6188).
pub const SRTP_AES_ICM_192: c_uint = 4;
/// `cipher_type`: AES-256 in counter mode (RFC 6188).
pub const SRTP_AES_ICM_256: c_uint = 5;
/// `cipher_type`: AES-128 in Galois/counter mode (RFC 7714).
pub const SRTP_AES_GCM_128: c_uint = 6;
/// `cipher_type`: AES-256 in Galois/counter mode (RFC 7714).
pub const SRTP_AES_GCM_256: c_uint = 7;
/// `auth_type`: none.
pub const SRTP_NULL_AUTH: c_uint = 0;
/// `auth_type`: HMAC-SHA1.
pub const SRTP_HMAC_SHA1: c_uint = 3;

/// The E flag in the word that holds the SRTCP index (RFC 3711 §3.4).
pub const SRTCP_E_BIT: c_uint = 0x8000_0000;
/// The E flag in that word's first octet.
pub const SRTCP_E_BYTE_BIT: c_uint = 0x80;
/// The SRTCP index in that word.
pub const SRTCP_INDEX_MASK: c_uint = 0x7fff_ffff;

/// A cipher: one of the `SRTP_AES_…` constants, or `SRTP_NULL_CIPHER`.
pub type srtp_cipher_type_id_t = u32;
/// An authentication function: `SRTP_HMAC_SHA1` or `SRTP_NULL_AUTH`.
pub type srtp_auth_type_id_t = u32;

/// What became of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum srtp_err_status_t {
    /// Nothing to report.
    srtp_err_status_ok = 0,
    /// Something that should not be: a defect of the library.
    srtp_err_status_fail = 1,
    /// A parameter, policy or packet that cannot be.
    srtp_err_status_bad_param = 2,
    /// No memory.
    srtp_err_status_alloc_fail = 3,
    /// Never given.
    srtp_err_status_dealloc_fail = 4,
    /// Never given.
    srtp_err_status_init_fail = 5,
    /// Never given.
    srtp_err_status_terminus = 6,
    /// The packet's tag is wrong.
    srtp_err_status_auth_fail = 7,
    /// Never given.
    srtp_err_status_cipher_fail = 8,
    /// The packet was received, or its index used for sending, before.
    srtp_err_status_replay_fail = 9,
    /// The packet's index lies before the replay window.
    srtp_err_status_replay_old = 10,
    /// No SRTP kernel passed its self-test.
    srtp_err_status_algo_fail = 11,
    /// Never given.
    srtp_err_status_no_such_op = 12,
    /// The session has no such stream.
    srtp_err_status_no_ctx = 13,
    /// An SRTCP packet's E flag is not as agreed.
    srtp_err_status_cant_check = 14,
    /// The key has protected as many packets as it may.
    srtp_err_status_key_expired = 15,
    /// Never given.
    srtp_err_status_socket_err = 16,
    /// Never given.
    srtp_err_status_signal_err = 17,
    /// Never given.
    srtp_err_status_nonce_bad = 18,
    /// Never given.
    srtp_err_status_read_fail = 19,
    /// Never given.
    srtp_err_status_write_fail = 20,
    /// A header extension whose elements run past its end.
    srtp_err_status_parse_err = 21,
    /// Never given.
    srtp_err_status_encode_err = 22,
    /// Never given.
    srtp_err_status_semaphore_err = 23,
    /// Never given.
    srtp_err_status_pfkey_err = 24,
    /// The MKI names none of the stream's keys.
    srtp_err_status_bad_mki = 25,
    /// The rollover counter that was set lies before the stream's.
    srtp_err_status_pkt_idx_old = 26,
    /// Never given.
    srtp_err_status_pkt_idx_adv = 27,
}

/// Which protection packets get.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum srtp_sec_serv_t {
    /// None.
    sec_serv_none = 0,
    /// Encryption.
    sec_serv_conf = 1,
    /// Authentication.
    sec_serv_auth = 2,
    /// Both.
    sec_serv_conf_and_auth = 3,
}

/// How packets of one kind, RTP or RTCP, are protected.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct srtp_crypto_policy_t {
    /// The cipher.
    pub cipher_type: srtp_cipher_type_id_t,
    /// Octets of the master key with its salt.
    pub cipher_key_len: c_int,
    /// The authentication function.
    pub auth_type: srtp_auth_type_id_t,
    /// Octets of its session key.
    pub auth_key_len: c_int,
    /// Octets of the tag.
    pub auth_tag_len: c_int,
    /// Which of both are applied.
    pub sec_serv: MaybeUninit<srtp_sec_serv_t>,
}

/// Which SSRCs a policy is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum srtp_ssrc_type_t {
    /// Not said.
    ssrc_undefined = 0,
    /// The one given.
    ssrc_specific = 1,
    /// Every one that is received.
    ssrc_any_inbound = 2,
    /// Every one that is sent.
    ssrc_any_outbound = 3,
}

/// An SSRC, or all.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct srtp_ssrc_t {
    /// Which.
    pub r#type: MaybeUninit<srtp_ssrc_type_t>,
    /// The SSRC in host order, if it is one.
    pub value: c_uint,
}

/// A master key with its salt, and its MKI.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct srtp_master_key_t {
    /// Key and salt, as long as the policy's ciphers want them.
    pub key: *mut u8,
    /// The MKI.
    pub mki_id: *mut u8,
    /// Octets of the MKI.
    pub mki_size: c_uint,
}

/// What a stream, or every stream of one direction, is protected with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct srtp_policy_t {
    /// Which streams.
    pub ssrc: srtp_ssrc_t,
    /// How RTP is protected.
    pub rtp: srtp_crypto_policy_t,
    /// How RTCP is protected.
    pub rtcp: srtp_crypto_policy_t,
    /// The one master key with its salt, or NULL if there are several.
    pub key: *mut u8,
    /// The master keys, if there are several.
    pub keys: *mut *mut srtp_master_key_t,
    /// How many.
    pub num_master_keys: c_ulong,
    /// NULL: EKT is not libsrtp's any more.
    pub deprecated_ekt: *mut c_void,
    /// Packets of the replay window, 64 to 32,767; 0 for 128.
    pub window_size: c_ulong,
    /// 1 if a packet may be sent again under its sequence number; with another payload it never may.
    pub allow_repeat_tx: c_int,
    /// Identifiers of the header extension elements that are encrypted (RFC 6904).
    pub enc_xtn_hdr: *mut c_int,
    /// How many.
    pub enc_xtn_hdr_count: c_int,
    /// The next policy of a list, or NULL.
    pub next: *mut srtp_policy_t,
}

/// A session: streams that share a transport, or more.
pub struct srtp_ctx_t {
    pub(crate) session: crate::session::Session,
    pub(crate) user_data: *mut c_void,
}

/// A session's handle.
pub type srtp_t = *mut srtp_ctx_t;

/// DTLS-SRTP protection profiles (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum srtp_profile_t {
    /// None.
    srtp_profile_reserved = 0,
    /// SRTP_AES128_CM_SHA1_80.
    srtp_profile_aes128_cm_sha1_80 = 1,
    /// SRTP_AES128_CM_SHA1_32.
    srtp_profile_aes128_cm_sha1_32 = 2,
    /// SRTP_NULL_SHA1_80.
    srtp_profile_null_sha1_80 = 5,
    /// SRTP_NULL_SHA1_32.
    srtp_profile_null_sha1_32 = 6,
    /// SRTP_AEAD_AES_128_GCM.
    srtp_profile_aead_aes_128_gcm = 7,
    /// SRTP_AEAD_AES_256_GCM.
    srtp_profile_aead_aes_256_gcm = 8,
}

/// What an event handler is told of.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum srtp_event_t {
    /// A stream that is sent was received, or the other way round.
    event_ssrc_collision,
    /// The key will expire soon.
    event_key_soft_limit,
    /// The key has expired.
    event_key_hard_limit,
    /// The stream has had all 2^48 packets.
    event_packet_index_limit,
}

/// An event.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct srtp_event_data_t {
    /// The session.
    pub session: srtp_t,
    /// The stream's SSRC in host order.
    pub ssrc: u32,
    /// What happened.
    pub event: srtp_event_t,
}

/// Is told of events, by the thread in whose call they happen.
pub type srtp_event_handler_func_t = Option<unsafe extern "C" fn(data: *mut srtp_event_data_t)>;

/// How grave a message is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum srtp_log_level_t {
    /// Something failed.
    srtp_log_level_error,
    /// Something may fail soon.
    srtp_log_level_warning,
    /// For information.
    srtp_log_level_info,
    /// For who looks for a fault.
    srtp_log_level_debug,
}

/// Is given messages.
pub type srtp_log_handler_func_t =
    Option<unsafe extern "C" fn(level: srtp_log_level_t, msg: *const c_char, data: *mut c_void)>;
