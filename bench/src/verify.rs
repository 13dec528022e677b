//! Before anything is measured: do all engines do the same thing?
//!
//! SRTP leaves no freedom: one packet under one key has one protected form. So every engine must
//! make of Sluice's packets what Sluice makes of them, octet for octet, in both directions, Sluice
//! must accept what the engine made, and the engine must refuse a packet of which one bit is wrong.

use anyhow::{Context, ensure};
use sluice_srtp::{Inbound, Job, Kind, ReplayWindow, Suite, unprotect};

use crate::engine::{Direction, Engine, Peer};
use crate::packets::{Packet, Payload, RING, Ring, Sender, Supply};

const SESSIONS: usize = 7;
const PASSES: usize = 3;

/// Checks a peer in every suite it has.
pub fn verify(peer: &Peer, suites: &[Suite]) -> anyhow::Result<()> {
    for suite in suites {
        let sender = Sender::new(*suite, SESSIONS);
        let Some(mut engine) = (peer.open)(*suite, sender.sessions()).with_context(|| peer.name)? else {
            continue;
        };
        for payload in [Payload::Mix, Payload::Fixed(20)] {
            let (mut plain_sent, mut sent) = if payload == Payload::Mix { (0, 0) } else { (SENT, SENT) };
            let plain = sender.supply(Direction::Protect, payload, PASSES, &mut plain_sent);
            let protected = sender.supply(Direction::Unprotect, payload, PASSES, &mut sent);
            let case = || format!("{} does not do {suite} as Sluice does; no measuring", peer.name);
            let batch = peer.largest_batch();
            same(&mut *engine, Direction::Protect, batch, &plain, &protected).with_context(case)?;
            accepted(&sender, &protected).with_context(case)?;
            same(&mut *engine, Direction::Unprotect, batch, &protected, &plain).with_context(case)?;
        }
        refuses_forgery(&mut *engine, peer.largest_batch(), &sender)
            .with_context(|| format!("{}, {suite}", peer.name))?;
    }
    Ok(())
}

/// Packets of the first payload.
const SENT: u64 = (PASSES * RING) as u64;

fn same(
    engine: &mut dyn Engine,
    direction: Direction,
    batch: usize,
    given: &Supply,
    wanted: &Supply,
) -> anyhow::Result<()> {
    let mut ring = Ring::new();
    let mut packets = ring.packets();
    for pass in 0..PASSES {
        given.load(pass, &mut packets);
        engine.run(direction, &mut packets, batch);
        for at in 0..RING {
            let Packet { session, index, ok, .. } = packets[at];
            ensure!(ok, "{direction} failed for index {index} of session {session}");
            ensure!(
                engine.output(&packets, at) == wanted.octets(pass, at),
                "{direction} gave other octets for index {index} of session {session}"
            );
        }
    }
    Ok(())
}

/// Whether a receiver of Sluice's takes these packets, which are an engine's as well.
fn accepted(sender: &Sender, protected: &Supply) -> anyhow::Result<()> {
    let context = |session: &crate::packets::Session| {
        Inbound::new(session.ssrc, session.keys(), ReplayWindow::default(), 0)
    };
    let mut contexts: Vec<_> = sender.sessions().iter().map(context).collect();
    let mut ring = Ring::new();
    let mut packets = ring.packets();
    for pass in 0..PASSES {
        protected.load(pass, &mut packets);
        for packet in &mut packets {
            let mut jobs = [Job::new(packet.session, Kind::Rtp, &mut *packet.buffer, packet.len)];
            unprotect(&mut contexts[..], &mut jobs);
            jobs[0].result.context("Sluice refuses the packet")?;
        }
    }
    Ok(())
}

fn refuses_forgery(engine: &mut dyn Engine, batch: usize, sender: &Sender) -> anyhow::Result<()> {
    let mut sent = 2 * SENT;
    let forged = sender.supply(Direction::Unprotect, Payload::Fixed(160), 1, &mut sent);
    let mut ring = Ring::new();
    let mut packets = ring.packets();
    forged.load(0, &mut packets);
    for (at, packet) in packets.iter_mut().enumerate() {
        // Somewhere in cipher text or tag.
        packet.buffer[12 + at * 2] ^= 1;
    }
    engine.run(Direction::Unprotect, &mut packets, batch);
    ensure!(packets.iter().all(|packet| !packet.ok), "a forged packet was accepted");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SUITES;
    use crate::{peers, sluice};

    #[test]
    fn every_engine_of_this_build_does_what_sluice_does() {
        let (peers, missing) = peers::all();
        for missing in missing {
            eprintln!("MISSING: {missing}");
        }
        for engine in [sluice::whole().unwrap(), sluice::kernels().unwrap()].iter().chain(&peers) {
            verify(engine, &SUITES).unwrap();
        }
    }

    /// Protects nothing, and says that all is well.
    struct Liar;

    impl Engine for Liar {
        fn run(&mut self, _: Direction, packets: &mut [Packet<'_>], _: usize) -> std::time::Duration {
            for packet in packets {
                packet.ok = true;
            }
            std::time::Duration::ZERO
        }
    }

    #[test]
    fn an_engine_that_does_nothing_is_found_out() {
        let liar = Peer { open: |_, _| Ok(Some(Box::new(Liar))), ..sluice::whole().unwrap() };
        assert!(verify(&liar, &SUITES).is_err());
    }
}
