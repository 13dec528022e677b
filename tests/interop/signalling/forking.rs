//! An INVITE that goes to several callees at once.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::{CallChange, MediaSecurity};
use sluice_tests::baresip::{Phone, Setup};
use sluice_tests::needs;
use sluice_tests::peer::receive_raw;
use sluice_tests::sip::{Message, Step, Target, Transcript};
use sluice_tests::site::{PATIENCE, Site};

use crate::{SETUP, cryptos, keys, policy, relay};

const SECURE: [MediaSecurity; 2] = [MediaSecurity::Required; 2];
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
const CALLER: Setup = Setup { name: "alice", port: 5070, tone: 440, security: "srtp-mand", answers: "auto" };
/// Rings with early media.
const WINNER: Setup = Setup { name: "bob", port: 5080, tone: 880, security: "srtp-mand", answers: "early" };
/// Rings, and is hung up.
const BUSY: Setup = Setup { name: "carol", port: 5090, tone: 1320, security: "srtp-mand", answers: "manual" };
/// Where nobody ever answers anything.
const DEAF: u16 = 5100;
const BRANCHES: [&str; 3] = ["early", "busy", "deaf"];

#[test]
fn of_three_branches_the_winner_is_heard_and_the_others_know_nothing_of_it() -> Result<()> {
    needs!("baresip", "-h");
    let mut site = Site::new()?;
    let (mut winner, mut busy) = (Phone::start(&site, WINNER)?, Phone::start(&site, BUSY)?);
    let deaf = site.peers_namespace().udp(site.world.peers_at(DEAF))?;
    let mut caller = Phone::start(&site, CALLER)?;
    let at = [(WINNER.name, winner.at), (BUSY.name, busy.at), ("dave", deaf.local_addr()?)];
    let targets = BRANCHES.iter().zip(at).map(|(branch, (user, at))| Target {
        branch: (*branch).to_owned(),
        user: user.to_owned(),
        at,
    });
    let relay = relay(&site, targets.collect(), policy(&[SUITE], SECURE[0], SECURE[1]))?;
    caller.dial("everybody", relay.at)?;

    // 183 with SDP from one, and its early media.
    relay.wait(SETUP, |transcript| transcript.sdps(Step::Progress, "early").is_some())?;
    ensure!(
        legs(&mut site)?.len() == 4,
        "a branch without an answer has a callee's leg: {:?}",
        legs(&mut site)?
    );
    thread::sleep(Duration::from_secs(1));
    // A rejection from another.
    busy.command("hangup", "")?;
    relay.wait(SETUP, |transcript| transcript.rejections.iter().any(|(branch, _)| branch == "busy"))?;
    ensure!(legs(&mut site)?.iter().all(|leg| !leg.starts_with("busy.")), "{:?}", legs(&mut site)?);
    winner.command("accept", "")?;
    let transcript = relay.wait_for_answer(SETUP).with_context(|| caller.log())?;
    thread::sleep(Duration::from_millis(2500));

    // Nothing is left of the losers.
    let expected = ["early.callee.0", "early.caller.0"].map(str::to_owned);
    ensure!(legs(&mut site)? == BTreeSet::from(expected), "{:?}", legs(&mut site)?);
    let told: Vec<_> = transcript.told.iter().filter(|status| **status != 180).collect();
    ensure!(told == [&183, &200], "{:?}", transcript.told);
    check_that_branches_share_nothing(&transcript)?;
    check_what_the_deaf_one_got(&deaf, &transcript)?;

    caller.command("hangup", "")?;
    relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    ensure!(legs(&mut site)?.is_empty(), "legs of a call that ended");
    caller.expect_heard(WINNER.tone, 2.5).context("the caller, early media included")?;
    winner.expect_heard(CALLER.tone, 1.5).context("the winner")?;
    busy.stop();
    ensure!(busy.recordings()?.is_empty(), "who rejected the call heard of it");
    Ok(())
}

#[test]
fn a_call_that_nobody_answers_leaves_nothing_behind() -> Result<()> {
    needs!("baresip", "-h");
    let mut site = Site::new()?;
    let deaf = site.peers_namespace().udp(site.world.peers_at(DEAF))?;
    let mut caller = Phone::start(&site, CALLER)?;
    let targets = BRANCHES[1..].iter().map(|branch| Target {
        branch: (*branch).to_owned(),
        user: "dave".to_owned(),
        at: site.world.peers_at(DEAF),
    });
    let mut policy = policy(&[SUITE], SECURE[0], SECURE[1]);
    policy.branch_timeout_seconds = Some(1);
    let relay = relay(&site, targets.collect(), policy)?;
    caller.dial("dave", relay.at)?;
    relay.wait(SETUP, |transcript| transcript.sdps(Step::Fork, "deaf").is_some())?;
    ensure!(legs(&mut site)?.len() == 2, "{:?}", legs(&mut site)?);
    for branch in &BRANCHES[1..] {
        let timed_out = |kind: &Option<Kind>| {
            matches!(kind, Some(Kind::CallChanged(change))
                if change.change == CallChange::TimedOut as i32 && change.branch == *branch)
        };
        let event = site.gateway.wait_for_event(PATIENCE, |event| timed_out(&event.kind));
        ensure!(event.is_some(), "no event of {branch}: {:#?}", *site.gateway.events());
    }
    ensure!(legs(&mut site)?.is_empty(), "{:?}", legs(&mut site)?);
    // The caller gives up; that the session is gone already is no error.
    caller.command("hangup", "")?;
    let transcript = relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    ensure!(transcript.told == [487] && transcript.trouble().is_empty(), "{transcript:#?}");
    let (invite, _) = receive_raw(&deaf, PATIENCE)?.context("no INVITE")?;
    ensure!(Message::read(&invite)?.method() == Some("INVITE"), "{invite:?}");
    Ok(())
}

/// The ids of all legs.
fn legs(site: &mut Site) -> Result<BTreeSet<String>> {
    Ok(site.gateway.statistics()?.legs.into_iter().map(|leg| leg.leg).collect())
}

/// What callees were offered, and the caller was answered: no key or port in two of them.
fn check_that_branches_share_nothing(transcript: &Transcript) -> Result<()> {
    let offers = [(Step::Offer, BRANCHES[0]), (Step::Fork, BRANCHES[1]), (Step::Fork, BRANCHES[2])];
    let given = offers.iter().chain(&[(Step::Answer, BRANCHES[0])]);
    let (mut seen, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for (step, branch) in given {
        let (_, sdp) = transcript.sdps(*step, branch).with_context(|| format!("{step:?} of {branch}"))?;
        ensure!(cryptos(sdp).count() == 1, "{sdp}");
        ensure!(keys(sdp).into_iter().all(|key| seen.insert(key.to_owned())), "a key of two branches: {sdp}");
        let port = sdp.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next());
        ensure!(port.is_some_and(|port| ports.insert(port.to_owned())), "a port of two branches: {sdp}");
    }
    let early = transcript.sdps(Step::Progress, BRANCHES[0]).map(|(_, gave)| keys(gave).join(" "));
    let answer = transcript.sdps(Step::Answer, BRANCHES[0]).map(|(_, gave)| keys(gave).join(" "));
    ensure!(early == answer, "183 and 200 of one branch have other keys");
    Ok(())
}

/// An INVITE with the offer of its own branch, and a CANCEL.
fn check_what_the_deaf_one_got(deaf: &UdpSocket, transcript: &Transcript) -> Result<()> {
    let mut methods = Vec::new();
    while let Some((datagram, _)) = receive_raw(deaf, Duration::from_millis(100))? {
        let message = Message::read(&datagram)?;
        if !message.body.is_empty() {
            let offered = transcript.sdps(Step::Fork, "deaf").map(|(_, gave)| gave);
            ensure!(offered == Some(&message.body), "{}", message.body);
        }
        methods.push(message.method().unwrap_or("a response").to_owned());
    }
    ensure!(methods == ["INVITE", "CANCEL"], "{methods:?}");
    Ok(())
}
