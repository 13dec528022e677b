//! Examples of RFC 4568, RFC 5939 and RFC 8643, folded lines in one.

use sluice_keying::negotiation::{Protected, Treatment};
use sluice_keying::policy::{Security, Side};
use sluice_srtp::Suite;

use super::support::{Call, Peer, lines};

const KEY: &str = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4";

/// The description of these media lines by RFC 5939's Alice.
fn alice(media: &str) -> String {
    let session = "v=0\r\no=- 25678 753849 IN IP4 192.0.2.1\r\ns=\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    format!("{session}{}", media.replace('\n', "\r\n"))
}

#[test]
fn rfc5939_3_2_best_effort_srtp() {
    let offer = alice(&format!(
        "m=audio 53456 RTP/AVP 0 18\na=tcap:1 RTP/SAVP\na=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY} \
         FEC_ORDER=FEC_SRTP\na=pcfg:1 t=1 a=1\n"
    ));
    let exchange = Call::new(Security::Required, Security::Plain)
        .exchange(Side::Caller, &offer, Peer::Plain)
        .expect("SRTP");
    let answer = exchange.made.sdp();
    assert_eq!(lines(answer, "m="), ["m=audio 10000 RTP/SAVP 0 18"]);
    assert_eq!(lines(answer, "a=acfg"), ["a=acfg:1 t=1 a=1"]);
    assert!(lines(answer, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:").len() == 1, "{answer}");
    let agreed = exchange.made.agreed()[0].clone().expect("a medium");
    let Protected::Srtp(keys) = agreed.inbound else { panic!("not SRTP") };
    assert_eq!(keys[0].options.mki.as_slice(), [0, 0, 0, 1]);
    assert_eq!(keys[0].options.lifetime.rtp_packets, 1 << 20);
    // What was offered on knows nothing of capabilities.
    assert_eq!(lines(exchange.local.sdp(), "m="), ["m=audio 20000 RTP/AVP 0 18"]);
    assert_eq!(lines(exchange.local.sdp(), "a="), Vec::<&str>::new());
}

#[test]
fn rfc5939_4_1_the_feedback_profile_without_srtp() {
    let offer = alice(&format!(
        "m=audio 53456 RTP/AVP 0 18\na=tcap:1 RTP/SAVPF RTP/SAVP RTP/AVPF\na=acap:1 crypto:1 \
         AES_CM_128_HMAC_SHA1_80 {KEY} FEC_ORDER=FEC_SRTP\na=acap:2 rtcp-fb:0 nack\na=pcfg:1 t=1 a=1,[2]\na=pcfg:2 \
         t=2 a=1\na=pcfg:3 t=3 a=[2]\n"
    ));
    let plain =
        Call::new(Security::Plain, Security::Plain).exchange(Side::Caller, &offer, Peer::Plain).expect("RTP");
    assert_eq!(lines(plain.made.sdp(), "m="), ["m=audio 10000 RTP/AVPF 0 18"]);
    assert_eq!(lines(plain.made.sdp(), "a=acfg"), ["a=acfg:1 t=3 a=[2]".replace("acfg:1", "acfg:3")]);
    // The configuration's attributes are part of what is offered on.
    assert_eq!(lines(plain.local.sdp(), "a="), ["a=rtcp-fb:0 nack"]);
    let secure = Call::new(Security::BestEffort, Security::Plain)
        .exchange(Side::Caller, &offer, Peer::Plain)
        .expect("SRTP");
    assert_eq!(lines(secure.made.sdp(), "m="), ["m=audio 10000 RTP/SAVPF 0 18"]);
    assert_eq!(lines(secure.made.sdp(), "a=acfg"), ["a=acfg:1 t=1 a=1,[2]"]);
}

#[test]
fn rfc5939_4_2_security_descriptions_where_dtls_is_preferred() {
    let offer = "v=0\r\no=- 25678 753849 IN IP4 192.0.2.1\r\ns=\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\na=acap:1 \
        setup:actpass\r\na=acap:2 fingerprint: SHA-1 \
        4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB\r\na=tcap:1 UDP/TLS/RTP/SAVP \
        RTP/SAVP\r\nm=audio 59000 RTP/AVP 98\r\na=rtpmap:98 AMR/8000\r\na=acap:3 crypto:1 AES_CM_128_HMAC_SHA1_32 \
        inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj|2^20|1:32\r\na=pcfg:1 t=1 a=1,2\r\na=pcfg:2 t=2 a=3\r\n";
    let exchange = Call::new(Security::Required, Security::Plain)
        .exchange(Side::Caller, offer, Peer::Plain)
        .expect("SRTP");
    let answer = exchange.made.sdp();
    assert_eq!(lines(answer, "m="), ["m=audio 10000 RTP/SAVP 98"]);
    assert_eq!(lines(answer, "a=acfg"), ["a=acfg:2 t=2 a=3"], "as the RFC has it");
    assert_eq!(lines(answer, "a=crypto:1 AES_CM_128_HMAC_SHA1_32").len(), 1);
    let session = exchange.local.sdp().split("m=").next().expect("the session").to_owned();
    assert!(!session.contains("cap:"), "{session}");
}

#[test]
fn rfc5939_3_3_2_an_answer_tells_what_is_supported_where_more_was_required() {
    let offer = alice(&format!(
        "m=audio 53456 RTP/AVP 0 18\na=creq:foo\na=tcap:1 RTP/SAVP\na=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 \
         {KEY}\na=pcfg:1 t=1 a=1\n"
    ));
    let exchange = Call::new(Security::BestEffort, Security::Plain)
        .exchange(Side::Caller, &offer, Peer::Plain)
        .expect("RTP");
    assert_eq!(exchange.secure().0, Some(false));
    assert_eq!(lines(exchange.made.sdp(), "a="), ["a=csup:cap-v0"]);
    let session =
        offer.replace("m=audio", "a=creq:foo\r\nm=audio").replacen("a=creq:foo\r\na=tcap", "a=tcap", 1);
    let exchange = Call::new(Security::BestEffort, Security::Plain)
        .exchange(Side::Caller, &session, Peer::Plain)
        .expect("RTP");
    assert!(exchange.made.sdp().contains("a=csup:cap-v0\r\nm="), "{}", exchange.made.sdp());
}

/// RFC 4568 section 7.1.5.
const RFC4568: &str = "v=0\r\no=sam 2890844526 2890842807 IN IP4 10.47.16.5\r\ns=SRTP Discussion\r\ni=A discussion of \
    Secure RTP\r\nu=http://www.example.com/seminars/srtp.pdf\r\ne=marge@example.com (Marge Simpson)\r\nc=IN IP4 \
    168.2.17.12\r\nt=2873397496 2873404696\r\nm=audio 49170 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 \
    inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP\r\na=crypto:2 F8_128_HMAC_SHA1_80 \
    inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|2^20|1:4;\
    inline:QUJjZGVmMTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5|2^20|2:4 FEC_ORDER=FEC_SRTP\r\n";

#[test]
fn rfc4568_7_1_5_the_first_suite_or_two_keys_of_the_second() {
    let mut call = Call::new(Security::Required, Security::Required);
    let first = call.exchange(Side::Caller, RFC4568, Peer::Sdes).expect("SRTP");
    assert_eq!(first.made.sdp().lines().filter(|line| line.starts_with("a=crypto:1 ")).count(), 1);
    let mut call = Call::new(Security::Required, Security::Required);
    call.policy.suites = vec![Suite::F8_128HmacSha1_80, Suite::AesCm128HmacSha1_80];
    let second = call.exchange(Side::Caller, RFC4568, Peer::Sdes).expect("SRTP");
    let Some(Protected::Srtp(keys)) = second.made.agreed()[0].clone().map(|agreed| agreed.inbound) else {
        panic!("not SRTP")
    };
    let mkis: Vec<_> = keys.iter().map(|key| key.options.mki.as_slice().to_vec()).collect();
    assert_eq!(mkis, [[0, 0, 0, 1], [0, 0, 0, 2]]);
    assert!(keys.iter().all(|key| key.suite == Suite::F8_128HmacSha1_80));
    assert_eq!(lines(second.made.sdp(), "a=crypto:2 F8_128_HMAC_SHA1_80 inline:").len(), 1);
}

#[test]
fn rfc4568_what_is_not_keying_goes_through_as_it_is() {
    let mut call = Call::new(Security::Required, Security::Required);
    let (offer, local) = call.offer(Side::Caller, RFC4568).expect("an offer");
    assert_eq!(offer.media()[0].treatment, Treatment::Gateway);
    let kept = |line: &&str| !line.starts_with("o=") && !line.starts_with("a=crypto");
    let before: Vec<_> = RFC4568.lines().filter(kept).collect();
    let after: Vec<_> = local.sdp().lines().filter(kept).collect();
    let mapped: Vec<_> = before
        .iter()
        .map(|line| line.replace("168.2.17.12", "203.0.113.1").replace("49170", "20000"))
        .collect();
    assert_eq!(after, mapped);
}

#[test]
fn rfc8643_3_2_an_answer_has_keys_of_one_method_or_of_none() {
    let offer = alice(&format!(
        "m=audio 53456 RTP/AVP 0 18\na=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\na=fingerprint:SHA-1 \
         4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB\na=setup:actpass\na=zrtp-hash:1.10 \
         fe30efd02423cb054e50efd0248742ac7a52c8f91bc2df881ae642c371ba46df\n"
    ));
    let exchange = Call::new(Security::BestEffort, Security::Plain)
        .exchange(Side::Caller, &offer, Peer::Plain)
        .expect("SRTP");
    assert_eq!(exchange.secure().0, Some(true));
    let answer = exchange.made.sdp();
    assert_eq!(lines(answer, "m="), ["m=audio 10000 RTP/AVP 0 18"]);
    assert_eq!(lines(answer, "a=").len(), 1, "a crypto line alone: {answer}");
    assert!(!exchange.local.sdp().contains("fingerprint") && !exchange.local.sdp().contains("zrtp-hash"));
    let declined =
        Call::new(Security::Plain, Security::Plain).exchange(Side::Caller, &offer, Peer::Plain).expect("RTP");
    assert_eq!(lines(declined.made.sdp(), "a="), Vec::<&str>::new());
}
