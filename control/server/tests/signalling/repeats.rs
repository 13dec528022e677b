//! Requests that come twice, and those that come at a wrong time.

use sluice_proto::v1;
use tonic::Code;

use crate::desk::{Desk, Left, daemon, reason, to_plain};
use crate::phone::{CM_80, Crypto, Phone, crypto};

const PORTS: u16 = 23_000;

fn offer(session: &str, sdp: &str, request_id: &str) -> v1::ProcessOfferRequest {
    v1::ProcessOfferRequest {
        session: session.into(),
        sdp: sdp.into(),
        request_id: request_id.into(),
        policy: Some(to_plain()),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_request_that_is_repeated_has_the_same_answer_and_is_done_once() {
    let daemon = daemon("repeat", PORTS).await;
    let mut desk = Desk::at(&daemon).await;
    let sdp = Phone::new().sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    let first = desk.process_offer(offer("s", &sdp, "r1")).await.unwrap();
    let left = Left::of(&daemon, PORTS).await;
    assert_eq!(desk.process_offer(offer("s", &sdp, "r1")).await.unwrap(), first);
    left.again(&daemon).await;
    let other = desk.process_offer(offer("s", &sdp.replace("a=x", "a=y"), "r1")).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    let branch = |request_id: &str| v1::CreateBranchRequest {
        session: "s".into(),
        branch: "b".into(),
        request_id: request_id.into(),
        sign: None,
    };
    let made = desk.client.create_branch(branch("r2")).await.unwrap().into_inner();
    assert_eq!(desk.client.create_branch(branch("r2")).await.unwrap().into_inner(), made);
    let again = desk.client.create_branch(branch("r3")).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    daemon.stop().await;
}

#[tokio::test]
async fn of_many_at_a_time_one_first_offer_wins() {
    let daemon = daemon("race", PORTS + 200).await;
    let desk = Desk::at(&daemon).await;
    let sdp = Phone::new().sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    let all = (0..20).map(|_| {
        let (mut desk, sdp) = (desk.clone(), sdp.clone());
        tokio::spawn(async move { desk.offer("s", &sdp, Some(to_plain())).await })
    });
    let mut won = 0;
    for one in all.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(_) => won += 1,
            Err(late) => assert_eq!(reason(&late), "INVALID_FIELD", "{late:?}"),
        }
    }
    assert_eq!((won, daemon.legs("s").await.len()), (1, 1));
    daemon.stop().await;
}

#[tokio::test]
async fn answers_that_are_repeated_change_nothing_and_others_are_refused() {
    let daemon = daemon("answers", PORTS + 400).await;
    let mut desk = Desk::at(&daemon).await;
    let sdp = Phone::new().sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    desk.offer("s", &sdp, Some(to_plain())).await.unwrap();
    let (bob, carol) = (Phone::new().sdp("RTP/AVP", &[]), Phone::new().sdp("RTP/AVP", &[]));
    let early = desk.answer("s", "", &bob, true).await.unwrap();
    let legs = daemon.legs("s").await;
    for provisional in [true, false, false] {
        assert_eq!(desk.answer("s", "", &bob, provisional).await.unwrap().sdp, early.sdp);
    }
    assert_eq!(daemon.legs("s").await, legs);
    let other = desk.answer("s", "", &carol, false).await.unwrap_err();
    assert_eq!(reason(&other), "NO_OFFER");
    daemon.stop().await;
}

#[tokio::test]
async fn another_provisional_answer_takes_the_place_of_the_one_before() {
    let daemon = daemon("provisional", PORTS + 600).await;
    let mut desk = Desk::at(&daemon).await;
    let mut alice = Phone::new();
    let key = Crypto::new(1, CM_80, 1);
    desk.offer("s", &alice.sdp("RTP/SAVP", std::slice::from_ref(&key)), Some(to_plain())).await.unwrap();
    let (bob, carol) = (Phone::new(), Phone::new());
    let first = desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), true).await.unwrap();
    let second = desk.answer("s", "", &carol.sdp("RTP/AVP", &[]), false).await.unwrap();
    assert_eq!(crypto(&first.sdp), crypto(&second.sdp), "the same offer has the same key");
    let packet = crate::support::rtp(1, 0xa, 20);
    alice.send(&key, &packet, crate::phone::address(&second.sdp, 0));
    assert_eq!(carol.receive_plain(), packet);
    assert!(bob.hears_nothing());
    daemon.stop().await;
}

#[tokio::test]
async fn what_comes_at_a_wrong_time_says_what_to_do_and_changes_nothing() {
    let daemon = daemon("order", PORTS + 800).await;
    let before = Left::of(&daemon, PORTS + 800).await;
    let mut desk = Desk::at(&daemon).await;
    let sdp = Phone::new().sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    let bob = Phone::new().sdp("RTP/AVP", &[]);
    assert_eq!(desk.answer("s", "", &bob, false).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(desk.branch("s", "b").await.unwrap_err().code(), Code::NotFound);
    let callee = desk.reoffer("s", v1::CallSide::Callee, &sdp).await.unwrap_err();
    assert_eq!(callee.code(), Code::InvalidArgument);
    before.again(&daemon).await;
    desk.offer("s", &sdp, Some(to_plain())).await.unwrap();
    assert_eq!(desk.answer("s", "nobody", &bob, false).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(reason(&desk.select("s", "").await.unwrap_err()), "NO_ANSWER");
    let early = desk.reoffer("s", v1::CallSide::Caller, &sdp).await.unwrap_err();
    assert_eq!(reason(&early), "OFFER_PENDING");
    assert_eq!(desk.answer("s", "", "", false).await.unwrap_err().code(), Code::InvalidArgument);
    desk.answer("s", "", &bob, false).await.unwrap();
    desk.client
        .clone()
        .end_session(v1::EndSessionRequest { session: "s".into(), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(desk.answer("s", "", &bob, false).await.unwrap_err().code(), Code::NotFound);
    daemon.stop().await;
}

#[tokio::test]
async fn a_session_that_is_deleted_by_hand_takes_its_call_with_it() {
    let daemon = daemon("deleted", PORTS + 1000).await;
    let before = Left::of(&daemon, PORTS + 1000).await;
    let mut desk = Desk::at(&daemon).await;
    let sdp = Phone::new().sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    desk.offer("s", &sdp, Some(to_plain())).await.unwrap();
    let request = v1::DeleteSessionRequest { session: "s".into() };
    assert!(daemon.client().await.delete_session(request).await.unwrap().into_inner().existed);
    assert_eq!(desk.call("s").await.unwrap_err().code(), Code::NotFound);
    desk.offer("s", &sdp, Some(to_plain())).await.unwrap();
    desk.end("s").await;
    before.again(&daemon).await;
    daemon.stop().await;
}
