//! Measuring: every engine has its turn in every round, and the best of its turns counts.

use std::time::Duration;

use anyhow::{Context, ensure};
use sluice_srtp::Suite;

use crate::engine::{Direction, Engine, Peer};
use crate::matrix::Matrix;
use crate::packets::{Packet, Payload, RING, Ring, Sender, Supply};
use crate::report::Row;

/// Passes whose times are summed up: long enough to be an average over sessions, short enough that
/// some stretches of a round are free of interrupts.
pub const STRETCH: usize = 8;

/// An engine with its own streams.
struct Contestant<'a> {
    peer: &'a Peer,
    engine: Box<dyn Engine>,
    /// Packets that it has protected and unprotected: where its streams stand.
    sent: [u64; 2],
}

/// Measures the matrix. `progress` is told what comes next.
pub fn run(matrix: &Matrix, peers: &[Peer], progress: impl Fn(&str)) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for suite in &matrix.suites {
        for sessions in &matrix.sessions {
            progress(&format!("{suite}, {sessions} sessions"));
            rows.extend(cell(matrix, peers, *suite, *sessions)?);
        }
    }
    Ok(rows)
}

fn cell(matrix: &Matrix, peers: &[Peer], suite: Suite, sessions: usize) -> anyhow::Result<Vec<Row>> {
    let sender = Sender::new(suite, sessions);
    let mut contestants = Vec::new();
    for peer in peers.iter().filter(|peer| sessions <= peer.most_sessions) {
        let engine = (peer.open)(suite, sender.sessions()).with_context(|| peer.name)?;
        contestants.extend(engine.map(|engine| Contestant { peer, engine, sent: [0; 2] }));
    }
    for contestant in &mut contestants {
        prime(&sender, contestant)?;
    }
    let mut rows = Vec::new();
    for payload in &matrix.payloads {
        for direction in Direction::ALL {
            rows.extend(race(matrix, &sender, &mut contestants, *payload, direction)?);
        }
    }
    Ok(rows)
}

/// Gives every session a first packet in each direction: some engines allocate a stream's state then.
fn prime(sender: &Sender, contestant: &mut Contestant<'_>) -> anyhow::Result<()> {
    let mut ring = Ring::new();
    let mut packets = ring.packets();
    let passes = sender.sessions().len().div_ceil(RING);
    for direction in Direction::ALL {
        for _ in 0..passes {
            let sent = &mut contestant.sent[direction as usize];
            let supply = sender.supply(direction, Payload::Fixed(20), 1, sent);
            pass(contestant, &supply, 0, &mut packets, direction, contestant.peer.largest_batch())?;
        }
    }
    Ok(())
}

fn race(
    matrix: &Matrix,
    sender: &Sender,
    contestants: &mut [Contestant<'_>],
    payload: Payload,
    direction: Direction,
) -> anyhow::Result<Vec<Row>> {
    let sessions = sender.sessions();
    let warm_up = Matrix::warm_up(sessions.len());
    let mut ring = Ring::new();
    let mut packets = ring.packets();
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..matrix.rounds {
        let mut at = 0;
        for contestant in &mut *contestants {
            for batch in matrix.batches_of(contestant.peer) {
                let sent = &mut contestant.sent[direction as usize];
                let supply = sender.supply(direction, payload, warm_up + matrix.passes, sent);
                let ns = turn(contestant, &supply, &mut packets, direction, batch, [warm_up, matrix.passes])?;
                if round == 0 {
                    rows.push(Row {
                        name: contestant.peer.name,
                        version: contestant.peer.version.clone(),
                        scope: contestant.peer.scope,
                        suite: sessions[0].suite,
                        payload,
                        sessions: sessions.len(),
                        batch,
                        direction,
                        ns_per_packet: ns,
                    });
                } else {
                    rows[at].ns_per_packet = rows[at].ns_per_packet.min(ns);
                }
                at += 1;
            }
        }
    }
    Ok(rows)
}

/// Nanoseconds per packet of the best stretch after `warm_up` passes.
fn turn(
    contestant: &mut Contestant<'_>,
    supply: &Supply,
    packets: &mut [Packet<'_>],
    direction: Direction,
    batch: usize,
    [warm_up, passes]: [usize; 2],
) -> anyhow::Result<f64> {
    let times = (0..warm_up + passes).map(|at| pass(contestant, supply, at, packets, direction, batch));
    let times = times.collect::<Result<Vec<_>, _>>()?;
    let stretches = times[warm_up..].chunks_exact(STRETCH);
    let ns = |stretch: &[Duration]| stretch.iter().sum::<Duration>().as_nanos() as f64;
    Ok(stretches.map(ns).fold(f64::INFINITY, f64::min) / (STRETCH * RING) as f64)
}

fn pass(
    contestant: &mut Contestant<'_>,
    supply: &Supply,
    at: usize,
    packets: &mut [Packet<'_>],
    direction: Direction,
    batch: usize,
) -> anyhow::Result<Duration> {
    supply.load(at, packets);
    let time = contestant.engine.run(direction, packets, batch);
    // An engine that fails is fast.
    let failed = packets.iter().find(|packet| !packet.ok);
    ensure!(
        failed.is_none(),
        "{}: {direction} failed on a valid packet, (session, index) {:?}",
        contestant.peer.name,
        failed.map(|packet| (packet.session, packet.index))
    );
    Ok(time)
}
