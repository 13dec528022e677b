//! Re-offers of both sides: hold, addresses, keys, more lines, refusals, and what is no longer secure.

use sluice_proto::v1;
use sluice_proto::v1::CallSide::{Callee, Caller};
use tonic::Code;

use crate::desk::{Desk, Left, daemon, reason, to_plain, towards_callee};
use crate::phone::{CM_80, Crypto, Phone, address, crypto, description, port, proto};
use crate::support::{Daemon, rtp};

const PORTS: u16 = 22_000;

/// A call from SDES to plain, answered.
struct Established {
    desk: Desk,
    alice: Phone,
    bob: Phone,
    key: Crypto,
    /// What alice and bob were told.
    to_alice: String,
    to_bob: String,
}

async fn established(daemon: &Daemon) -> Established {
    let mut desk = Desk::at(daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(1, CM_80, 1);
    let offer = alice.sdp("RTP/SAVP", std::slice::from_ref(&key));
    let to_bob = desk.offer("s", &offer, Some(to_plain())).await.unwrap().sdp;
    let to_alice = desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap().sdp;
    let mut call = Established { desk, alice, bob, key, to_alice, to_bob };
    let ours = crypto(&call.to_alice)[0].clone();
    for packet in call.bob.begin_plain(0xb, address(&call.to_bob, 0)) {
        assert_eq!(call.alice.receive(&ours), packet);
    }
    call
}

impl Established {
    fn goes_both_ways(&mut self, sequence: u16) {
        self.alice.send(&self.key, &rtp(sequence, 0xa, 20), address(&self.to_alice, 0));
        assert_eq!(self.bob.receive_plain(), rtp(sequence, 0xa, 20));
        self.bob.send_plain(&rtp(sequence, 0xb, 20), address(&self.to_bob, 0));
        let ours = crypto(&self.to_alice)[0].clone();
        assert_eq!(self.alice.receive(&ours), rtp(sequence, 0xb, 20));
    }
}

#[tokio::test]
async fn hold_pauses_what_would_be_sent_to_who_holds_and_keeps_keys_and_ports() {
    let daemon = daemon("hold", PORTS).await;
    let mut call = established(&daemon).await;
    call.goes_both_ways(10);
    let held = call.alice.sdp_with("RTP/SAVP", std::slice::from_ref(&call.key), "a=sendonly\r\n");
    let offered = call.desk.reoffer("s", Caller, &held).await.unwrap();
    assert!(offered.sdp.contains("a=sendonly"), "{}", offered.sdp);
    assert_eq!(port(&offered.sdp, 0), port(&call.to_bob, 0));
    let answer = call.bob.sdp_with("RTP/AVP", &[], "a=recvonly\r\n");
    let answered = call.desk.answer("s", "", &answer, false).await.unwrap();
    assert_eq!(crypto(&answered.sdp), crypto(&call.to_alice), "no key changed");
    assert_eq!(port(&answered.sdp, 0), port(&call.to_alice, 0));
    call.bob.send_plain(&rtp(11, 0xb, 20), address(&call.to_bob, 0));
    assert!(call.alice.hears_nothing(), "she holds");
    call.alice.send(&call.key, &rtp(11, 0xa, 20), address(&call.to_alice, 0));
    assert_eq!(call.bob.receive_plain(), rtp(11, 0xa, 20), "music on hold");
    // The other side takes it back.
    let offered = call.desk.reoffer("s", Callee, &call.bob.sdp("RTP/AVP", &[])).await.unwrap();
    assert_eq!(crypto(&offered.sdp)[0].key_salt, crypto(&call.to_alice)[0].key_salt);
    let taken = Crypto { tag: crypto(&offered.sdp)[0].tag, ..call.key.clone() };
    call.desk.answer("s", "", &call.alice.sdp("RTP/SAVP", &[taken]), false).await.unwrap();
    call.goes_both_ways(12);
    daemon.stop().await;
}

#[tokio::test]
async fn a_peer_that_moves_is_followed_and_a_new_key_takes_over_with_grace() {
    let daemon = daemon("move", PORTS + 200).await;
    let mut call = established(&daemon).await;
    call.goes_both_ways(10);
    let new = Crypto::new(1, CM_80, 2);
    let mut elsewhere = Phone::new();
    let offered =
        call.desk.reoffer("s", Caller, &elsewhere.sdp("RTP/SAVP", std::slice::from_ref(&new))).await.unwrap();
    assert_eq!(port(&offered.sdp, 0), port(&call.to_bob, 0));
    let answered = call.desk.answer("s", "", &call.bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    let ours = crypto(&answered.sdp)[0].clone();
    assert_ne!(ours, crypto(&call.to_alice)[0], "a peer's new key is answered with one");
    call.bob.send_plain(&rtp(11, 0xb, 20), address(&call.to_bob, 0));
    assert_eq!(elsewhere.receive(&ours), rtp(11, 0xb, 20));
    call.alice.send(&call.key, &rtp(11, 0xa, 20), address(&call.to_alice, 0));
    assert_eq!(call.bob.receive_plain(), rtp(11, 0xa, 20), "the old key, in its grace period");
    elsewhere.send(&new, &rtp(12, 0xa, 20), address(&answered.sdp, 0));
    assert_eq!(call.bob.receive_plain(), rtp(12, 0xa, 20));
    daemon
        .eventually(|| async {
            let legs = daemon.legs("s").await;
            let leg = legs.iter().find(|leg| leg.id == "main.caller.0").unwrap();
            (leg.keys.len() == 2).then_some(())
        })
        .await;
    call.alice.send(&call.key, &rtp(13, 0xa, 20), address(&call.to_alice, 0));
    assert!(call.bob.hears_nothing(), "the old key has ended");
    daemon.stop().await;
}

#[tokio::test]
async fn a_refused_re_offer_leaves_everything_as_it_was() {
    let daemon = daemon("reject", PORTS + 400).await;
    let mut call = established(&daemon).await;
    let before = Left::of(&daemon, PORTS + 400).await;
    let shown = call.desk.call("s").await.unwrap();
    let new = Crypto::new(1, CM_80, 3);
    let more = call.alice.media("RTP/SAVP", std::slice::from_ref(&new), "")
        + &Phone::new().media("RTP/SAVP", &[new], "");
    let offered = call.desk.reoffer("s", Caller, &description(&more)).await.unwrap();
    assert_ne!(port(&offered.sdp, 1), 0);
    let glare = call.desk.reoffer("s", Callee, &call.bob.sdp("RTP/AVP", &[])).await.unwrap_err();
    assert_eq!((glare.code(), reason(&glare).as_str()), (Code::FailedPrecondition, "OFFER_PENDING"));
    assert!(glare.message().contains("491"), "{}", glare.message());
    assert_eq!(call.desk.reject("s", "").await.unwrap(), shown);
    before.again(&daemon).await;
    call.goes_both_ways(14);
    let nothing = call.desk.reject("s", "").await.unwrap_err();
    assert_eq!(reason(&nothing), "NO_OFFER");
    daemon.stop().await;
}

#[tokio::test]
async fn a_media_line_comes_and_goes_with_its_legs() {
    let daemon = daemon("lines", PORTS + 600).await;
    let mut call = established(&daemon).await;
    let (mut second, theirs) = (Phone::new(), Phone::new());
    let other = Crypto::new(1, CM_80, 5);
    let first = call.alice.media("RTP/SAVP", std::slice::from_ref(&call.key), "");
    let both = first.clone() + &second.media("RTP/SAVP", std::slice::from_ref(&other), "");
    let offered = call.desk.reoffer("s", Caller, &description(&both)).await.unwrap();
    let bobs = call.bob.media("RTP/AVP", &[], "") + &theirs.media("RTP/AVP", &[], "");
    let answered = call.desk.answer("s", "", &description(&bobs), false).await.unwrap();
    assert_eq!(daemon.legs("s").await.len(), 4);
    second.send(&other, &rtp(1, 0xc, 20), address(&answered.sdp, 1));
    assert_eq!(theirs.receive_plain(), rtp(1, 0xc, 20));
    assert_ne!(port(&offered.sdp, 1), port(&offered.sdp, 0));
    call.goes_both_ways(10);
    // Away again: port 0 (RFC 3264 section 8.2).
    let gone = first + "m=audio 0 RTP/SAVP 0\r\n";
    let offered = call.desk.reoffer("s", Caller, &description(&gone)).await.unwrap();
    assert_eq!(port(&offered.sdp, 1), 0);
    let bobs = call.bob.media("RTP/AVP", &[], "") + "m=audio 0 RTP/AVP 0\r\n";
    let answered = call.desk.answer("s", "", &description(&bobs), false).await.unwrap();
    assert_eq!(port(&answered.sdp, 1), 0);
    assert_eq!(daemon.legs("s").await.len(), 2);
    call.goes_both_ways(11);
    daemon.stop().await;
}

#[tokio::test]
async fn what_was_srtp_does_not_become_plain_unless_the_policy_does() {
    let daemon = daemon("downgrade", PORTS + 800).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let policy = v1::SessionPolicy {
        caller: Some(v1::PeerPolicy { security: v1::MediaSecurity::BestEffort.into(), ..Default::default() }),
        ..towards_callee(v1::MediaSecurity::BestEffort)
    };
    let key = Crypto::new(1, CM_80, 1);
    let offered = desk
        .offer("s", &alice.sdp("RTP/SAVP", std::slice::from_ref(&key)), Some(policy.clone()))
        .await
        .unwrap();
    let line = crypto(&offered.sdp)[0].clone();
    let bobs = Crypto { key_salt: vec![9; line.key_salt.len()], ..line };
    desk.answer("s", "", &bob.sdp(proto(&offered.sdp, 0), &[bobs]), false).await.unwrap();
    // The callee would have plain RTP from now on.
    let offered = desk.reoffer("s", Callee, &bob.sdp("RTP/AVP", &[])).await;
    let refused = match offered {
        Err(refused) => refused,
        Ok(offered) => {
            let line = crypto(&offered.sdp)[0].clone();
            let alices = Crypto { tag: line.tag, ..key.clone() };
            let answer = alice.sdp(proto(&offered.sdp, 0), &[alices]);
            desk.answer("s", "", &answer, false).await.unwrap_err()
        }
    };
    assert_eq!(reason(&refused), "POLICY", "{refused:?}");
    assert!(refused.message().contains("policy.callee.security"), "{}", refused.message());
    daemon.stop().await;
}
