//! Any order of requests: no leaks, and at most one branch is selected.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_proto::v1;
use sluice_proto::v1::MediaSecurity::Plain;
use tonic::Code;

use crate::desk::{Desk, Left, daemon, plain};
use crate::early_media::plain_early;
use crate::phone::Phone;

const PORTS: u16 = 24_800;

/// What may be asked, of two sessions with three branches.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Offer { from: u8, early: bool },
    Answer { branch: u8, provisional: bool },
    Reject { branch: u8 },
    Branch { branch: u8 },
    Select { branch: u8 },
    Drop { branch: u8 },
    Retarget { branch: u8 },
    Delete,
    End,
}

fn asked() -> impl Strategy<Value = (bool, Asked)> {
    let branch = 0..4_u8;
    let one = prop_oneof![
        4 => (0..3_u8, any::<bool>()).prop_map(|(from, early)| Asked::Offer { from, early }),
        4 => (branch.clone(), any::<bool>())
            .prop_map(|(branch, provisional)| Asked::Answer { branch, provisional }),
        1 => branch.clone().prop_map(|branch| Asked::Reject { branch }),
        3 => branch.clone().prop_map(|branch| Asked::Branch { branch }),
        2 => branch.clone().prop_map(|branch| Asked::Select { branch }),
        1 => branch.clone().prop_map(|branch| Asked::Drop { branch }),
        1 => branch.prop_map(|branch| Asked::Retarget { branch }),
        1 => Just(Asked::Delete),
        1 => Just(Asked::End),
    ];
    (any::<bool>(), one)
}

#[test]
fn no_order_of_requests_leaks_anything_or_selects_two_branches() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let daemon = runtime.block_on(daemon("random", PORTS));
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let sequences = proptest::collection::vec(asked(), 1..30);
    TestRunner::new(config)
        .run(&sequences, |sequence| {
            runtime.block_on(async {
                let before = Left::of(&daemon, PORTS).await;
                let mut desk = Desk::at(&daemon).await;
                for (second, asked) in sequence {
                    let session = if second { "s2" } else { "s1" };
                    step(&daemon, &mut desk, session, asked).await;
                    holds(&daemon, &mut desk, session).await;
                }
                for session in ["s1", "s2"] {
                    desk.end(session).await;
                }
                before.again(&daemon).await;
            });
            Ok(())
        })
        .unwrap();
    runtime.block_on(daemon.stop());
}

async fn step(daemon: &crate::support::Daemon, desk: &mut Desk, session: &str, asked: Asked) {
    let id = |branch: u8| ["", "main", "b", "c"][usize::from(branch)];
    let sdp = || Phone::new().sdp("RTP/AVP", &[]);
    let outcome = match asked {
        Asked::Offer { from, early } => {
            let request = v1::ProcessOfferRequest {
                session: session.into(),
                from: from.into(),
                sdp: sdp(),
                // With the caller's leg made at the answer, and at the offer.
                policy: Some(if early { plain_early(Plain, Plain) } else { plain() }),
                ..Default::default()
            };
            desk.process_offer(request).await.map(drop)
        }
        Asked::Answer { branch, provisional } => {
            desk.answer(session, id(branch), &sdp(), provisional).await.map(drop)
        }
        Asked::Reject { branch } => desk.reject(session, id(branch)).await.map(drop),
        Asked::Branch { branch } => desk.branch(session, id(branch)).await.map(drop),
        Asked::Select { branch } => desk.select(session, id(branch)).await.map(drop),
        Asked::Drop { branch } => desk.drop_branch(session, id(branch)).await.map(drop),
        Asked::Retarget { branch } => desk.retarget(session, id(branch)).await.map(drop),
        Asked::Delete => {
            let request = v1::DeleteSessionRequest { session: session.into() };
            daemon.client().await.delete_session(request).await.map(drop)
        }
        Asked::End => {
            desk.end(session).await;
            Ok(())
        }
    };
    if let Err(refused) = outcome {
        let expected = [Code::NotFound, Code::FailedPrecondition, Code::InvalidArgument, Code::AlreadyExists];
        assert!(expected.contains(&refused.code()), "{asked:?}: {refused:?}");
    }
}

/// The call and its session say the same, and a selected branch is alone.
async fn holds(daemon: &crate::support::Daemon, desk: &mut Desk, session: &str) {
    let request = v1::ListLegsRequest { session: session.into() };
    let legs = daemon.client().await.list_legs(request).await;
    let Ok(call) = desk.call(session).await else {
        assert_eq!(legs.unwrap_err().code(), Code::NotFound, "no session without its call");
        return;
    };
    if !call.selected.is_empty() {
        let branches: Vec<_> = call.branches.iter().map(|branch| &branch.id).collect();
        assert_eq!(branches, [&call.selected]);
    }
    let mut said: Vec<_> = call
        .branches
        .iter()
        .flat_map(|branch| &branch.media)
        .flat_map(|media| [&media.caller, &media.callee].into_iter().flatten())
        .map(|leg| leg.leg.clone())
        .collect();
    said.sort();
    let there: Vec<_> = legs.unwrap().into_inner().legs.into_iter().map(|leg| leg.id).collect();
    assert_eq!(said, there);
}
