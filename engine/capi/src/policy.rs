//! From a program's policy to keys: the one place that reads `srtp_policy_t` and what it points to.

use std::ffi::c_int;
use std::slice::from_raw_parts;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_srtp::{
    ExtensionIds, KeyId, KeyOptions, Kind, MAX_KEYS, MasterKey, Mki, Omit, ReplayWindow, SessionKeys, Suite,
};

use crate::ffi::number;
use crate::types::srtp_sec_serv_t::{sec_serv_auth, sec_serv_conf, sec_serv_conf_and_auth};
use crate::types::{
    SRTP_AES_GCM_128, SRTP_AES_GCM_128_KEY_LEN_WSALT, SRTP_AES_GCM_256, SRTP_AES_GCM_256_KEY_LEN_WSALT,
    SRTP_AES_ICM_128, SRTP_AES_ICM_128_KEY_LEN_WSALT, SRTP_AES_ICM_192, SRTP_AES_ICM_192_KEY_LEN_WSALT,
    SRTP_AES_ICM_256, SRTP_AES_ICM_256_KEY_LEN_WSALT, SRTP_HMAC_SHA1, SRTP_MAX_MKI_LEN, SRTP_NULL_AUTH,
    SRTP_NULL_CIPHER, srtp_crypto_policy_t, srtp_policy_t, srtp_ssrc_type_t,
};

/// Why a policy cannot be; for the log. The status is `srtp_err_status_bad_param`.
pub(crate) type Refusal = String;

/// Which streams a policy is for.
#[derive(Clone, Copy)]
pub(crate) enum Streams {
    /// The one with this SSRC.
    One(u32),
    /// Those that have none of their own.
    Any,
}

/// A policy, checked, with its keys expanded.
pub(crate) struct Policy {
    pub(crate) streams: Streams,
    pub(crate) crypto: Arc<Crypto>,
}

/// What streams under one policy share.
pub(crate) struct Crypto {
    /// At least one.
    keys: Vec<Keys>,
    pub(crate) window: ReplayWindow,
    /// Whether a packet may be sent again.
    pub(crate) repeats: bool,
    /// Whether a packet that is sent again must have the same header, too.
    pub(crate) header_counts: bool,
    /// Octets that protection adds to RTP and to RTCP packets, without MKI.
    overhead: [usize; 2],
}

/// One master key's session keys, for packets without and with its MKI.
struct Keys {
    plain: Arc<SessionKeys>,
    marked: Arc<SessionKeys>,
}

impl Crypto {
    /// The key to protect with: the first one without an MKI, or the one of that number. `None` if there is none.
    pub(crate) fn key(&self, mki: Option<usize>) -> Option<&Arc<SessionKeys>> {
        match mki {
            None => self.keys.first().map(|keys| &keys.plain),
            Some(number) => self.keys.get(number).map(|keys| &keys.marked),
        }
    }

    /// The keys that packets are tried with, last first.
    pub(crate) fn inbound(&self, mki: bool) -> impl Iterator<Item = &Arc<SessionKeys>> {
        let keys = if mki { &self.keys[..] } else { &self.keys[..1] };
        keys.iter().rev().map(move |keys| if mki { &keys.marked } else { &keys.plain })
    }

    /// Octets that protection adds; `None` if there is no such key.
    pub(crate) fn overhead(&self, kind: Kind, mki: Option<usize>) -> Option<usize> {
        let keys = self.key(mki)?;
        Some(self.overhead[usize::from(kind == Kind::Rtcp)] + keys.mki().len())
    }
}

/// Reads one policy, not the list that it may begin.
///
/// # Safety
/// `policy` and what it points to are as `srtp_policy_t` says; keys are as long as its ciphers want them.
pub(crate) unsafe fn read(policy: &srtp_policy_t) -> Result<Policy, Refusal> {
    if !policy.deprecated_ekt.is_null() {
        return Err("EKT is not part of this interface: leave deprecated_ekt NULL".into());
    }
    let ssrc_type = number(policy.ssrc.r#type);
    let streams = if ssrc_type == srtp_ssrc_type_t::ssrc_specific as u32 {
        Streams::One(policy.ssrc.value)
    } else if ssrc_type == srtp_ssrc_type_t::ssrc_any_inbound as u32
        || ssrc_type == srtp_ssrc_type_t::ssrc_any_outbound as u32
    {
        Streams::Any
    } else {
        return Err(format!("ssrc.type is {ssrc_type}: say ssrc_specific or one of ssrc_any_…"));
    };
    let window = match policy.window_size {
        0 => ReplayWindow::default(),
        packets => u32::try_from(packets)
            .ok()
            .filter(|packets| *packets < 0x8000)
            .and_then(|packets| ReplayWindow::new(packets).ok())
            .ok_or_else(|| format!("window_size is {packets}: 64 to 32,767 packets, or 0 for 128"))?,
    };
    let repeats = match policy.allow_repeat_tx {
        0 => false,
        1 => true,
        other => return Err(format!("allow_repeat_tx is {other}: 0 or 1")),
    };
    let mut protection = protection(&policy.rtp, &policy.rtcp)?;
    // SAFETY: the caller's word.
    let ids = unsafe { extension_ids(policy) }?;
    // Elements have the payload's cipher (RFC 6904 §3.2), which may be none.
    if policy.rtp.cipher_type != SRTP_NULL_CIPHER {
        protection.options.encrypted_extensions = ids;
    }
    // SAFETY: the caller's word.
    let keys = unsafe { keys(policy, &protection) }?;
    let header_counts = protection.suite.is_aead() || !protection.options.encrypted_extensions.is_empty();
    let Protection { overhead, .. } = protection;
    Ok(Policy { streams, crypto: Arc::new(Crypto { keys, window, repeats, header_counts, overhead }) })
}

/// A pair of policies in the engine's terms.
struct Protection {
    suite: Suite,
    options: KeyOptions,
    overhead: [usize; 2],
}

/// One policy of a pair.
struct Half {
    cipher: u32,
    encrypt: bool,
    /// Octets; 0 without authentication.
    tag: c_int,
}

fn half(policy: &srtp_crypto_policy_t, what: &str) -> Result<Half, Refusal> {
    let cipher = policy.cipher_type;
    let services = number(policy.sec_serv);
    let (key_len, gcm) = match cipher {
        SRTP_NULL_CIPHER => (policy.cipher_key_len, false),
        SRTP_AES_ICM_128 => (SRTP_AES_ICM_128_KEY_LEN_WSALT, false),
        SRTP_AES_ICM_192 => (SRTP_AES_ICM_192_KEY_LEN_WSALT, false),
        SRTP_AES_ICM_256 => (SRTP_AES_ICM_256_KEY_LEN_WSALT, false),
        SRTP_AES_GCM_128 => (SRTP_AES_GCM_128_KEY_LEN_WSALT, true),
        SRTP_AES_GCM_256 => (SRTP_AES_GCM_256_KEY_LEN_WSALT, true),
        other => return Err(format!("{what}.cipher_type is {other}, which is no cipher")),
    };
    if policy.cipher_key_len != key_len {
        return Err(format!("{what}.cipher_key_len is {}: {key_len}", policy.cipher_key_len));
    }
    let conf = services & sec_serv_conf as u32 != 0;
    let auth = services & sec_serv_auth as u32 != 0;
    let tag = policy.auth_tag_len;
    if services > sec_serv_conf_and_auth as u32 {
        return Err(format!("{what}.sec_serv is {services}: 0 to 3"));
    }
    if gcm {
        if tag != 16 {
            return Err(format!(
                "{what}.auth_tag_len is {tag}: tags of AES-GCM have 16 octets (RFC 7714 §12)"
            ));
        }
        // It always authenticates, whatever sec_serv says; GStreamer says sec_serv_conf.
        return Ok(Half { cipher, encrypt: conf, tag });
    }
    let encrypt = conf && cipher != SRTP_NULL_CIPHER;
    let hmac = match policy.auth_type {
        SRTP_HMAC_SHA1 => true,
        SRTP_NULL_AUTH if tag == 0 || !auth => false,
        other => {
            return Err(format!(
                "{what}.auth_type is {other}: SRTP_HMAC_SHA1, or SRTP_NULL_AUTH without a tag"
            ));
        }
    };
    if !hmac {
        return Ok(Half { cipher, encrypt, tag: 0 });
    }
    if !matches!(tag, 4 | 10) {
        return Err(format!("{what}.auth_tag_len is {tag}: 10 or 4 (RFC 3711 §5.2)"));
    }
    if policy.auth_key_len != 20 {
        return Err(format!("{what}.auth_key_len is {}: 20 (RFC 3711 §8.2)", policy.auth_key_len));
    }
    // RTCP is always authenticated (RFC 3711 §3.4), whatever its policy's sec_serv says.
    Ok(Half { cipher, encrypt, tag: if auth || what == "rtcp" { tag } else { 0 } })
}

fn protection(rtp: &srtp_crypto_policy_t, rtcp: &srtp_crypto_policy_t) -> Result<Protection, Refusal> {
    let (rtp, rtcp_policy) = (half(rtp, "rtp")?, rtcp);
    let rtcp = half(rtcp_policy, "rtcp")?;
    let cipher = match [rtp.cipher, rtcp.cipher] {
        [SRTP_NULL_CIPHER, SRTP_NULL_CIPHER] => SRTP_AES_ICM_128,
        [SRTP_NULL_CIPHER, one] | [one, SRTP_NULL_CIPHER] => one,
        [one, other] if one == other => one,
        _ => return Err("rtp and rtcp have different ciphers: one master key is for one suite".into()),
    };
    let short = rtp.tag == 4;
    let suite = match cipher {
        SRTP_AES_ICM_128 if short => Suite::AesCm128HmacSha1_32,
        SRTP_AES_ICM_128 => Suite::AesCm128HmacSha1_80,
        SRTP_AES_ICM_192 if short => Suite::AesCm192HmacSha1_32,
        SRTP_AES_ICM_192 => Suite::AesCm192HmacSha1_80,
        SRTP_AES_ICM_256 if short => Suite::AesCm256HmacSha1_32,
        SRTP_AES_ICM_256 => Suite::AesCm256HmacSha1_80,
        SRTP_AES_GCM_128 => Suite::AeadAes128Gcm,
        _ => Suite::AeadAes256Gcm,
    };
    if suite.is_aead() && rtp.cipher != rtcp.cipher {
        return Err("rtp and rtcp: AES-GCM protects both or neither".into());
    }
    if suite.is_aead() && !rtp.encrypt {
        return Err("rtp.sec_serv: AES-GCM encrypts all RTP (RFC 7714 §8.2)".into());
    }
    if rtcp.tag == 0 {
        return Err(
            "rtcp: SRTCP without a tag is refused (RFC 3711 §3.4); use SRTP_HMAC_SHA1 with 10 octets".into(),
        );
    }
    if rtcp.cipher == SRTP_NULL_CIPHER && number(rtcp_policy.sec_serv) & sec_serv_conf as u32 != 0 {
        return Err("rtcp.sec_serv: a NULL cipher gives no confidentiality; use sec_serv_auth".into());
    }
    let options = KeyOptions {
        omit: Omit {
            rtp_encryption: !rtp.encrypt,
            rtcp_encryption: !rtcp.encrypt,
            rtp_authentication: rtp.tag == 0,
        },
        short_rtcp_tags: rtcp.tag == 4,
        ..KeyOptions::default()
    };
    // SRTCP adds E flag and index.
    let overhead = [rtp.tag as usize, rtcp.tag as usize + 4];
    Ok(Protection { suite, options, overhead })
}

/// # Safety
/// As [`read`].
unsafe fn extension_ids(policy: &srtp_policy_t) -> Result<ExtensionIds, Refusal> {
    let count = usize::try_from(policy.enc_xtn_hdr_count).unwrap_or(0);
    if policy.enc_xtn_hdr.is_null() || count == 0 {
        return Ok(ExtensionIds::NONE);
    }
    // SAFETY: the caller says that there are so many.
    let ids = unsafe { from_raw_parts(policy.enc_xtn_hdr, count) };
    ids.iter()
        .map(|id| u8::try_from(*id).ok().filter(|id| *id != 0))
        .collect::<Option<_>>()
        .ok_or_else(|| "enc_xtn_hdr: identifiers are 1 to 255 (RFC 8285)".into())
}

/// # Safety
/// As [`read`].
unsafe fn keys(policy: &srtp_policy_t, protection: &Protection) -> Result<Vec<Keys>, Refusal> {
    let mut found = Vec::new();
    if !policy.key.is_null() {
        // SAFETY: the caller's word on the key.
        found.push(unsafe { expand(policy.key, &[], protection) }?);
        return Ok(found);
    }
    let count = usize::try_from(policy.num_master_keys).unwrap_or(usize::MAX);
    if policy.keys.is_null() || !(1..=MAX_KEYS).contains(&count) {
        return Err(format!("no key: set key, or 1 to {MAX_KEYS} keys"));
    }
    // SAFETY: the caller says that there are so many.
    for key in unsafe { from_raw_parts(policy.keys, count) } {
        // SAFETY: each is NULL or points to a key.
        let Some(key) = (unsafe { key.as_ref() }) else { return Err("keys: one is NULL".into()) };
        if key.key.is_null() {
            return Err("keys: one has no key".into());
        }
        let mki = if key.mki_id.is_null() || key.mki_size == 0 {
            &[][..]
        } else if key.mki_size > SRTP_MAX_MKI_LEN as u32 {
            return Err(format!("mki_size is {}: at most {SRTP_MAX_MKI_LEN}", key.mki_size));
        } else {
            // SAFETY: the caller says that the MKI has so many octets.
            unsafe { from_raw_parts(key.mki_id, key.mki_size as usize) }
        };
        // SAFETY: the caller's word on the key.
        found.push(unsafe { expand(key.key, mki, protection) }?);
    }
    Ok(found)
}

/// # Safety
/// `key` points to as many octets as the suite's key and salt have.
unsafe fn expand(key: *const u8, mki: &[u8], protection: &Protection) -> Result<Keys, Refusal> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let suite = protection.suite;
    // SAFETY: the caller's word.
    let material = unsafe { from_raw_parts(key, suite.key_len() + suite.salt_len()) };
    let master = MasterKey::from_concatenated(suite, material).map_err(|e| e.to_string())?;
    let derive = |mki| {
        let id = KeyId(NEXT.fetch_add(1, Ordering::Relaxed));
        let options = KeyOptions { mki, ..protection.options };
        SessionKeys::derive_with(id, &master, &options).map(Arc::new).map_err(|e| e.to_string())
    };
    Ok(Keys { plain: derive(Mki::NONE)?, marked: derive(Mki::new(mki).map_err(|e| e.to_string())?)? })
}
