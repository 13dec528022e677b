//! A call by offers and answers, handed in by hand.

use serde_json::Value;

use crate::daemon::Daemon;

const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

fn sdp(port: u16, proto: &str, crypto: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} {proto} 0\r\n{crypto}"
    )
}

/// A media line's port.
fn port(sdp: &str) -> u16 {
    let media = sdp.lines().find(|line| line.starts_with("m=audio ")).unwrap_or_else(|| panic!("{sdp}"));
    media.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_call_is_offered_forked_answered_held_shown_and_ended() {
    let mut daemon = Daemon::start();
    let offer = sdp(5004, "RTP/SAVP", &format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"));
    let ctl = |words: &str, input: &str| daemon.ctl_with_input(words, input.as_bytes()).succeeded();
    let json = |words: &str| ctl(&format!("{words} --json"), "").json();
    assert!(ctl("call list", "").stdout.contains("no calls"));

    let words = "call offer s1 --callee-security plain --request-id one";
    let to_bob = ctl(words, &offer).stdout;
    assert!(to_bob.contains(" RTP/AVP 0") && !to_bob.contains("a=crypto"), "{to_bob}");
    assert_eq!(ctl(words, &offer).stdout, to_bob, "the same again is the same");
    let to_carol = ctl("call branch s1 carol", "").stdout;
    assert_ne!(port(&to_carol), port(&to_bob), "a branch has ports of its own");
    let shown = ctl("call show s1", "").stdout;
    assert!(shown.contains("main") && shown.contains("carol"), "{shown}");

    // From a file, as a script would have it.
    let file = daemon.path("answer.sdp");
    std::fs::write(&file, sdp(5006, "RTP/AVP", "")).unwrap();
    let to_alice = ctl(&format!("call answer s1 {} --branch carol", file.display()), "").stdout;
    assert!(to_alice.contains("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:"), "{to_alice}");
    ctl("call select s1 carol", "");
    let call = json("call show s1");
    assert_eq!(call["selected"], "carol");
    let branches = call["branches"].as_array().unwrap();
    assert_eq!(branches.len(), 1, "the other one is gone: {call}");
    let caller = &branches[0]["media"][0]["caller"];
    assert_eq!(
        (&caller["keying"], &caller["suite"]),
        (&"KEYING_SDES".into(), &"AES_CM_128_HMAC_SHA1_80".into())
    );
    let shown = ctl("call show s1", "").stdout;
    assert!(shown.contains("sdes") && shown.contains("no-signaling-passive-media"), "{shown}");

    // Bob holds, and then thinks better of it.
    let hold = sdp(5006, "RTP/AVP", "a=sendonly\r\n");
    let held = ctl("call offer s1 --from callee", &hold).stdout;
    assert!(held.contains("a=sendonly"), "{held}");
    ctl("call reject s1", "");
    daemon.ctl("call reject s1").failed(1, &["no offer"]);

    daemon.ctl_with_input("call offer s2", sdp(5004, "RTP/AVP", "").as_bytes()).failed(1, &["policy."]);
    let everything: Vec<Value> = vec![json("call list")];
    assert!(!format!("{everything:?}{}", daemon.log()).contains(&KEY[..16]), "no key is told but in SDP");
    ctl("call end s1", "");
    assert!(ctl("call list", "").stdout.contains("no calls"));
    daemon.stop();
}
