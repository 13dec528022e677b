//! The examples of RFC 8225 and RFC 8224, as far as they hold. What does not, and was looked into:
//! - RFC 8225 section 9.1 lacks the brace that closes `dest`;
//! - its appendix A has a signature of neither of its keys;
//! - its section 7.1, and with it RFC 8224 section 4.1.1, has an `iat` that is a string, against RFC 7519.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey};

use super::passport::Token;
use super::{Claims, DialPlan, IdentityHeader, MediaKeys, Party, Request, TokenError, verifier};

const URL: &str = "https://cert.example.org/passport.cer";
const HEADER: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9j\
                      ZXJ0LmV4YW1wbGUub3JnL3Bhc3Nwb3J0LmNlciJ9";
/// RFC 8225 section 7.1.
const PAYLOAD_7_1: &str = "eyJkZXN0Ijp7InVyaSI6WyJzaXA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI\
                           6IjE0NDMyMDgzNDUiLCJvcmlnIjp7InRuIjoiMTIxNTU1NTEyMTIifX0";
const SIGNATURE_7_1: &str = "rq3pjT1hoRwakEGjHCnWSwUnshd0-zJ6F1VOgFWSjHBr8Qjpjlk-cpFYpFYsojN\
                             CpTzO3QfPOlckGaS6hEck7w";
/// RFC 8225 appendix A.2.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8HNbQd/TmvCKwPKHkMF9fScavGeH\n\
    78YTU8qLS8I5HLHSSmlATLcslQMhNC/OhlWBYC626nIlo7XeebYS7Sb37g==\n\
    -----END PUBLIC KEY-----\n";
/// RFC 8225 appendix A.1.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgi7q2TZvN9VDFg8Vy\n\
    qCP06bETrR2v8MRvr89rn4i+UAahRANCAAQWfaj1HUETpoNCrOtp9KA8o0V79IuW\n\
    ARKt9C1cFPkyd3FBP4SeiNZxQhDrD0tdBHls3/wFe8++K2FrPyQF9vuh\n\
    -----END PRIVATE KEY-----\n";

fn claims(iat: u64, keys: MediaKeys) -> Claims {
    let dest = vec![Party::Uri("sip:alice@example.com".to_owned())];
    Claims { orig: Party::Number("12155551212".to_owned()), dest, iat, keys }
}

fn payload(claims: &Claims) -> String {
    let signing_input = claims.signing_input(URL);
    let (_, payload) = signing_input.split_once('.').unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn rfc8225_a_header_and_payload_are_serialized_as_there() {
    let expected = format!(
        "{HEADER}.eyJkZXN0Ijp7InVyaSI6WyJzaXA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI\
         6MTQ3MTM3NTQxOCwib3JpZyI6eyJ0biI6IjEyMTU1NTUxMjEyIn19"
    );
    assert_eq!(claims(1_471_375_418, MediaKeys::default()).signing_input(URL), expected);
}

#[test]
fn rfc8225_9_1_media_keys_are_sorted_and_serialized_as_there() {
    let sdp = "v=0\r\n\
        a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1\r\n\
        a=fingerprint:sha-256 02:1A:CC:54:27:AB:EB:9C:53:3F:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1:7A:03:A2:7D:F9:B0:7F:46:19:B2\r\n";
    let expected = "{\"dest\":{\"uri\":[\"sip:alice@example.com\"]},\"iat\":1443208345,\"mky\":[\
        {\"alg\":\"sha-256\",\"dig\":\"021ACC5427ABEB9C533F3E4B652E7D463F5442CD54F17A03A27DF9B07F4619B2\"},\
        {\"alg\":\"sha-256\",\"dig\":\"4AADB9B13F82183B540212DF3E5D496B19E57CAB3E4B652E7D463F5442CD54F1\"}],\
        \"orig\":{\"tn\":\"12155551212\"}}";
    assert_eq!(payload(&claims(1_443_208_345, MediaKeys::of_sdp(sdp).unwrap())), expected);
}

#[test]
fn rfc8225_5_2_1_4_numbers_come_before_uris_and_both_in_order() {
    let mut claims = claims(1_443_208_345, MediaKeys::default());
    claims.dest = vec![
        Party::Uri("sip:bob@example.net".to_owned()),
        Party::Uri("sip:alice@example.com".to_owned()),
        Party::Number("12125551212".to_owned()),
    ];
    let expected = "{\"dest\":{\"tn\":[\"12125551212\"],\"uri\":[\"sip:alice@example.com\",\"sip:bob@example.net\"]},\
                    \"iat\":1443208345,\"orig\":{\"tn\":\"12155551212\"}}";
    assert_eq!(payload(&claims), expected);
}

#[test]
fn rfc8225_7_1_the_signature_is_of_the_key_in_appendix_a_2() {
    let compact = format!("..{SIGNATURE_7_1}");
    let token = Token::read(&compact).unwrap();
    assert!(token.full.is_none());
    let key = VerifyingKey::from_public_key_pem(PUBLIC_KEY).unwrap();
    let signed = format!("{HEADER}.{PAYLOAD_7_1}");
    assert!(key.verify(signed.as_bytes(), &token.signature).is_ok());
    assert!(key.verify(&signed.as_bytes()[1..], &token.signature).is_err());
}

#[test]
fn rfc8224_4_1_1_an_iat_that_is_a_string_is_none() {
    let value =
        format!("{HEADER}.{PAYLOAD_7_1}.{SIGNATURE_7_1};info=<https://biloxi.example.org/biloxi.cert>");
    let header = IdentityHeader::read(&value).unwrap();
    assert_eq!(header.info, "https://biloxi.example.org/biloxi.cert");
    assert_eq!(Token::read(header.token).unwrap_err(), TokenError::Claim("iat"));
}

#[test]
fn rfc8224_5_1_the_request_gives_the_claims_of_the_example() {
    let request = Request {
        from: "sip:12155551212@example.com;user=phone",
        to: "sip:alice@example.com",
        date: Some("Fri, 25 Sep 2015 19:12:25 GMT"),
        sdp: "v=0\r\nm=audio 49172 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
    };
    let (orig, dest) = verifier::parties(&request, &DialPlan::default()).unwrap();
    let iat = verifier::seconds_of(request.date.unwrap()).unwrap();
    let claims = Claims { orig, dest: vec![dest], iat, keys: MediaKeys::of_sdp(request.sdp).unwrap() };
    let expected = "{\"dest\":{\"uri\":[\"sip:alice@example.com\"]},\"iat\":1443208345,\"orig\":{\"tn\":\"12155551212\"}}";
    assert_eq!(payload(&claims), expected);
}

#[test]
fn rfc8225_a_1_the_private_key_is_read() {
    assert!(SigningKey::from_pkcs8_pem(PRIVATE_KEY).is_ok());
}

#[test]
fn tokens_that_are_none_are_told_why() {
    let with = |header: &str, payload: &str| {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{SIGNATURE_7_1}", encode(header), encode(payload))
    };
    let header = "{\"alg\":\"ES256\",\"typ\":\"passport\",\"x5u\":\"x:y\"}";
    let payload = "{\"dest\":{\"tn\":[\"1\"]},\"iat\":1,\"orig\":{\"tn\":\"2\"}}";
    assert!(Token::read(&with(header, payload)).is_ok());
    let error = |text: &str| Token::read(text).unwrap_err();
    for parts in ["", "a", ".", "a.b.c.d", "a..s", ".b.s"] {
        assert_eq!(error(parts), TokenError::Parts, "{parts}");
    }
    assert_eq!(error("..AA=="), TokenError::Base64("signature"));
    assert_eq!(error("..AAAA"), TokenError::Signature);
    assert_eq!(
        error(&format!("..{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        TokenError::Signature,
        "r and s are not 0"
    );
    assert_eq!(error(&format!("!.AA.{SIGNATURE_7_1}")), TokenError::Base64("header"));
    for (header, claim) in [
        ("{\"alg\":\"ES256\",\"typ\":\"JWT\",\"x5u\":\"x:y\"}", "typ"),
        ("{\"alg\":\"ES256\",\"typ\":\"passport\"}", "x5u"),
        ("{\"typ\":\"passport\",\"x5u\":\"x:y\"}", "alg"),
        ("{\"alg\":\"ES256\",\"crit\":[\"x\"],\"typ\":\"passport\",\"x5u\":\"x:y\"}", "crit"),
    ] {
        assert_eq!(error(&with(header, payload)), TokenError::Claim(claim));
    }
    for (payload, claim) in [
        ("{\"dest\":{\"tn\":[\"1\"]},\"orig\":{\"tn\":\"2\"}}", "iat"),
        ("{\"dest\":{\"tn\":[\"1\"]},\"iat\":-1,\"orig\":{\"tn\":\"2\"}}", "iat"),
        ("{\"dest\":{},\"iat\":1,\"orig\":{\"tn\":\"2\"}}", "dest"),
        ("{\"dest\":{\"tn\":\"1\"},\"iat\":1,\"orig\":{\"tn\":\"2\"}}", "dest"),
        ("{\"dest\":{\"tn\":[\"1\"]},\"iat\":1,\"orig\":{\"tn\":\"2\",\"uri\":\"sip:a@b\"}}", "orig"),
        ("{\"dest\":{\"tn\":[\"1\"]},\"iat\":1,\"orig\":{\"tn\":[\"2\"]}}", "orig"),
        ("{\"dest\":{\"tn\":[\"1\"]},\"iat\":1,\"mky\":[],\"orig\":{\"tn\":\"2\"}}", "mky"),
        (
            "{\"dest\":{\"tn\":[\"1\"]},\"iat\":1,\"mky\":[{\"alg\":\"sha-1\"}],\"orig\":{\"tn\":\"2\"}}",
            "mky",
        ),
    ] {
        assert_eq!(error(&with(header, payload)), TokenError::Claim(claim), "{payload}");
    }
    let twice = "{\"dest\":{\"tn\":[\"1\"]},\"iat\":1,\"orig\":{\"tn\":\"2\"},\"orig\":{\"tn\":\"3\"}}";
    assert!(matches!(error(&with(header, twice)), TokenError::Json { part: "payload", .. }));
    let twice = "{\"alg\":\"ES256\",\"alg\":\"none\",\"typ\":\"passport\",\"x5u\":\"x:y\"}";
    assert!(matches!(error(&with(twice, payload)), TokenError::Json { part: "header", .. }));
}
