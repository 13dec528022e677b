//! Keys of crypto lines: decoded when they are used, and of the gateway's own.

use std::collections::HashSet;

use sluice_keying::sdes::{CryptoLine, KeyLifetime, Parameter, SdesError};
use sluice_srtp::{DerivationRate, KeyId, Lifetime, MasterKey, Omit, SessionKeys, Suite};

/// The key of RFC 4568 section 6.1's example, decoded.
const EXAMPLE: &[u8; 30] = b"wDfvg&T+)xG7@fb5jU,RaA}\\|p0%*#";
const KEY: &str = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const OTHER: &str = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

fn line(suite: &str, rest: &str) -> CryptoLine {
    CryptoLine::parse(&format!("1 {suite} {rest}")).unwrap()
}

fn cm(rest: &str) -> CryptoLine {
    line("AES_CM_128_HMAC_SHA1_80", rest)
}

/// Octets of a generator that is good enough for tests.
fn generator() -> impl FnMut(&mut [u8]) {
    let mut state = 1_u64;
    move |octets| {
        octets.fill_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
    }
}

#[test]
fn the_key_of_rfc4568_6_1_decodes_to_its_octets() {
    let keys = cm(&format!("{KEY}|2^20|1:4")).keys().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].suite, Suite::AesCm128HmacSha1_80);
    assert_eq!(keys[0].key_salt.as_slice(), EXAMPLE);
    assert_eq!(keys[0].options.mki.as_slice(), [0, 0, 0, 1]);
    assert_eq!(keys[0].options.lifetime, Lifetime { rtp_packets: 1 << 20, rtcp_packets: 1 << 20 });
    assert_eq!(keys[0].window, None);
}

#[test]
fn padding_is_read_or_not_and_always_written() {
    let own = CryptoLine::generate(1, Suite::AeadAes128Gcm, 0, None, &mut generator()).unwrap();
    let written = own.value();
    assert!(written.ends_with('='), "28 octets leave one over");
    let bare = written.trim_end_matches('=');
    assert_eq!(CryptoLine::parse(bare).unwrap().keys(), own.keys());
    assert_eq!(CryptoLine::parse(&written).unwrap().keys(), own.keys());
}

#[test]
fn keys_of_the_wrong_length_or_form_are_found_when_they_are_used() {
    for suite in Suite::ALL {
        let want = suite.key_len() + suite.salt_len();
        for (key, got) in [("inline:AAAA", 3), (&*format!("inline:{}", "AAAA".repeat(40)), 120)] {
            let refused = line(suite.name(), key);
            assert_eq!(refused.check(), Ok(suite));
            assert_eq!(refused.keys(), Err(SdesError::KeyLength { tag: 1, suite, got }), "not {want}");
        }
    }
    for wrong in ["inline:A", "inline:====", "inline:AA=A", "inline:A==="] {
        assert_eq!(cm(wrong).keys(), Err(SdesError::Base64 { tag: 1 }), "{wrong}");
    }
}

#[test]
fn a_default_lifetime_is_the_longest_and_no_rtcp_lifetime_is_longer_than_2_31() {
    assert_eq!(cm(KEY).keys().unwrap()[0].options.lifetime, Lifetime::MAX);
    let keys = cm(&format!("{KEY}|2^40")).keys().unwrap();
    assert_eq!(keys[0].options.lifetime, Lifetime { rtp_packets: 1 << 40, rtcp_packets: 1 << 31 });
    let keys = cm(&format!("{KEY}|1000")).keys().unwrap();
    assert_eq!(keys[0].options.lifetime, Lifetime { rtp_packets: 1000, rtcp_packets: 1000 });
}

#[test]
fn session_parameters_become_options_of_the_key() {
    let keys =
        cm(&format!("{KEY} KDR=16 UNENCRYPTED_SRTP UNENCRYPTED_SRTCP UNAUTHENTICATED_SRTP WSH=1024 -X"));
    let key = &keys.keys().unwrap()[0];
    assert_eq!(key.options.derivation_rate, DerivationRate::new(1 << 16).unwrap());
    let omit = Omit { rtp_encryption: true, rtcp_encryption: true, rtp_authentication: true };
    assert_eq!(key.options.omit, omit);
    assert_eq!(key.window, Some(1024));
    let hint = cm(&format!("{KEY} WSH=1000000")).keys().unwrap();
    assert_eq!(hint[0].window, Some(32_768), "what a window can hold");
}

#[test]
fn the_engine_takes_what_every_suite_negotiates() {
    for suite in Suite::ALL {
        let key =
            CryptoLine::generate(1, suite, 4, Some(31), &mut generator()).unwrap().keys().unwrap().remove(0);
        let master = MasterKey::from_concatenated(suite, &key.key_salt).unwrap();
        SessionKeys::derive_with(KeyId(1), &master, &key.options).unwrap();
    }
}

#[test]
fn an_aead_goes_without_nothing_but_the_encryption_of_rtcp() {
    let gcm = |parameter: &str| {
        line("AEAD_AES_128_GCM", &format!("inline:{} {parameter}", "A".repeat(38))).keys().map(drop)
    };
    let suite = Suite::AeadAes128Gcm;
    let inseparable = |what| Err(SdesError::Inseparable { tag: 1, suite, what });
    assert_eq!(gcm("UNENCRYPTED_SRTP"), inseparable("encryption"));
    assert_eq!(gcm("UNAUTHENTICATED_SRTP"), inseparable("authentication"));
    assert_eq!(gcm("UNENCRYPTED_SRTCP"), Ok(()));
}

#[test]
fn what_must_be_understood_and_is_not_makes_a_line_unusable() {
    assert_eq!(cm(&format!("{KEY} X")).keys(), Err(SdesError::UnknownParameter { tag: 1 }));
    assert!(cm(&format!("{KEY} -X")).keys().is_ok());
}

#[test]
fn fec_over_encrypted_packets_cannot_be_forwarded_and_the_other_order_can() {
    assert_eq!(cm(&format!("{KEY} FEC_ORDER=SRTP_FEC")).keys(), Err(SdesError::FecOrder { tag: 1 }));
    assert!(cm(&format!("{KEY} FEC_ORDER=FEC_SRTP")).keys().is_ok());
}

#[test]
fn fec_keys_are_keys_of_their_own() {
    let both = cm(&format!("{KEY} FEC_KEY={OTHER} KDR=3"));
    assert_eq!(both.value().as_str(), format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} FEC_KEY={OTHER} KDR=3"));
    assert_eq!(both.keys().unwrap(), cm(&format!("{KEY} KDR=3")).keys().unwrap());
    assert_eq!(both.fec_keys().unwrap(), cm(&format!("{OTHER} KDR=3")).keys().unwrap());
    assert_eq!(cm(KEY).fec_keys(), Ok(Vec::new()));
    let same = cm(&format!("{KEY} FEC_KEY={KEY}"));
    assert_eq!(same.fec_keys(), Err(SdesError::RepeatedKey { tag: 1 }), "RFC 4568 section 6.3.5");
    let differ = CryptoLine::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}|1:4 FEC_KEY={OTHER}|1:2"));
    assert_eq!(differ, Err(SdesError::MkiLengthsDiffer));
}

#[test]
fn a_master_key_is_there_once() {
    let twice = cm(&format!("{KEY}|1:1;{KEY}|2:1"));
    assert_eq!(twice.keys(), Err(SdesError::RepeatedKey { tag: 1 }));
    assert_eq!(cm(&format!("{KEY}|1:1;{OTHER}|2:1")).keys().unwrap().len(), 2);
}

#[test]
fn own_lines_have_fresh_keys_and_what_was_asked_for() {
    let mut random = generator();
    let mut seen = HashSet::new();
    for suite in Suite::ALL {
        let own = CryptoLine::generate(7, suite, 2, Some(20), &mut random).unwrap();
        let key = own.keys().unwrap().remove(0);
        assert_eq!((own.tag(), key.suite, key.options.mki.len()), (7, suite, 2));
        assert_eq!(own.inline_keys()[0].lifetime(), Some(KeyLifetime::PowerOfTwo(20)));
        assert!(seen.insert(key.key_salt.to_vec()));
        assert_eq!(CryptoLine::parse(&own.value()), Ok(own));
    }
    let bare = CryptoLine::generate(1, Suite::AesCm128HmacSha1_80, 0, None, &mut random).unwrap();
    assert!(!bare.value().contains('|'));
}

#[test]
fn own_mkis_are_never_0_and_as_long_as_asked_for() {
    let mut zero = |octets: &mut [u8]| octets.fill(0);
    for length in [1, 4, 5, 128] {
        let own = CryptoLine::generate(1, Suite::AesCm128HmacSha1_80, length, None, &mut zero).unwrap();
        let mki = own.inline_keys()[0].mki().unwrap().to_bytes().unwrap();
        assert_eq!((mki.len(), mki.last()), (usize::from(length), Some(&1)));
        let mut ones = |octets: &mut [u8]| octets.fill(0xff);
        let own = CryptoLine::generate(1, Suite::AesCm128HmacSha1_80, length, None, &mut ones).unwrap();
        assert!(own.keys().is_ok(), "{length}");
    }
}

#[test]
fn own_lines_that_cannot_be_are_refused() {
    let generate = |tag, mki, lifetime| {
        CryptoLine::generate(tag, Suite::AesCm128HmacSha1_80, mki, lifetime, &mut generator()).map(drop)
    };
    assert_eq!(generate(1_000_000_000, 0, None), Err(SdesError::Tag));
    assert_eq!(generate(1, 129, None), Err(SdesError::MkiLength));
    assert_eq!(generate(1, 0, Some(49)), Err(SdesError::Lifetime));
    assert_eq!(generate(999_999_999, 128, Some(48)), Ok(()));
}

#[test]
fn parameters_are_added_as_if_they_were_read() {
    let own = CryptoLine::generate(1, Suite::AesCm128HmacSha1_80, 0, None, &mut generator()).unwrap();
    let own = own.with(Parameter::WindowSizeHint(256)).unwrap();
    assert!(own.value().ends_with(" WSH=256"));
    assert!(own.clone().with(Parameter::WindowSizeHint(256)).is_err());
    assert!(own.with(Parameter::Kdr(25)).is_err());
}

#[test]
fn nothing_of_a_key_is_shown() {
    let line = cm(&format!("{KEY}|1:4 FEC_KEY={OTHER}|2:4 X={KEY}"));
    let shown = format!("{line:?} {:?}", cm(KEY).keys());
    assert!(shown.contains("FEC_KEY"), "{shown}");
    for secret in ["d0Rm", "PS1u", "wDfv"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
