//! What nobody should send: clear errors, and nothing left behind.

use std::fmt::Write as _;

use tonic::Code;

use crate::desk::{Desk, Left, daemon, plain, to_plain};
use crate::phone::{CM_80, Crypto, Phone, crypto, description};

const PORTS: u16 = 24_200;

#[tokio::test]
async fn sdp_that_cannot_be_is_refused_in_words_and_leaves_nothing() {
    let daemon = daemon("bad", PORTS).await;
    let before = Left::of(&daemon, PORTS).await;
    let mut desk = Desk::at(&daemon).await;
    let phone = Phone::new();
    let good = phone.sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    let short = Crypto { key_salt: vec![1; 29], ..Crypto::new(1, CM_80, 1) };
    let mut many = String::new();
    for _ in 0..10_000 {
        many.push_str("m=audio 4000 RTP/AVP 0\r\n");
    }
    let mut megabyte = good.clone();
    while megabyte.len() < 1 << 20 {
        let _ = write!(megabyte, "a=x-padding:{}\r\n", "x".repeat(200));
    }
    for (what, sdp) in [
        ("nothing", String::new()),
        ("no SDP", "hello".to_owned()),
        ("a megabyte", megabyte),
        ("10,000 media lines", description(&many)),
        ("a key of a wrong length", phone.sdp("RTP/SAVP", &[short])),
        ("no address", good.replace("c=IN IP4 127.0.0.1\r\n", "")),
        ("a multicast address", good.replace("c=IN IP4 127.0.0.1", "c=IN IP4 224.1.1.1/127")),
        ("a host name", good.replace("c=IN IP4 127.0.0.1", "c=IN IP4 host.example")),
        ("a key without a suite", good.replace("AES_CM_128_HMAC_SHA1_80", "NO_SUCH_SUITE")),
        ("SAVP without keys", phone.sdp("RTP/SAVP", &[])),
        ("control characters", good.replace("a=x-unknown", "a=x\u{0}unknown")),
    ] {
        let refused = desk.offer("s", &sdp, Some(to_plain())).await.expect_err(what);
        let codes = [Code::InvalidArgument, Code::FailedPrecondition, Code::ResourceExhausted];
        assert!(codes.contains(&refused.code()), "{what}: {refused:?}");
        assert!(refused.message().len() < 2000, "{what}: {}", refused.message().len());
        assert!(!refused.message().contains("AQEBAQ"), "no key in a message");
        let left = desk.call("s").await.unwrap_err();
        assert_eq!(left.code(), Code::NotFound, "{what}");
    }
    before.again(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_leaves_the_offer_to_be_answered() {
    let daemon = daemon("bad-answer", PORTS + 200).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let offered = desk.offer("s", &alice.sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]), None).await.unwrap();
    let line = crypto(&offered.sdp)[0].clone();
    let good = Crypto { key_salt: vec![9; line.key_salt.len()], ..line.clone() };
    let left = Left::of(&daemon, PORTS + 200).await;
    for (what, sdp) in [
        ("plain", bob.sdp("RTP/AVP", &[])),
        ("a tag that was not offered", bob.sdp("RTP/SAVP", &[Crypto { tag: 99, ..good.clone() }])),
        (
            "another suite",
            bob.sdp(
                "RTP/SAVP",
                &[Crypto { tag: line.tag, ..Crypto::new(1, sluice_srtp::Suite::F8_128HmacSha1_80, 9) }],
            ),
        ),
        ("two lines", description(&bob.media("RTP/SAVP", std::slice::from_ref(&good), "").repeat(2))),
        ("no line", description("")),
        ("a key of a wrong length", bob.sdp("RTP/SAVP", &[Crypto { key_salt: vec![9; 7], ..good.clone() }])),
    ] {
        let refused = desk.answer("s", "", &sdp, false).await.expect_err(what);
        let codes = [Code::InvalidArgument, Code::FailedPrecondition];
        assert!(codes.contains(&refused.code()), "{what}: {refused:?}");
    }
    left.again(&daemon).await;
    desk.answer("s", "", &bob.sdp("RTP/SAVP", &[good]), false).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn where_the_engine_refuses_in_the_middle_nothing_is_half_made() {
    let daemon = daemon("limit", PORTS + 400).await;
    let before = Left::of(&daemon, PORTS + 400).await;
    let mut desk = Desk::at(&daemon).await;
    // There are 100 pairs of ports.
    let lines = |count: usize| description(&"m=audio 4000 RTP/AVP 0\r\n".repeat(count));
    let mut refused = None;
    let mut made = Vec::new();
    for number in 0..20 {
        let session = format!("s{number}");
        match desk.offer(&session, &lines(8), Some(plain())).await {
            Ok(_) => made.push(session),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("ports end");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(daemon.legs("").await.len(), made.len() * 8);
    for session in made {
        desk.end(&session).await;
    }
    before.again(&daemon).await;
    daemon.stop().await;
}
