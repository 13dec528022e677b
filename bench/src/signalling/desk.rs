//! Who sets calls up: the SIP server's part, towards one gateway or another.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sluice_proto::v1;
use sluice_proto::v1::signalling_client::SignallingClient;
use tonic::transport::Channel;

use super::sdp::{self, Security};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Towards the caller.
    pub caller: Security,
    /// Towards the callee.
    pub callee: Security,
    /// Whether there is video beside the audio.
    pub video: bool,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> String {
        let word = |security| match security {
            Security::Sdes => "SDES",
            Security::Plain => "plain",
        };
        let media = if self.video { ", audio and video" } else { "" };
        format!("{} → {}{media}", word(self.caller), word(self.callee))
    }

    /// How many media lines it has.
    pub fn media(self) -> usize {
        1 + usize::from(self.video)
    }
}

/// One place at which calls are set up, one at a time.
#[allow(async_fn_in_trait, reason = "used on one thread, by this crate")]
pub trait Desk {
    /// Hands in an offer and its answer; how long the gateway took for each.
    async fn begin(&mut self, kind: Kind, number: u64) -> Result<[Duration; 2]>;

    /// Ends the call.
    async fn end(&mut self, number: u64) -> Result<Duration>;
}

/// A desk at Sluice.
#[derive(Clone)]
pub struct Sluice(SignallingClient<Channel>);

impl Sluice {
    /// Over a connection, which desks may share.
    pub fn new(channel: Channel) -> Self {
        Self(SignallingClient::new(channel))
    }
}

impl Desk for Sluice {
    async fn begin(&mut self, kind: Kind, number: u64) -> Result<[Duration; 2]> {
        let session = session(number);
        let security = match kind.callee {
            Security::Sdes => v1::MediaSecurity::Required,
            Security::Plain => v1::MediaSecurity::Plain,
        };
        let callee = v1::PeerPolicy { security: security.into(), ..Default::default() };
        let request = v1::ProcessOfferRequest {
            session: session.clone(),
            request_id: "1".into(),
            from: v1::CallSide::Caller.into(),
            sdp: sdp::offer(number, kind.caller, kind.video)?,
            policy: Some(v1::SessionPolicy { callee: Some(callee), ..Default::default() }),
            attestation: Some(v1::SignallingAttestation { hop_tls: true, ..Default::default() }),
            ..Default::default()
        };
        let start = Instant::now();
        let offered = self.0.process_offer(request).await.context("ProcessOffer")?.into_inner();
        let offer = start.elapsed();
        let request = v1::ProcessAnswerRequest {
            session,
            request_id: "2".into(),
            sdp: sdp::answer(number, &offered.sdp, kind.callee)?,
            attestation: Some(v1::SignallingAttestation { hop_tls: true, ..Default::default() }),
            ..Default::default()
        };
        let start = Instant::now();
        let answered = self.0.process_answer(request).await.context("ProcessAnswer")?.into_inner();
        let answer = start.elapsed();
        sdp::check_all(&answered.sdp, kind.caller, kind.media())?;
        Ok([offer, answer])
    }

    async fn end(&mut self, number: u64) -> Result<Duration> {
        let request = v1::EndSessionRequest { session: session(number), request_id: "3".into() };
        let start = Instant::now();
        let ended = self.0.end_session(request).await.context("EndSession")?.into_inner();
        anyhow::ensure!(ended.existed, "call {number} was gone before it ended");
        Ok(start.elapsed())
    }
}

fn session(number: u64) -> String {
    format!("call-{number}")
}
