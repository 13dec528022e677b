//! Crypto lines as text (RFC 4568 sections 4, 6, 9).

use sluice_keying::sdes::SdesError;
use sluice_keying::sdes::{
    self, CryptoLine, FecOrder, KeyLifetime, KeyMki, MAX_KEYS, MAX_PARAMETERS, Parameter,
};
use sluice_keying::sdp::Sdp;
use sluice_srtp::Suite;

const KEY: &str = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

fn line(value: &str) -> CryptoLine {
    CryptoLine::parse(value).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn with_key(key: &str) -> Result<CryptoLine, SdesError> {
    CryptoLine::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 {key}"))
}

fn with_parameters(parameters: &str) -> Result<CryptoLine, SdesError> {
    with_key(&format!("{KEY} {parameters}"))
}

fn parameters(text: &str) -> Vec<Parameter> {
    with_parameters(text).unwrap().parameters().to_vec()
}

#[test]
fn examples_of_rfc4568_4_are_read_and_written_as_they_are() {
    let examples = [
        "1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32",
        "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32",
        "1 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj|2^20|1:32",
        "1 AES_CM_128_HMAC_SHA1_80 inline:YUJDZGVmZ2hpSktMbW9QUXJzVHVWd3l6MTIzNDU2|1066:4",
    ];
    for example in examples {
        assert_eq!(line(example).value().as_str(), example);
    }
    let [first, .., last] = examples.map(line);
    let key = &last.inline_keys()[0];
    assert_eq!((key.lifetime(), key.mki()), (None, Some(&KeyMki::new(1066, 4).unwrap())));
    let key = &first.inline_keys()[0];
    assert_eq!(key.lifetime(), Some(KeyLifetime::PowerOfTwo(20)));
    assert_eq!(key.mki().map(KeyMki::length), Some(32));
}

#[test]
fn the_offer_of_rfc4568_7_1_5_has_two_lines_of_which_the_second_has_two_keys() {
    let offer = "v=0\n\
        o=sam 2890844526 2890842807 IN IP4 10.47.16.5\n\
        s=SRTP Discussion\n\
        i=A discussion of Secure RTP\n\
        u=http://www.example.com/seminars/srtp.pdf\n\
        e=marge@example.com (Marge Simpson)\n\
        c=IN IP4 168.2.17.12\n\
        t=2873397496 2873404696\n\
        m=audio 49170 RTP/SAVP 0\n\
        a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP\n\
        a=crypto:2 F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|2^20|1:4; inline:QUJjZGVmMTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5|2^20|2:4 FEC_ORDER=FEC_SRTP\n";
    let sdp = Sdp::parse(offer).unwrap();
    let lines = sdes::crypto_lines(&sdp.media()[0]).unwrap();
    let lines: Vec<_> = lines.into_iter().map(Result::unwrap).collect();
    assert_eq!(lines.iter().map(CryptoLine::tag).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(lines[1].suite(), Some(Suite::F8_128HmacSha1_80));
    let keys = lines[1].keys().unwrap();
    assert_eq!(keys[0].key_salt.as_slice(), b"123456789ABCDE0123456789ABcdef");
    assert_eq!(keys[1].key_salt.as_slice(), b"ABcdef123456789ABCDE0123456789");
    assert_eq!(keys[1].options.mki.as_slice(), [0, 0, 0, 2]);
    assert_eq!(lines[0].parameters(), [Parameter::FecOrder(FecOrder::FecSrtp)]);
}

#[test]
fn every_suite_is_known_by_its_name_in_any_case_and_written_as_it_was() {
    for suite in Suite::ALL {
        for name in [suite.name().to_owned(), suite.name().to_lowercase()] {
            let value = format!("1 {name} {KEY}");
            assert_eq!(line(&value).suite(), Some(suite));
            assert_eq!(line(&value).value().as_str(), value);
        }
    }
}

#[test]
fn twelve_suites_are_registered_for_security_descriptions() {
    let registered: Vec<_> = Suite::ALL.into_iter().filter(|suite| sdes::is_registered(*suite)).collect();
    assert_eq!(registered.len(), 12);
    assert!(!sdes::is_registered(Suite::NullHmacSha1_80));
}

#[test]
fn an_unknown_suite_is_no_error_until_it_is_used() {
    let unknown = line(&format!("3 AES_CM_512_X {KEY}"));
    assert_eq!((unknown.suite(), unknown.suite_name()), (None, "AES_CM_512_X"));
    assert_eq!(unknown.check(), Err(SdesError::UnknownSuite { tag: 3 }));
    assert_eq!(unknown.keys(), Err(SdesError::UnknownSuite { tag: 3 }));
}

#[test]
fn a_tag_has_one_to_nine_digits_without_leading_zeroes() {
    let tag =
        |tag: &str| CryptoLine::parse(&format!("{tag} AES_CM_128_HMAC_SHA1_80 {KEY}")).map(|line| line.tag());
    assert_eq!(tag("999999999"), Ok(999_999_999));
    assert_eq!(tag("0"), Ok(0));
    for wrong in ["01", "1000000000", "-1", "+1", "x", "1a"] {
        assert_eq!(tag(wrong), Err(SdesError::Tag), "{wrong}");
    }
}

#[test]
fn what_is_no_crypto_line_is_refused() {
    for wrong in ["", " ", "1", "1 AES_CM_128_HMAC_SHA1_80", &format!("1 X {KEY};")] {
        assert_eq!(CryptoLine::parse(wrong), Err(SdesError::Form), "{wrong:?}");
    }
    assert_eq!(CryptoLine::parse(&format!("1 AES-CM {KEY}")), Err(SdesError::SuiteName));
    assert_eq!(with_key("uri:http://x"), Err(SdesError::Method));
    assert_eq!(with_key("inline"), Err(SdesError::Form));
    assert_eq!(with_key(&format!("{KEY};uri:x")), Err(SdesError::Method));
    for wrong in ["inline:", "inline:a-b", "inline:|2^20", &format!("{KEY}|2^20|1:4|x")] {
        assert!(with_key(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn words_may_be_further_apart_and_inline_in_any_case() {
    let read = line(&format!("1\tAES_CM_128_HMAC_SHA1_80   {} \t WSH=64 ", KEY.replace("inline", "INLINE")));
    assert_eq!(read.value().as_str(), format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} WSH=64"));
}

#[test]
fn a_lifetime_is_a_power_of_two_or_decimal_up_to_2_48() {
    let lifetime =
        |text: &str| with_key(&format!("{KEY}|{text}")).map(|line| line.inline_keys()[0].lifetime());
    assert_eq!(lifetime("2^0").map(|it| it.map(KeyLifetime::packets)), Ok(Some(1)));
    assert_eq!(lifetime("2^48").map(|it| it.map(KeyLifetime::packets)), Ok(Some(1 << 48)));
    assert_eq!(lifetime("1"), Ok(Some(KeyLifetime::Packets(1))));
    assert_eq!(lifetime("281474976710656"), Ok(Some(KeyLifetime::Packets(1 << 48))));
    for wrong in ["0", "2^49", "281474976710657", "01", "2^01", "2^", "", "-1", "3^2", "99999999999999999999"]
    {
        assert_eq!(lifetime(wrong), Err(SdesError::Lifetime), "{wrong}");
    }
    assert_eq!(with_key(&format!("{KEY}|1:4|2^20")), Err(SdesError::Lifetime), "in the MKI's place");
}

#[test]
fn an_mki_is_a_positive_number_of_1_to_128_octets() {
    let mki =
        |text: &str| with_key(&format!("{KEY}|{text}")).map(|line| line.inline_keys()[0].mki().cloned());
    assert_eq!(mki("1066:4").unwrap().unwrap().to_bytes(), Ok(vec![0, 0, 4, 42]));
    assert_eq!(mki("1:128").unwrap().unwrap().to_bytes().map(|bytes| bytes.len()), Ok(128));
    let large = format!("{}:128", u128::MAX);
    assert_eq!(mki(&large).unwrap().unwrap().to_bytes().unwrap()[112..], [0xff; 16]);
    for wrong in ["0:4", "01:4", ":4", "x:4", "-1:4", &format!("{}:128", "9".repeat(310))] {
        assert_eq!(mki(wrong), Err(SdesError::Mki), "{wrong}");
    }
    for wrong in ["1:0", "1:129", "1:", "1:04", "1:x", "1:1:1"] {
        assert_eq!(mki(wrong), Err(SdesError::MkiLength), "{wrong}");
    }
    assert_eq!(with_key(&format!("{KEY}|2^20|1")), Err(SdesError::MkiLength));
    assert_eq!(mki("255:1").unwrap().unwrap().to_bytes(), Ok(vec![255]));
    assert_eq!(with_key(&format!("{KEY}|256:1")).unwrap().keys(), Err(SdesError::MkiTooLarge { length: 1 }));
}

#[test]
fn several_keys_have_mkis_of_one_length_all_different() {
    assert_eq!(with_key(&format!("{KEY}|1:4;{KEY}")), Err(SdesError::MkiMissing));
    assert_eq!(with_key(&format!("{KEY};{KEY}")), Err(SdesError::MkiMissing));
    assert_eq!(with_key(&format!("{KEY}|1:4;{KEY}|2:2")), Err(SdesError::MkiLengthsDiffer));
    assert_eq!(with_key(&format!("{KEY}|1:4;{KEY}|1:4")), Err(SdesError::RepeatedMki));
    let keys = |count: usize| (1..=count).map(|mki| format!("{KEY}|{mki}:4")).collect::<Vec<_>>().join(";");
    assert_eq!(with_key(&keys(MAX_KEYS)).unwrap().inline_keys().len(), MAX_KEYS);
    assert_eq!(with_key(&keys(MAX_KEYS + 1)), Err(SdesError::TooManyKeys));
}

#[test]
fn session_parameters_are_read_in_any_case() {
    let all =
        "KDR=24 UNENCRYPTED_SRTP unencrypted_srtcp UNAUTHENTICATED_SRTP fec_order=srtp_fec WSH=128 -X=1 Y";
    let expected = [
        Parameter::Kdr(24),
        Parameter::UnencryptedSrtp,
        Parameter::UnencryptedSrtcp,
        Parameter::UnauthenticatedSrtp,
        Parameter::FecOrder(FecOrder::SrtpFec),
        Parameter::WindowSizeHint(128),
        Parameter::Unknown { text: "X=1".into(), mandatory: false },
        Parameter::Unknown { text: "Y".into(), mandatory: true },
    ];
    assert_eq!(parameters(all), expected);
    let written = with_parameters(all).unwrap().value();
    assert!(written.ends_with("UNENCRYPTED_SRTCP UNAUTHENTICATED_SRTP FEC_ORDER=SRTP_FEC WSH=128 -X=1 Y"));
}

#[test]
fn session_parameters_that_are_none_are_refused() {
    for wrong in ["KDR=0", "KDR=25", "KDR=01", "KDR=", "FEC_ORDER=X", "WSH=63", "WSH=064", "WSH=4294967296"] {
        assert!(matches!(with_parameters(wrong), Err(SdesError::Parameter { .. })), "{wrong}");
    }
    for wrong in ["-", "--X"] {
        assert_eq!(with_parameters(wrong), Err(SdesError::Form), "{wrong}");
    }
    for wrong in ["FEC_KEY=", "FEC_KEY=inline:", "FEC_KEY=uri:x"] {
        assert!(with_parameters(wrong).is_err(), "{wrong}");
    }
    let repeated = with_parameters("KDR=1 WSH=64 kdr=2");
    assert_eq!(repeated, Err(SdesError::RepeatedParameter { name: "KDR" }));
    assert_eq!(with_parameters(&"-x ".repeat(MAX_PARAMETERS + 1)), Err(SdesError::TooManyParameters));
    assert!(with_parameters(&"-x ".repeat(MAX_PARAMETERS)).is_ok());
}

#[test]
fn a_parameter_with_a_value_where_there_is_none_is_another() {
    for other in ["UNENCRYPTED_SRTP=1", "KDR", "WSH", "UNENCRYPTED"] {
        let unknown = with_parameters(other).unwrap();
        assert_eq!(unknown.check(), Err(SdesError::UnknownParameter { tag: 1 }), "{other}");
    }
}

#[test]
fn lines_of_a_medium_are_read_one_by_one_and_their_tags_are_theirs_alone() {
    let media = |lines: &[&str]| {
        let mut media = sluice_keying::sdp::Media::new("audio", 1, "RTP/SAVP", ["0"]).unwrap();
        for line in lines {
            media.push_attribute("crypto", Some(line)).unwrap();
        }
        media
    };
    let good = format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}");
    let lines = sdes::crypto_lines(&media(&["2 X y", &good, "bad"])).unwrap();
    assert_eq!(lines.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
    let repeated = sdes::crypto_lines(&media(&[&good, &good]));
    assert_eq!(repeated, Err(SdesError::RepeatedTag { tag: 1 }));
    assert_eq!(sdes::answered_line(&media(&[&good])), Ok(Some(line(&good))));
    assert_eq!(sdes::answered_line(&media(&[])), Ok(None));
    assert_eq!(sdes::answered_line(&media(&[&good, "2 X y"])), Err(SdesError::SeveralLines));
}
