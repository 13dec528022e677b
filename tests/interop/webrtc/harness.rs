//! The peers among themselves: what tests of the gateway take for granted.

use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_tools::demo::world::{Place, World};

use crate::peer::{Peer, tools};
use crate::{HEARD, PROFILES, TALK, TONES};

#[test]
fn chromium_and_aiortc_hear_each_other_under_the_profile_that_aiortc_is_told_to_have() -> Result<()> {
    let tools = tools!(browser);
    let world = World::namespaces(1500)?;
    let Place::Inside(namespace) = &world.peers else { return Ok(()) };
    let mut chromium = tools.chromium(namespace, "chromium", &[])?;
    for profile in PROFILES {
        let mut aiortc = tools.aiortc(namespace, "aiortc", &["--profile", profile.openssl])?;
        talk(&mut chromium, &mut aiortc).context(profile.suite)?;
        ensure!(chromium.handshake()?.srtp == profile.chromium, "{:?}", chromium.handshake()?);
        ensure!(aiortc.handshake()?.srtp == profile.openssl, "{:?}", aiortc.handshake()?);
    }
    Ok(())
}

#[test]
fn two_chromiums_agree_on_dtls_1_3() -> Result<()> {
    let tools = tools!(browser);
    let world = World::namespaces(1500)?;
    let Place::Inside(namespace) = &world.peers else { return Ok(()) };
    let mut caller = tools.chromium(namespace, "caller", &[])?;
    let mut callee = tools.chromium(namespace, "callee", &[])?;
    talk(&mut caller, &mut callee)?;
    let handshake = caller.handshake()?;
    ensure!(handshake.version == "1.3" && handshake == callee.handshake()?, "{handshake:?}");
    Ok(())
}

#[test]
fn aiortc_with_a_certificate_of_rsa_is_heard_by_one_of_ecdsa() -> Result<()> {
    let tools = tools!();
    let world = World::namespaces(1500)?;
    let Place::Inside(namespace) = &world.peers else { return Ok(()) };
    let mut caller = tools.aiortc(namespace, "caller", &["--rsa"])?;
    let mut callee = tools.aiortc(namespace, "callee", &["--rsa"])?;
    talk(&mut caller, &mut callee)
}

fn talk(caller: &mut Peer, callee: &mut Peer) -> Result<()> {
    caller.open(TONES[0], json!({}))?;
    callee.open(TONES[1], json!({}))?;
    let answer = callee.accept(&caller.offer()?)?;
    caller.answer(&answer)?;
    caller.expect_connected()?;
    callee.expect_connected()?;
    thread::sleep(TALK);
    callee.expect_heard(TONES[0], HEARD)?;
    caller.expect_heard(TONES[1], HEARD)
}
