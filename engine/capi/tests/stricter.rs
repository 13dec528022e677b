//! Where this library tells more than libsrtp, or refuses what libsrtp does.
#![allow(unsafe_code, reason = "a C interface")]

mod support;

use std::ffi::{CStr, c_char, c_void};
use std::sync::{LazyLock, Mutex};

use sluice_srtp2::*;
use support::{Api, OK, Random, Session, policy};

const SSRC: u32 = 0xcafe_babe;
type Preset = unsafe extern "C" fn(*mut srtp_crypto_policy_t);

fn one(rtp: Preset, rtcp: Preset) -> support::Owned {
    policy(Some(SSRC), [rtp, rtcp], &[(vec![7; 46], vec![])], &[])
}

fn with_payload(sequence: u16, timestamp: u8, payload: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, timestamp]);
    packet.extend(SSRC.to_be_bytes());
    packet.extend([payload; 50]);
    packet
}

#[test]
fn a_packet_is_sent_again_only_as_it_was() {
    let apis = [Some(Api::sluice()), Api::libsrtp()];
    for (preset, gcm) in [
        (srtp_crypto_policy_set_rtp_default as Preset, false),
        (srtp_crypto_policy_set_aes_gcm_256_16_auth as Preset, true),
    ] {
        let mut sent = Vec::new();
        for api in apis.iter().flatten() {
            // SAFETY: no arguments.
            unsafe { (api.srtp_init)() };
            let mut owned = one(preset, preset);
            owned.policy.allow_repeat_tx = 1;
            let session = Session::new(api, &owned.policy).unwrap();
            let packets = [0_u16, 1, 2].map(|sequence| with_payload(sequence, 1, 3));
            let first = packets.each_ref().map(|plain| session.protect(false, plain, None).unwrap());
            let again = packets.each_ref().map(|plain| session.protect(false, plain, None).unwrap());
            assert_eq!(first, again);
            sent.push(first);
            let other_header = session.protect(false, &with_payload(1, 9, 3), None);
            let other_payload = session.protect(false, &with_payload(1, 1, 4), None);
            if api.version().starts_with("libsluice") {
                // Another payload under the same key stream, or another header under the same GCM nonce,
                // gives the plain text or the key of the tags away.
                assert_eq!(other_header.err(), gcm.then_some(9));
                assert_eq!(other_payload, Err(9));
            } else {
                assert!(other_header.is_ok() && other_payload.is_ok(), "libsrtp has become stricter: say so");
            }
            owned.policy.allow_repeat_tx = 0;
            let never = Session::new(api, &owned.policy).unwrap();
            never.protect(false, &packets[0], None).unwrap();
            assert_eq!(never.protect(false, &packets[0], None), Err(9));
        }
        assert!(sent.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn what_was_received_stays_received_after_an_update() {
    let api = Api::sluice();
    let owned = one(srtp_crypto_policy_set_rtp_default, srtp_crypto_policy_set_rtcp_default);
    let (sender, receiver) =
        (Session::new(&api, &owned.policy).unwrap(), Session::new(&api, &owned.policy).unwrap());
    let packet = sender.protect(false, &Random(1).rtp(SSRC, 1), None).unwrap();
    receiver.unprotect(false, &packet, false).unwrap();
    assert_eq!((sender.update(&owned.policy), receiver.update(&owned.policy)), (OK, OK));
    assert_eq!(receiver.unprotect(false, &packet, false), Err(9), "a replay across the update");
    assert_eq!(sender.protect(false, &Random(2).rtp(SSRC, 1), None), Err(9), "a two-time pad");
    assert!(sender.protect(false, &Random(2).rtp(SSRC, 2), None).is_ok());
}

static API: LazyLock<Api> = LazyLock::new(Api::sluice);
static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static EVENTS: Mutex<Vec<(u32, srtp_event_t)>> = Mutex::new(Vec::new());

unsafe extern "C" fn logger(_: srtp_log_level_t, message: *const c_char, data: *mut c_void) {
    assert_eq!(data.addr(), 42);
    // SAFETY: the library gives a string.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    MESSAGES.lock().unwrap().push(message);
}

unsafe extern "C" fn handler(data: *mut srtp_event_data_t) {
    // SAFETY: the library gives an event.
    let data = unsafe { *data };
    // A handler may use the session it is told of.
    let mut roc = 0;
    // SAFETY: a live session.
    assert_eq!(unsafe { (API.srtp_get_stream_roc)(data.session, data.ssrc, &raw mut roc) }, OK);
    EVENTS.lock().unwrap().push((data.ssrc, data.event));
}

#[test]
fn policies_are_refused_with_their_reason_and_limits_are_told_of() {
    let api = &*API;
    // SAFETY: handlers that stay.
    unsafe { (api.srtp_install_log_handler)(Some(logger), std::ptr::without_provenance_mut(42)) };
    type Spoil = fn(&mut srtp_policy_t);
    let cases: [(Spoil, &str); 6] = [
        (
            |policy| {
                // SAFETY: a policy to write to.
                unsafe { srtp_crypto_policy_set_aes_gcm_128_8_auth(&raw mut policy.rtp) }
            },
            "tags of AES-GCM have 16 octets",
        ),
        (|policy| policy.rtcp.auth_type = SRTP_NULL_AUTH, "SRTP_NULL_AUTH without a tag"),
        (
            |policy| {
                // SAFETY: a policy to write to.
                unsafe { srtp_crypto_policy_set_null_cipher_hmac_null(&raw mut policy.rtcp) }
            },
            "SRTCP without a tag",
        ),
        (
            |policy| {
                // SAFETY: a policy to write to.
                unsafe { srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&raw mut policy.rtcp) }
            },
            "different ciphers",
        ),
        (|policy| policy.rtp.auth_tag_len = 8, "10 or 4"),
        (|policy| policy.rtp.cipher_type = 99, "no cipher"),
    ];
    for (spoil, reason) in cases {
        let mut owned = one(srtp_crypto_policy_set_rtp_default, srtp_crypto_policy_set_rtcp_default);
        spoil(&mut owned.policy);
        assert_eq!(Session::new(api, &owned.policy).err(), Some(2));
        let message = MESSAGES.lock().unwrap().pop().unwrap();
        assert!(message.contains(reason), "{message}");
    }

    // SAFETY: as above.
    unsafe { (api.srtp_install_event_handler)(Some(handler)) };
    let owned = one(srtp_crypto_policy_set_rtp_default, srtp_crypto_policy_set_rtcp_default);
    let session = Session::new(api, &owned.policy).unwrap();
    let mut random = Random(8);
    let mut send = |sequence| session.protect(false, &random.rtp(SSRC, sequence), None);
    send(1).unwrap();
    assert!(EVENTS.lock().unwrap().is_empty());
    session.set_roc(SSRC, u32::MAX);
    send(2).unwrap();
    assert_eq!(EVENTS.lock().unwrap().pop(), Some((SSRC, srtp_event_t::event_key_soft_limit)));
    send(30_000).unwrap();
    send(60_000).unwrap();
    send(65_535).unwrap();
    EVENTS.lock().unwrap().clear();
    assert_eq!(send(0), Err(15), "there are no indices left");
    assert_eq!(EVENTS.lock().unwrap().pop(), Some((SSRC, srtp_event_t::event_packet_index_limit)));
    let _ = session.unprotect(false, &random.rtp(SSRC, 9), false);
    assert_eq!(EVENTS.lock().unwrap().pop(), Some((SSRC, srtp_event_t::event_ssrc_collision)));
    // SAFETY: no handler.
    unsafe { (api.srtp_install_event_handler)(None) };
    let _ = session.unprotect(false, &random.rtp(SSRC, 9), false);
    assert!(MESSAGES.lock().unwrap().pop().unwrap().contains("both sent and received"));
}
