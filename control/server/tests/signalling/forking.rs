//! Branches: each whole in itself, one selected, the others gone without a trace.

use std::collections::HashSet;
use std::time::Duration;

use sluice_proto::v1;
use tonic::Code;

use crate::desk::{Desk, Left, daemon, reason, to_plain};
use crate::phone::{CM_80, Crypto, Phone, address, crypto};
use crate::support::rtp;

const PORTS: u16 = 21_200;

/// What a callee answers to an offer: the first suite, and a key of its own.
fn answer(offered: &str, octet: u8) -> Crypto {
    let line = crypto(offered)[0].clone();
    Crypto { key_salt: vec![octet; line.key_salt.len()], ..line }
}

#[tokio::test]
async fn three_branches_share_no_key_and_no_port_and_the_losers_are_gone() {
    let daemon = daemon("fork", PORTS).await;
    let before = Left::of(&daemon, PORTS).await;
    let mut desk = Desk::at(&daemon).await;
    let mut alice = Phone::new();
    let key = Crypto::new(1, CM_80, 1);
    let first = desk.offer("s", &alice.sdp("RTP/SAVP", std::slice::from_ref(&key)), None).await.unwrap();
    let second = desk.branch("s", "b").await.unwrap();
    let third = desk.branch("s", "c").await.unwrap();
    let offers = [("main", first.sdp), ("b", second.sdp), ("c", third.sdp)];
    let keys: HashSet<_> = offers.iter().flat_map(|(_, sdp)| crypto(sdp)).map(|line| line.key_salt).collect();
    assert_eq!(keys.len(), 3 * crypto(&offers[0].1).len(), "each branch has keys of its own");
    let ports: HashSet<_> = offers.iter().map(|(_, sdp)| address(sdp, 0)).collect();
    assert_eq!(ports.len(), 3);
    let mut phones = [Phone::new(), Phone::new(), Phone::new()];
    let mut towards_alice = Vec::new();
    for (at, (branch, sdp)) in offers.iter().enumerate() {
        let bobs = answer(sdp, at as u8 + 10);
        let answered = desk
            .answer("s", branch, &phones[at].sdp("RTP/SAVP", std::slice::from_ref(&bobs)), true)
            .await
            .unwrap();
        // All three have the same SSRC.
        phones[at].send(&bobs, &rtp(at as u16, 0xb, 20), address(sdp, 0));
        let ours = crypto(&answered.sdp)[0].clone();
        assert_eq!(alice.receive(&ours), rtp(at as u16, 0xb, 20));
        towards_alice.push((ours, address(&answered.sdp, 0), bobs));
    }
    let ours: HashSet<_> = towards_alice.iter().map(|(ours, ..)| ours.key_salt.clone()).collect();
    assert_eq!(ours.len(), 3, "no two branches send under one key");
    let call = desk.select("s", "b").await.unwrap();
    assert_eq!((call.selected.as_str(), call.branches.len()), ("b", 1));
    assert_eq!(call.branches[0].state(), v1::BranchState::Answered);
    let legs: Vec<_> = daemon.legs("s").await.into_iter().map(|leg| leg.id).collect();
    assert_eq!(legs, ["b.callee.0", "b.caller.0"]);
    alice.send(&key, &rtp(7, 0xa, 20), towards_alice[1].1);
    assert_eq!(phones[1].receive(&crypto(&offers[1].1)[0]), rtp(7, 0xa, 20));
    for loser in ["main", "c"] {
        let late = desk.answer("s", loser, &phones[0].sdp("RTP/SAVP", &[]), false).await.unwrap_err();
        assert_eq!((late.code(), reason(&late).as_str()), (Code::FailedPrecondition, "BRANCH_GONE"));
        assert!(late.message().contains("another was selected"), "{}", late.message());
    }
    let again = desk.branch("s", "d").await.unwrap_err();
    assert_eq!(reason(&again), "CALL_ANSWERED");
    desk.end("s").await;
    before.again(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_branch_without_a_final_answer_times_out_and_the_last_one_ends_the_call() {
    let daemon = daemon("timeout", PORTS + 200).await;
    let before = Left::of(&daemon, PORTS + 200).await;
    let mut desk = Desk::at(&daemon).await;
    let alice = Phone::new();
    let policy = v1::SessionPolicy { branch_timeout_seconds: Some(3), ..to_plain() };
    let sdp = alice.sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    desk.offer("s", &sdp, Some(policy)).await.unwrap();
    let left = desk.call("s").await.unwrap().branches[0].milliseconds_left;
    assert!((1..=3000).contains(&left), "{left}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    desk.branch("s", "late").await.unwrap();
    desk.answer("s", "late", &Phone::new().sdp("RTP/AVP", &[]), true).await.unwrap();
    daemon
        .eventually(|| {
            let mut desk = desk.clone();
            async move { (desk.call("s").await.unwrap().branches.len() == 1).then_some(()) }
        })
        .await;
    let late = desk.answer("s", "main", &Phone::new().sdp("RTP/AVP", &[]), false).await.unwrap_err();
    assert!(late.message().contains("no final answer came in time"), "{}", late.message());
    daemon
        .eventually(|| {
            let mut desk = desk.clone();
            async move { desk.call("s").await.is_err().then_some(()) }
        })
        .await;
    before.again(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_final_answer_ends_the_time_limit() {
    let daemon = daemon("no-timeout", PORTS + 400).await;
    let mut desk = Desk::at(&daemon).await;
    let policy = v1::SessionPolicy { branch_timeout_seconds: Some(1), ..to_plain() };
    let sdp = Phone::new().sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    desk.offer("s", &sdp, Some(policy)).await.unwrap();
    let bob = Phone::new().sdp("RTP/AVP", &[]);
    desk.answer("s", "", &bob, true).await.unwrap();
    desk.answer("s", "", "", false).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let call = desk.call("s").await.unwrap();
    assert_eq!(
        (call.branches[0].state(), call.branches[0].milliseconds_left),
        (v1::BranchState::Answered, 0)
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_retargeted_call_has_new_keys_and_its_old_target_is_gone() {
    let daemon = daemon("retarget", PORTS + 600).await;
    let before = Left::of(&daemon, PORTS + 600).await;
    let mut desk = Desk::at(&daemon).await;
    let sdp = Phone::new().sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    let first = desk.offer("s", &sdp, None).await.unwrap();
    let second = desk.retarget("s", "forwarded").await.unwrap();
    let keys = |sdp: &str| crypto(sdp).into_iter().map(|line| line.key_salt).collect::<HashSet<_>>();
    assert!(keys(&first.sdp).is_disjoint(&keys(&second.sdp)));
    let call = second.call.unwrap();
    assert_eq!(call.branches.iter().map(|branch| branch.id.as_str()).collect::<Vec<_>>(), ["forwarded"]);
    let late = desk.answer("s", "main", &Phone::new().sdp("RTP/SAVP", &[]), false).await.unwrap_err();
    assert_eq!(reason(&late), "BRANCH_GONE");
    let again = desk.retarget("s", "main").await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists, "an id has one branch, ever");
    assert!(desk.drop_branch("s", "forwarded").await.unwrap());
    assert!(!desk.drop_branch("s", "forwarded").await.unwrap());
    assert!(desk.call("s").await.unwrap().branches.is_empty(), "another may be made yet");
    desk.branch("s", "third").await.unwrap();
    desk.end("s").await;
    before.again(&daemon).await;
    daemon.stop().await;
}
