//! Keys for callers that do their own signalling, in batches.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;
use sluice_proto::v1;
use sluice_proto::v1::sluice_client::SluiceClient;
use sluice_srtp::Suite;
use sluice_tools::demo::gateway::{Key, key_install};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::load::histogram;

/// Legs that get keys, of sessions with so many each.
pub const LEGS: usize = 8_000;
const LEGS_OF_A_SESSION: usize = 4;
/// Keys of a request.
pub const BATCH: usize = 1_000;
/// Requests under way at a time: one is read while the other is worked on.
const UNDER_WAY: usize = 2;
/// An answer of a thousand keys or legs is large.
const LARGEST_ANSWER: usize = 64 << 20;
const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// What is done to the keys of legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The first keys of legs, one each way.
    Install,
    /// New keys take the place of those.
    Rekey,
}

impl Operation {
    /// The method's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Install => "InstallKeys",
            Self::Rekey => "Rekey",
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Keys that were installed.
    pub keys: usize,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Nanoseconds that a request took.
    pub batches: Histogram<u64>,
}

/// The legs of a round.
pub struct Legs {
    client: SluiceClient<Channel>,
    round: usize,
}

impl Legs {
    /// Makes them.
    pub async fn create(channel: Channel, round: usize) -> Result<Self> {
        let mut client = SluiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
        for session in 0..LEGS / LEGS_OF_A_SESSION {
            let session = session_id(round, session * LEGS_OF_A_SESSION);
            client.create_session(v1::CreateSessionRequest { session, ..Default::default() }).await?;
        }
        for batch in 0..LEGS / BATCH {
            let legs = (batch * BATCH..(batch + 1) * BATCH).map(|leg| v1::CreateLegRequest {
                session: session_id(round, leg),
                leg: leg.to_string(),
                config: Some(v1::LegConfig {
                    remote: format!("10.77.16.1:{}", 10_000 + leg),
                    rtcp_mux: true,
                    inbound: v1::Protection::Srtp.into(),
                    outbound: v1::Protection::Srtp.into(),
                    ..Default::default()
                }),
            });
            let request = v1::CreateLegsRequest { legs: legs.collect() };
            for result in client.create_legs(request).await?.into_inner().results {
                if let Some(v1::leg_result::Result::Failure(failure)) = result.result {
                    bail!("no leg: {} ({})", failure.message, failure.remedy);
                }
            }
        }
        Ok(Self { client, round })
    }

    /// Gives each leg a key for each way.
    pub async fn give(&self, operation: Operation) -> Result<Outcome> {
        let mut batches = VecDeque::new();
        for batch in 0..2 * LEGS / BATCH {
            let first = batch * BATCH / 2;
            let keys: Result<Vec<_>> =
                (0..BATCH).map(|key| self.key(operation, first + key / 2, key % 2)).collect();
            batches.push_back(keys?);
        }
        let (batches, times) = (Rc::new(RefCell::new(batches)), Rc::new(RefCell::new(histogram()?)));
        let mut under_way = JoinSet::new();
        let start = Instant::now();
        for _ in 0..UNDER_WAY {
            let (client, batches, times) = (self.client.clone(), Rc::clone(&batches), Rc::clone(&times));
            under_way.spawn_local(async move {
                loop {
                    let next = batches.borrow_mut().pop_front();
                    let Some(keys) = next else { return anyhow::Ok(()) };
                    let begun = Instant::now();
                    ask(client.clone(), operation, keys).await?;
                    times.borrow_mut().saturating_record(begun.elapsed().as_nanos() as u64);
                }
            });
        }
        while let Some(ended) = under_way.join_next().await {
            ended??;
        }
        let elapsed = start.elapsed();
        Ok(Outcome { keys: 2 * LEGS, elapsed, batches: times.replace(histogram()?) })
    }

    /// Removes them.
    pub async fn remove(mut self) -> Result<()> {
        for session in 0..LEGS / LEGS_OF_A_SESSION {
            let session = session_id(self.round, session * LEGS_OF_A_SESSION);
            self.client.delete_session(v1::DeleteSessionRequest { session }).await?;
        }
        Ok(())
    }

    fn key(&self, operation: Operation, leg: usize, way: usize) -> Result<v1::KeyInstall> {
        let direction = [v1::Direction::Inbound, v1::Direction::Outbound][way];
        let id = operation.name();
        Ok(key_install(&session_id(self.round, leg), &leg.to_string(), id, direction, &Key::random(SUITE)?))
    }
}

fn session_id(round: usize, leg: usize) -> String {
    format!("keys-{round}-{}", leg / LEGS_OF_A_SESSION)
}

async fn ask(
    mut client: SluiceClient<Channel>,
    operation: Operation,
    keys: Vec<v1::KeyInstall>,
) -> Result<()> {
    let results = match operation {
        Operation::Install => {
            client.install_keys(v1::InstallKeysRequest { keys }).await?.into_inner().results
        }
        Operation::Rekey => {
            let request = v1::RekeyRequest { keys, grace_milliseconds: 0 };
            client.rekey(request).await?.into_inner().results
        }
    };
    ensure!(results.len() == BATCH, "{} results for {BATCH} keys", results.len());
    for result in results {
        if let Some(v1::key_result::Result::Failure(failure)) = result.result {
            bail!("no key: {} ({})", failure.message, failure.remedy);
        }
    }
    Ok(())
}
