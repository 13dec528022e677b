//! Calls of the page, from the browser through the gateway to an echo.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use sluice_proto::v1;
use sluice_proto::v1::signalling_client::SignallingClient;
use sluice_proto::v1::sluice_client::SluiceClient;
use tonic::transport::Channel;

use super::echo::{self, Echo};
use super::status::{self, Status};

/// Calls at a time; a page that is reloaded leaves its call behind.
const MAX_CALLS: usize = 16;

/// All calls of the page.
pub(super) struct Calls {
    channel: Channel,
    media: IpAddr,
    next: AtomicU64,
    echoes: Mutex<HashMap<String, Echo>>,
}

impl Calls {
    pub(super) fn new(channel: Channel, media: IpAddr) -> Self {
        Self { channel, media, next: AtomicU64::new(1), echoes: Mutex::default() }
    }

    /// Takes the browser's offer; returns the call's name and the answer.
    pub(super) async fn begin(&self, offer: String) -> Result<(String, String)> {
        ensure!(self.echoes().len() < MAX_CALLS, "{MAX_CALLS} calls are under way: hang up another one");
        let session = format!("browser-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let echo = Echo::start()?;
        match self.negotiate(&session, offer, &echo).await {
            Ok(answer) => {
                self.echoes().insert(session.clone(), echo);
                Ok((session, answer))
            }
            Err(error) => {
                self.end(&session).await?;
                Err(error)
            }
        }
    }

    /// How a call is.
    pub(super) async fn status(&self, session: &str) -> Result<Status> {
        let session = session.to_owned();
        let mut sluice = SluiceClient::new(self.channel.clone());
        let call = v1::GetCallRequest { session: session.clone() };
        let call =
            answered(self.signalling().get_call(call).await)?.call.context("the gateway tells no call")?;
        let legs = answered(sluice.list_legs(v1::ListLegsRequest { session: session.clone() }).await)?.legs;
        let statistics = v1::GetStatisticsRequest { session, workers_only: false };
        let statistics = answered(sluice.get_statistics(statistics).await)?;
        Ok(status::of(&call, &legs, &statistics.legs))
    }

    /// Ends a call; says whether there was one.
    pub(super) async fn end(&self, session: &str) -> Result<bool> {
        let request = v1::EndSessionRequest { session: session.to_owned(), ..Default::default() };
        let existed = answered(self.signalling().end_session(request).await)?.existed;
        self.echoes().remove(session);
        Ok(existed)
    }

    async fn negotiate(&self, session: &str, offer: String, echo: &Echo) -> Result<String> {
        let offer = v1::ProcessOfferRequest {
            session: session.to_owned(),
            from: v1::CallSide::Caller.into(),
            sdp: offer,
            policy: Some(self.policy()),
            // The page came over loopback, and the offer with it.
            attestation: Some(v1::SignallingAttestation { hop_tls: true, ..Default::default() }),
            ..Default::default()
        };
        let towards_echo = answered(self.signalling().process_offer(offer).await)?;
        let answer = v1::ProcessAnswerRequest {
            session: session.to_owned(),
            branch: towards_echo.branch,
            from: v1::CallSide::Callee.into(),
            sdp: echo.answer(&towards_echo.sdp)?,
            ..Default::default()
        };
        Ok(answered(self.signalling().process_answer(answer).await)?.sdp)
    }

    /// DTLS-SRTP on the browser's side, nothing on the echo's.
    fn policy(&self) -> v1::SessionPolicy {
        v1::SessionPolicy {
            caller: Some(v1::PeerPolicy {
                security: v1::MediaSecurity::Required.into(),
                address: Some(self.media.to_string()),
                keyings: vec![v1::Keying::DtlsSrtp.into()],
                ..Default::default()
            }),
            callee: Some(v1::PeerPolicy {
                security: v1::MediaSecurity::Plain.into(),
                address: Some(echo::ADDRESS.to_string()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn signalling(&self) -> SignallingClient<Channel> {
        SignallingClient::new(self.channel.clone())
    }

    fn echoes(&self) -> MutexGuard<'_, HashMap<String, Echo>> {
        self.echoes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answered<T>(response: Result<tonic::Response<T>, tonic::Status>) -> Result<T> {
    let failed =
        |status: tonic::Status| anyhow!("the gateway says {:?}: {}", status.code(), status.message());
    response.map(tonic::Response::into_inner).map_err(failed)
}
