//! Policies by name.

use std::ffi::{c_int, c_uint};
use std::mem::MaybeUninit;

use crate::ffi::number;
use crate::types::srtp_err_status_t::{self, srtp_err_status_bad_param, srtp_err_status_ok};
use crate::types::srtp_sec_serv_t::{
    self, sec_serv_auth, sec_serv_conf, sec_serv_conf_and_auth, sec_serv_none,
};
use crate::types::{
    SRTP_AES_128_KEY_LEN, SRTP_AES_256_KEY_LEN, SRTP_AES_GCM_128, SRTP_AES_GCM_128_KEY_LEN_WSALT,
    SRTP_AES_GCM_256, SRTP_AES_GCM_256_KEY_LEN_WSALT, SRTP_AES_ICM_128, SRTP_AES_ICM_128_KEY_LEN_WSALT,
    SRTP_AES_ICM_192, SRTP_AES_ICM_192_KEY_LEN_WSALT, SRTP_AES_ICM_256, SRTP_AES_ICM_256_KEY_LEN_WSALT,
    SRTP_HMAC_SHA1, SRTP_NULL_AUTH, SRTP_NULL_CIPHER, srtp_crypto_policy_t, srtp_profile_t,
};

const fn policy(
    cipher_type: c_uint,
    cipher_key_len: c_int,
    auth_tag_len: c_int,
    sec_serv: srtp_sec_serv_t,
) -> srtp_crypto_policy_t {
    let gcm = matches!(cipher_type, SRTP_AES_GCM_128 | SRTP_AES_GCM_256);
    let hmac = auth_tag_len > 0 && !gcm;
    srtp_crypto_policy_t {
        cipher_type,
        cipher_key_len,
        auth_type: if hmac { SRTP_HMAC_SHA1 } else { SRTP_NULL_AUTH },
        auth_key_len: if hmac { 20 } else { 0 },
        auth_tag_len,
        sec_serv: MaybeUninit::new(sec_serv),
    }
}

const CM_128: (c_uint, c_int) = (SRTP_AES_ICM_128, SRTP_AES_ICM_128_KEY_LEN_WSALT);
const CM_192: (c_uint, c_int) = (SRTP_AES_ICM_192, SRTP_AES_ICM_192_KEY_LEN_WSALT);
const CM_256: (c_uint, c_int) = (SRTP_AES_ICM_256, SRTP_AES_ICM_256_KEY_LEN_WSALT);
const NULL: (c_uint, c_int) = (SRTP_NULL_CIPHER, SRTP_AES_ICM_128_KEY_LEN_WSALT);
const GCM_128: (c_uint, c_int) = (SRTP_AES_GCM_128, SRTP_AES_GCM_128_KEY_LEN_WSALT);
const GCM_256: (c_uint, c_int) = (SRTP_AES_GCM_256, SRTP_AES_GCM_256_KEY_LEN_WSALT);

/// Writes a policy, unless there is no place for it.
///
/// # Safety
/// `p` is NULL or points to a policy.
unsafe fn set(
    p: *mut srtp_crypto_policy_t,
    (cipher, key_len): (c_uint, c_int),
    tag: c_int,
    services: srtp_sec_serv_t,
) {
    if !p.is_null() {
        // SAFETY: the caller says that it points to a policy.
        unsafe { p.write(policy(cipher, key_len, tag, services)) };
    }
}

/// AES_CM_128_HMAC_SHA1_80 (RFC 3711 §5), for RTP.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_rtp_default(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_128, 10, sec_serv_conf_and_auth) }
}

/// AES_CM_128_HMAC_SHA1_80 (RFC 3711 §5), for RTCP.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_rtcp_default(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_128, 10, sec_serv_conf_and_auth) }
}

/// AES_CM_128_HMAC_SHA1_32, meant for RTP (RFC 4568 §6.2.2).
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_128, 4, sec_serv_conf_and_auth) }
}

/// AES-128 in counter mode without tags: RTP only.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_cm_128_null_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_128, 0, sec_serv_conf) }
}

/// Tags of 80 bits and no encryption.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_null_cipher_hmac_sha1_80(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, NULL, 10, sec_serv_auth) }
}

/// No protection: RTP only.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_null_cipher_hmac_null(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, NULL, 0, sec_serv_none) }
}

/// AES_256_CM_HMAC_SHA1_80 (RFC 6188).
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_256, 10, sec_serv_conf_and_auth) }
}

/// AES_256_CM_HMAC_SHA1_32 (RFC 6188), meant for RTP.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_256, 4, sec_serv_conf_and_auth) }
}

/// AES-256 in counter mode without tags: RTP only.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_cm_256_null_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_256, 0, sec_serv_conf) }
}

/// AES_192_CM_HMAC_SHA1_80 (RFC 6188).
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_192, 10, sec_serv_conf_and_auth) }
}

/// AES_192_CM_HMAC_SHA1_32 (RFC 6188), meant for RTP.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_cm_192_hmac_sha1_32(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_192, 4, sec_serv_conf_and_auth) }
}

/// AES-192 in counter mode without tags: RTP only.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_cm_192_null_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, CM_192, 0, sec_serv_conf) }
}

/// AES-128-GCM with tags of 64 bits, which RFC 7714 does not have: refused with the policy.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_gcm_128_8_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, GCM_128, 8, sec_serv_conf_and_auth) }
}

/// AES-256-GCM with tags of 64 bits, which RFC 7714 does not have: refused with the policy.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_gcm_256_8_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, GCM_256, 8, sec_serv_conf_and_auth) }
}

/// As `srtp_crypto_policy_set_aes_gcm_128_8_auth`, without encryption: RTCP only.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_gcm_128_8_only_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, GCM_128, 8, sec_serv_auth) }
}

/// As `srtp_crypto_policy_set_aes_gcm_256_8_auth`, without encryption: RTCP only.
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_gcm_256_8_only_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, GCM_256, 8, sec_serv_auth) }
}

/// AEAD_AES_128_GCM (RFC 7714).
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_gcm_128_16_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, GCM_128, 16, sec_serv_conf_and_auth) }
}

/// AEAD_AES_256_GCM (RFC 7714).
///
/// # Safety
/// `p` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_aes_gcm_256_16_auth(p: *mut srtp_crypto_policy_t) {
    // SAFETY: the caller's word.
    unsafe { set(p, GCM_256, 16, sec_serv_conf_and_auth) }
}

/// What `cipher_type` and the rest are for a DTLS-SRTP profile, of RTP and of RTCP.
fn of_profile(profile: MaybeUninit<srtp_profile_t>) -> Option<[srtp_crypto_policy_t; 2]> {
    const PROFILE_80: u32 = srtp_profile_t::srtp_profile_aes128_cm_sha1_80 as u32;
    const PROFILE_32: u32 = srtp_profile_t::srtp_profile_aes128_cm_sha1_32 as u32;
    const NULL_80: u32 = srtp_profile_t::srtp_profile_null_sha1_80 as u32;
    const NULL_32: u32 = srtp_profile_t::srtp_profile_null_sha1_32 as u32;
    const PROFILE_GCM_128: u32 = srtp_profile_t::srtp_profile_aead_aes_128_gcm as u32;
    const PROFILE_GCM_256: u32 = srtp_profile_t::srtp_profile_aead_aes_256_gcm as u32;
    let (cipher, [rtp, rtcp], services) = match number(profile) {
        PROFILE_80 => (CM_128, [10, 10], sec_serv_conf_and_auth),
        // RTCP's tags have 80 bits here, too (RFC 5764 §4.1.2).
        PROFILE_32 => (CM_128, [4, 10], sec_serv_conf_and_auth),
        NULL_80 => (NULL, [10, 10], sec_serv_auth),
        NULL_32 => (NULL, [4, 10], sec_serv_auth),
        PROFILE_GCM_128 => (GCM_128, [16, 16], sec_serv_conf_and_auth),
        PROFILE_GCM_256 => (GCM_256, [16, 16], sec_serv_conf_and_auth),
        _ => return None,
    };
    Some([rtp, rtcp].map(|tag| policy(cipher.0, cipher.1, tag, services)))
}

/// Writes one of a profile's policies, if there is a place and the profile is known.
///
/// # Safety
/// `p` is NULL or points to a policy.
unsafe fn set_from_profile(
    p: *mut srtp_crypto_policy_t,
    profile: MaybeUninit<srtp_profile_t>,
    which: usize,
) -> srtp_err_status_t {
    match of_profile(profile) {
        Some(policies) if !p.is_null() => {
            // SAFETY: the caller says that it points to a policy.
            unsafe { p.write(policies[which]) };
            srtp_err_status_ok
        }
        _ => srtp_err_status_bad_param,
    }
}

/// RTP's policy of a DTLS-SRTP profile; `srtp_err_status_bad_param` if there is no such.
///
/// # Safety
/// `policy` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_from_profile_for_rtp(
    policy: *mut srtp_crypto_policy_t,
    profile: MaybeUninit<srtp_profile_t>,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { set_from_profile(policy, profile, 0) }
}

/// RTCP's policy of a DTLS-SRTP profile; `srtp_err_status_bad_param` if there is no such.
///
/// # Safety
/// `policy` is NULL or points to a policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_crypto_policy_set_from_profile_for_rtcp(
    policy: *mut srtp_crypto_policy_t,
    profile: MaybeUninit<srtp_profile_t>,
) -> srtp_err_status_t {
    // SAFETY: the caller's word.
    unsafe { set_from_profile(policy, profile, 1) }
}

/// Octets of a profile's master key; 0 if there is no such profile.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_profile_get_master_key_length(profile: MaybeUninit<srtp_profile_t>) -> c_uint {
    of_profile(profile).map_or(0, |[rtp, _]| match rtp.cipher_type {
        SRTP_AES_GCM_256 => SRTP_AES_256_KEY_LEN as c_uint,
        _ => SRTP_AES_128_KEY_LEN as c_uint,
    })
}

/// Octets of a profile's master salt; 0 if there is no such profile.
#[unsafe(no_mangle)]
pub extern "C" fn srtp_profile_get_master_salt_length(profile: MaybeUninit<srtp_profile_t>) -> c_uint {
    of_profile(profile)
        .map_or(0, |[rtp, _]| rtp.cipher_key_len as c_uint - srtp_profile_get_master_key_length(profile))
}

/// Puts a salt after a key, as policies want them.
///
/// # Safety
/// `key` has room for both, `salt` has `bytes_in_salt` octets, and they are not the same memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn srtp_append_salt_to_key(
    key: *mut u8,
    bytes_in_key: c_uint,
    salt: *mut u8,
    bytes_in_salt: c_uint,
) {
    // SAFETY: the caller's word.
    unsafe { std::ptr::copy_nonoverlapping(salt, key.add(bytes_in_key as usize), bytes_in_salt as usize) }
}
