//! Answers against offers (RFC 4568 sections 5.1, 7.1).

use sluice_keying::sdes::{CryptoLine, Parameter, SdesError, match_answer};

const KEY: &str = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const OTHER: &str = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

fn line(value: &str) -> CryptoLine {
    CryptoLine::parse(value).unwrap()
}

/// Two lines, the second with parameters.
fn offer(parameters: &str) -> [CryptoLine; 2] {
    [
        line(&format!("1 AES_CM_128_HMAC_SHA1_32 {KEY}")),
        line(&format!("2 AES_CM_128_HMAC_SHA1_80 {KEY} {parameters}")),
    ]
}

fn answer(offer: &[CryptoLine], answer: &str) -> Result<u32, SdesError> {
    match_answer(offer, &line(answer)).map(CryptoLine::tag)
}

#[test]
fn an_answer_accepts_one_line_by_tag_and_suite() {
    let offer = offer("");
    assert_eq!(answer(&offer, &format!("2 AES_CM_128_HMAC_SHA1_80 {OTHER}")), Ok(2));
    assert_eq!(answer(&offer, &format!("2 aes_cm_128_hmac_sha1_80 {OTHER}")), Ok(2));
    let unknown = answer(&offer, &format!("3 AES_CM_128_HMAC_SHA1_80 {OTHER}"));
    assert_eq!(unknown, Err(SdesError::TagNotOffered { tag: 3 }));
}

#[test]
fn an_answer_cannot_move_to_another_suite() {
    let offer = offer("");
    for suite in ["AES_CM_128_HMAC_SHA1_32", "NULL_HMAC_SHA1_32", "UNHEARD_OF"] {
        let changed = answer(&offer, &format!("2 {suite} {OTHER}"));
        assert_eq!(changed, Err(SdesError::SuiteChanged { tag: 2 }), "{suite}");
    }
}

#[test]
fn negotiated_parameters_are_those_of_the_offer() {
    for name in ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP"] {
        let plain = format!("2 AES_CM_128_HMAC_SHA1_80 {OTHER}");
        let with = format!("{plain} {name}");
        assert_eq!(answer(&offer(name), &with), Ok(2));
        assert_eq!(answer(&offer(name), &plain), Err(SdesError::ParameterNotAnswered { tag: 2, name }));
        assert_eq!(
            answer(&offer(""), &with),
            Err(SdesError::ParameterNotOffered { tag: 2, name }),
            "a downgrade"
        );
    }
}

#[test]
fn declarative_parameters_are_each_sides_own() {
    let text = format!("2 AES_CM_128_HMAC_SHA1_80 {OTHER} WSH=128 -NEW");
    assert_eq!(answer(&offer("KDR=4 WSH=64"), &text), Ok(2));
}

#[test]
fn what_an_answer_demands_must_be_understood() {
    let text = format!("2 AES_CM_128_HMAC_SHA1_80 {OTHER} NEW");
    assert_eq!(answer(&offer(""), &text), Err(SdesError::UnknownParameter { tag: 2 }));
    let text = format!("2 AES_CM_128_HMAC_SHA1_80 {OTHER} FEC_ORDER=SRTP_FEC");
    assert_eq!(answer(&offer(""), &text), Err(SdesError::FecOrder { tag: 2 }));
    let text = "2 AES_CM_128_HMAC_SHA1_80 inline:AAAA";
    assert!(matches!(answer(&offer(""), text), Err(SdesError::KeyLength { tag: 2, got: 3, .. })));
}

#[test]
fn an_offers_key_cannot_come_back_as_the_answers() {
    let text = format!("2 AES_CM_128_HMAC_SHA1_80 {KEY}");
    assert_eq!(answer(&offer(""), &text), Err(SdesError::RepeatedKey { tag: 2 }));
    let hidden = format!("2 AES_CM_128_HMAC_SHA1_80 {OTHER}|1:1;{KEY}|2:1");
    assert_eq!(answer(&offer(""), &hidden), Err(SdesError::RepeatedKey { tag: 2 }));
}

#[test]
fn what_the_gateway_accepts_is_an_answer_to_the_offer() {
    let mut next = 0_u8;
    let mut random = |octets: &mut [u8]| {
        octets.fill_with(|| {
            next = next.wrapping_add(1);
            next
        });
    };
    let offer = offer("KDR=4 UNENCRYPTED_SRTCP FEC_ORDER=FEC_SRTP -X");
    let own = offer[1].accept(4, Some(31), &mut random).unwrap();
    assert_eq!(own.parameters(), [Parameter::UnencryptedSrtcp], "declarative ones are the offerer's");
    assert_eq!(match_answer(&offer, &own), Ok(&offer[1]));
    let refused = line(&format!("1 UNHEARD_OF {KEY}")).accept(0, None, &mut random);
    assert_eq!(refused, Err(SdesError::UnknownSuite { tag: 1 }));
}
