//! `sluice.v1.Recording`: what lets media out is in the audit log before it is done.

use std::sync::Arc;

use sluice_proto::v1;
use sluice_proto::v1::recording_server;
use tonic::{Request, Response, Status};
use zeroize::Zeroize;

use super::{Ended, Plan, TapName};
use crate::access::Caller;
use crate::audit::Action;
use crate::error::check_id;
use crate::gateway::Gateway;
use crate::service::{Answer, answer, whole};

/// The service.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Gateway>);

#[tonic::async_trait]
impl recording_server::Recording for Service {
    async fn start_tap(&self, request: Request<v1::StartTapRequest>) -> Answer<v1::Tap> {
        let caller = Caller::of(&request)?;
        let (gateway, request) = (Arc::clone(&self.0), Secret(request.into_inner()));
        let started = whole(async move {
            let action = action("StartTap", &request.0.session, &request.0.tap).detail(details(&request.0));
            let plan = Plan::read(request.take(), &gateway.config);
            gateway.audit.record(&caller, action.clone().begun())?;
            let started = match plan {
                Ok(plan) => gateway.start_tap(plan).await,
                Err(error) => Err(error),
            };
            let told = gateway.audit.record(&caller, action.outcome(&started));
            if let (Ok(tap), Err(error)) = (&started, told) {
                // Whoever reads the log would take it for one that never came to be.
                let name = gateway.tap_name(&tap.session, &tap.id).await?;
                gateway.end_tap(&name, Ended::by(v1::TapEnd::Stopped)).await;
                return Err(error);
            }
            started
        });
        answer(started.await)
    }

    async fn stop_tap(&self, request: Request<v1::StopTapRequest>) -> Answer<v1::Tap> {
        let caller = Caller::of(&request)?;
        let (gateway, v1::StopTapRequest { session, tap }) = (Arc::clone(&self.0), request.into_inner());
        let stopped = whole(async move {
            let stopped = gateway.stop_tap(&session, &tap).await;
            // It has ended, log or no log: nothing is copied for want of one.
            let action = action("StopTap", &session, &tap).outcome(&stopped);
            gateway.audit.record(&caller, action)?;
            stopped
        });
        answer(stopped.await)
    }

    async fn get_tap(&self, request: Request<v1::GetTapRequest>) -> Answer<v1::Tap> {
        let v1::GetTapRequest { session, tap } = request.into_inner();
        answer(self.0.get_tap(&session, &tap).await)
    }

    async fn list_taps(&self, request: Request<v1::ListTapsRequest>) -> Answer<v1::ListTapsResponse> {
        let taps = self.0.list_taps(&request.into_inner().session).await;
        answer(taps.map(|taps| v1::ListTapsResponse { taps }))
    }

    async fn disclose_tap_key(
        &self,
        request: Request<v1::DiscloseTapKeyRequest>,
    ) -> Answer<v1::DiscloseTapKeyResponse> {
        let caller = Caller::of(&request)?;
        let v1::DiscloseTapKeyRequest { session, tap } = request.into_inner();
        let key = self.0.tap_key(&session, &tap).await;
        let action = action("DiscloseTapKey", &session, &tap).outcome(&key);
        let told = self.0.audit.record(&caller, action);
        match (key, told) {
            (Ok(key), Ok(())) => Ok(Response::new(v1::DiscloseTapKeyResponse { key: Some(key) })),
            (Ok(mut key), Err(error)) => {
                key.key_salt.zeroize();
                Err(Status::from(error))
            }
            (Err(error), _) => Err(Status::from(error)),
        }
    }
}

/// Says in the audit log that a tap ended by itself. It has: that it cannot be written is in the other log.
pub(crate) fn audit_end(gateway: &Gateway, name: &TapName, why: &Ended) {
    let action = Action::new("tap ended").session(&name.session).tap(&name.tap);
    let detail = if why.detail.is_empty() { why.reason().to_owned() } else { why.detail.clone() };
    let _ = gateway.audit.record(&Caller::gateway(), action.detail(detail));
}

fn action(method: &str, session: &str, tap: &str) -> Action {
    // What is no id has no place in a log either.
    let id = |field, id: &str| if check_id(field, id).is_ok() { id.to_owned() } else { String::new() };
    let (session, tap) = (id("session", session), id("tap", tap));
    Action::new(format!("sluice.v1.Recording/{method}")).session(&session).tap(&tap)
}

/// What is copied, and to where, for the audit log.
fn details(request: &v1::StartTapRequest) -> String {
    let short = |text: &str| text.chars().take(100).collect::<String>();
    let Some(config) = &request.config else { return String::new() };
    let legs = match config.legs.as_slice() {
        [] => "all legs".to_owned(),
        legs => format!("legs {}", legs.iter().take(64).map(|leg| short(leg)).collect::<Vec<_>>().join(" ")),
    };
    match &config.destination {
        Some(v1::tap_config::Destination::File(file)) => format!("{legs} to file {}", short(&file.name)),
        Some(v1::tap_config::Destination::Peer(peer)) => {
            let how = match &peer.key {
                Some(key) if key.key_salt.is_empty() => "under a key that was made",
                Some(_) => "under the recorder's key",
                None => "in the clear",
            };
            format!("{legs} to {} {how}", short(&peer.remote))
        }
        None => legs,
    }
}

/// A request with a key in it, which is wiped however the call ends.
struct Secret(v1::StartTapRequest);

impl Secret {
    fn take(mut self) -> v1::StartTapRequest {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let destination = self.0.config.as_mut().and_then(|config| config.destination.as_mut());
        if let Some(v1::tap_config::Destination::Peer(v1::TapPeer { key: Some(key), .. })) = destination {
            key.key_salt.zeroize();
        }
    }
}
