//! The gRPC service: each call as one line towards the gateway.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sluice_proto::v1;
use sluice_proto::v1::sluice_server::Sluice;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::ApiError;
use crate::access::{Caller, Role, deadline};
use crate::audit::{Action, KeyAction};
use crate::error::check_id;
use crate::events::unix_nanoseconds;
use crate::gateway::{Gateway, Installs};

/// Entries of one batch; a larger one would hold up other callers for too long.
const MAX_BATCH: usize = 10_000;

/// `sluice.v1.Sluice`.
pub(crate) struct Service(pub(crate) Arc<Gateway>);

pub(crate) type Answer<T> = Result<Response<T>, Status>;

/// Runs a change to its end even if the client goes away in the middle of it: a call that is cut off
/// must not leave something half-made. A change that comes too late is not begun.
pub(crate) async fn whole<T, F>(change: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    deadline::check()?;
    let ended = tokio::spawn(change).await;
    ended.unwrap_or_else(|_| Err(ApiError::unavailable("the daemon stopped in the middle of the call")))
}

pub(crate) fn answer<T>(result: Result<T, ApiError>) -> Answer<T> {
    Ok(Response::new(result?))
}

fn only<T>(mut results: Vec<Result<T, ApiError>>) -> Result<T, ApiError> {
    results.pop().unwrap_or_else(|| Err(ApiError::unavailable("no result")))
}

fn bounded<T>(field: &'static str, entries: Vec<T>) -> Result<Vec<T>, ApiError> {
    check_count(field, entries.len())?;
    Ok(entries)
}

/// Says in the audit log how something went. What is done is done: that it could not be written is in the log.
fn tell(gateway: &Gateway, caller: &Caller, action: Action) {
    let _ = gateway.audit.record(caller, action);
}

/// An operator's change is audited; what signalling does all day is not.
fn tell_of_operator<T>(gateway: &Gateway, caller: &Caller, action: Action, result: &Result<T, ApiError>) {
    if !caller.has(Role::Signalling) {
        tell(gateway, caller, action.outcome(result));
    }
}

fn check_count(field: &'static str, entries: usize) -> Result<(), ApiError> {
    if entries > MAX_BATCH {
        let message = format!("has {entries} entries");
        return Err(ApiError::invalid(field, message, "send at most 10000 entries per call"));
    }
    Ok(())
}

#[tonic::async_trait]
impl Sluice for Service {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn get_info(&self, _: Request<v1::GetInfoRequest>) -> Answer<v1::Info> {
        answer(self.0.info())
    }

    async fn create_session(&self, request: Request<v1::CreateSessionRequest>) -> Answer<v1::Session> {
        let v1::CreateSessionRequest { session, labels } = request.into_inner();
        let gateway = Arc::clone(&self.0);
        answer(whole(async move { gateway.create_session(session, labels).await }).await)
    }

    async fn get_session(&self, request: Request<v1::GetSessionRequest>) -> Answer<v1::Session> {
        answer(self.0.get_session(&request.into_inner().session).await)
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Answer<v1::ListSessionsResponse> {
        let v1::ListSessionsRequest { page_size, page_token } = request.into_inner();
        answer(self.0.list_sessions(page_size, &page_token).await)
    }

    async fn delete_session(
        &self,
        request: Request<v1::DeleteSessionRequest>,
    ) -> Answer<v1::DeleteSessionResponse> {
        let caller = Caller::of(&request)?;
        let (gateway, session) = (Arc::clone(&self.0), request.into_inner().session);
        let existed = whole(async move {
            let existed = gateway.delete_session(&session).await;
            let action = Action::new("sluice.v1.Sluice/DeleteSession").session(&session);
            tell_of_operator(&gateway, &caller, action, &existed);
            existed
        })
        .await;
        answer(existed.map(|existed| v1::DeleteSessionResponse { existed }))
    }

    async fn move_session(&self, request: Request<v1::MoveSessionRequest>) -> Answer<v1::Session> {
        let caller = Caller::of(&request)?;
        let v1::MoveSessionRequest { session, worker } = request.into_inner();
        let gateway = Arc::clone(&self.0);
        let moved = whole(async move {
            let moved = gateway.move_session(&session, worker).await;
            let action = Action::new("sluice.v1.Sluice/MoveSession").session(&session);
            tell(&gateway, &caller, action.detail(format!("to worker {worker}")).outcome(&moved));
            moved
        });
        answer(moved.await)
    }

    async fn create_leg(&self, request: Request<v1::CreateLegRequest>) -> Answer<v1::Leg> {
        let (gateway, leg) = (Arc::clone(&self.0), request.into_inner());
        answer(whole(async move { only(gateway.create_legs(vec![leg]).await) }).await)
    }

    async fn update_leg(&self, request: Request<v1::UpdateLegRequest>) -> Answer<v1::Leg> {
        let (gateway, update) = (Arc::clone(&self.0), request.into_inner());
        answer(whole(async move { gateway.update_leg(update).await }).await)
    }

    async fn get_leg(&self, request: Request<v1::GetLegRequest>) -> Answer<v1::Leg> {
        let v1::GetLegRequest { session, leg } = request.into_inner();
        answer(self.0.get_leg(&session, &leg).await)
    }

    async fn list_legs(&self, request: Request<v1::ListLegsRequest>) -> Answer<v1::ListLegsResponse> {
        let legs = self.0.list_legs(&request.into_inner().session).await;
        answer(legs.map(|legs| v1::ListLegsResponse { legs }))
    }

    async fn add_candidates(&self, request: Request<v1::AddCandidatesRequest>) -> Answer<v1::Leg> {
        let v1::AddCandidatesRequest { session, leg, candidates, end } = request.into_inner();
        answer(self.0.add_candidates(&session, &leg, &candidates, end).await)
    }

    async fn delete_leg(&self, request: Request<v1::DeleteLegRequest>) -> Answer<v1::DeleteLegResponse> {
        let v1::DeleteLegRequest { session, leg } = request.into_inner();
        let gateway = Arc::clone(&self.0);
        let existed = whole(async move { gateway.delete_leg(&session, &leg).await }).await;
        answer(existed.map(|existed| v1::DeleteLegResponse { existed }))
    }

    async fn export_positions(&self, request: Request<v1::ExportPositionsRequest>) -> Answer<v1::Positions> {
        let caller = Caller::of(&request)?;
        let v1::ExportPositionsRequest { session, leg } = request.into_inner();
        let positions = self.0.export_positions(&session, &leg).await;
        let action = Action::new("sluice.v1.Sluice/ExportPositions").session(&session).leg(&leg);
        tell_of_operator(&self.0, &caller, action, &positions);
        answer(positions)
    }

    async fn import_positions(&self, request: Request<v1::Positions>) -> Answer<v1::ImportPositionsResponse> {
        let caller = Caller::of(&request)?;
        let (gateway, positions) = (Arc::clone(&self.0), request.into_inner());
        check_count("streams", positions.streams.len())?;
        let action = Action::new("sluice.v1.Sluice/ImportPositions");
        let action = action.session(&positions.session).leg(&positions.leg);
        let done = whole(async move {
            let done = gateway.import_positions(positions).await;
            tell_of_operator(&gateway, &caller, action, &done);
            done
        })
        .await;
        answer(done.map(|()| v1::ImportPositionsResponse {}))
    }

    async fn create_route(&self, request: Request<v1::CreateRouteRequest>) -> Answer<v1::Route> {
        let route = request.into_inner().route.unwrap_or_default();
        let gateway = Arc::clone(&self.0);
        answer(whole(async move { only(gateway.create_routes(vec![route]).await) }).await)
    }

    async fn update_route(&self, request: Request<v1::UpdateRouteRequest>) -> Answer<v1::Route> {
        let route = request.into_inner().route.unwrap_or_default();
        let gateway = Arc::clone(&self.0);
        answer(whole(async move { only(gateway.update_routes(vec![route]).await) }).await)
    }

    async fn list_routes(&self, request: Request<v1::ListRoutesRequest>) -> Answer<v1::ListRoutesResponse> {
        let routes = self.0.list_routes(&request.into_inner().session).await;
        answer(routes.map(|routes| v1::ListRoutesResponse { routes }))
    }

    async fn delete_route(
        &self,
        request: Request<v1::DeleteRouteRequest>,
    ) -> Answer<v1::DeleteRouteResponse> {
        let v1::DeleteRouteRequest { session, route } = request.into_inner();
        let gateway = Arc::clone(&self.0);
        let existed = whole(async move { gateway.delete_route(&session, &route).await }).await;
        answer(existed.map(|existed| v1::DeleteRouteResponse { existed }))
    }

    async fn install_keys(
        &self,
        request: Request<v1::InstallKeysRequest>,
    ) -> Answer<v1::InstallKeysResponse> {
        let caller = Caller::of(&request)?;
        let keys = Installs(request.into_inner().keys);
        check_count("keys", keys.0.len())?;
        let gateway = Arc::clone(&self.0);
        let results = whole(async move {
            let names = keys.names();
            let results = gateway.install_keys(keys).await;
            let action = Action::new("sluice.v1.Sluice/InstallKeys");
            tell(&gateway, &caller, action.keys(key_actions(names, &results)));
            Ok(results)
        })
        .await?;
        let results = results.into_iter().map(key_result).collect();
        Ok(Response::new(v1::InstallKeysResponse { results }))
    }

    async fn rekey(&self, request: Request<v1::RekeyRequest>) -> Answer<v1::RekeyResponse> {
        let caller = Caller::of(&request)?;
        let v1::RekeyRequest { keys, grace_milliseconds } = request.into_inner();
        let (gateway, keys) = (Arc::clone(&self.0), Installs(keys));
        check_count("keys", keys.0.len())?;
        let results = whole(async move {
            let names = keys.names();
            let results = gateway.rekey(keys, grace_milliseconds).await?;
            let action = Action::new("sluice.v1.Sluice/Rekey");
            tell(&gateway, &caller, action.keys(key_actions(names, &results)));
            Ok(results)
        })
        .await?;
        let results = results.into_iter().map(key_result).collect();
        Ok(Response::new(v1::RekeyResponse { results }))
    }

    async fn retire_keys(&self, request: Request<v1::RetireKeysRequest>) -> Answer<v1::RetireKeysResponse> {
        let keys = bounded("keys", request.into_inner().keys)?;
        let gateway = Arc::clone(&self.0);
        let results = whole(async move { Ok(gateway.retire_keys(keys).await) }).await?;
        let results = results.into_iter().map(key_result).collect();
        Ok(Response::new(v1::RetireKeysResponse { results }))
    }

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Answer<v1::ListKeysResponse> {
        let v1::ListKeysRequest { session, leg } = request.into_inner();
        answer(self.0.list_keys(&session, &leg).await.map(|legs| v1::ListKeysResponse { legs }))
    }

    async fn create_legs(&self, request: Request<v1::CreateLegsRequest>) -> Answer<v1::CreateLegsResponse> {
        let legs = bounded("legs", request.into_inner().legs)?;
        let gateway = Arc::clone(&self.0);
        let results = whole(async move { Ok(gateway.create_legs(legs).await) }).await?;
        let results = results.into_iter().map(|result| v1::LegResult {
            result: Some(match result {
                Ok(leg) => v1::leg_result::Result::Leg(leg),
                Err(error) => v1::leg_result::Result::Failure(error.into()),
            }),
        });
        Ok(Response::new(v1::CreateLegsResponse { results: results.collect() }))
    }

    async fn create_routes(
        &self,
        request: Request<v1::CreateRoutesRequest>,
    ) -> Answer<v1::CreateRoutesResponse> {
        let routes = bounded("routes", request.into_inner().routes)?;
        let gateway = Arc::clone(&self.0);
        let results = whole(async move { Ok(gateway.create_routes(routes).await) }).await?;
        Ok(Response::new(v1::CreateRoutesResponse { results: route_results(results) }))
    }

    async fn update_routes(
        &self,
        request: Request<v1::UpdateRoutesRequest>,
    ) -> Answer<v1::UpdateRoutesResponse> {
        let routes = bounded("routes", request.into_inner().routes)?;
        let gateway = Arc::clone(&self.0);
        let results = whole(async move { Ok(gateway.update_routes(routes).await) }).await?;
        Ok(Response::new(v1::UpdateRoutesResponse { results: route_results(results) }))
    }

    async fn get_statistics(&self, request: Request<v1::GetStatisticsRequest>) -> Answer<v1::Statistics> {
        let v1::GetStatisticsRequest { session, workers_only } = request.into_inner();
        answer(self.0.statistics(&session, workers_only).await)
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let wanted = request.into_inner().session;
        if !wanted.is_empty() {
            check_id("session", &wanted)?;
        }
        Ok(Response::new(Box::pin(watch(self.0.watch(), wanted))))
    }
}

fn key_actions(names: Vec<v1::KeyRef>, results: &[Result<v1::Key, ApiError>]) -> Vec<KeyAction> {
    let of = |(name, result): (v1::KeyRef, &Result<v1::Key, ApiError>)| KeyAction::new(name, result);
    names.into_iter().zip(results).map(of).collect()
}

fn route_results(results: Vec<Result<v1::Route, ApiError>>) -> Vec<v1::RouteResult> {
    let told = results.into_iter().map(|result| match result {
        Ok(route) => v1::route_result::Result::Route(route),
        Err(error) => v1::route_result::Result::Failure(error.into()),
    });
    told.map(|result| v1::RouteResult { result: Some(result) }).collect()
}

/// The events of one session (empty: of all) and of the whole daemon. Ends when the daemon does.
fn watch(
    events: broadcast::Receiver<Option<v1::Event>>,
    session: String,
) -> impl Stream<Item = Result<v1::Event, Status>> + Send {
    let until_end = BroadcastStream::new(events).take_while(|event| !matches!(event, Ok(None)));
    until_end.filter_map(move |event| match event {
        Ok(event) => event
            .filter(|event| session.is_empty() || event.session.is_empty() || event.session == session)
            .map(Ok),
        Err(BroadcastStreamRecvError::Lagged(events)) => {
            let kind = Some(v1::event::Kind::Lost(v1::Lost { events }));
            let time_unix_nanoseconds = unix_nanoseconds();
            Some(Ok(v1::Event { time_unix_nanoseconds, kind, ..Default::default() }))
        }
    })
}

fn key_result(result: Result<v1::Key, ApiError>) -> v1::KeyResult {
    v1::KeyResult {
        result: Some(match result {
            Ok(key) => v1::key_result::Result::Key(key),
            Err(error) => v1::key_result::Result::Failure(error.into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(session: &str) -> v1::Event {
        v1::Event { session: session.into(), ..Default::default() }
    }

    #[tokio::test]
    async fn a_watcher_gets_its_session_and_the_daemon_and_then_the_end() {
        let (sender, receiver) = broadcast::channel(8);
        let (ours, others, daemons) = (event("a"), event("b"), event(""));
        for message in [Some(ours.clone()), Some(others), Some(daemons), None, Some(ours)] {
            sender.send(message).unwrap();
        }
        let seen: Vec<_> = watch(receiver, "a".into()).map(|event| event.unwrap().session).collect().await;
        assert_eq!(seen, ["a", ""]);
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_how_much_it_lost() {
        let (sender, receiver) = broadcast::channel(2);
        for _ in 0..5 {
            sender.send(Some(event("a"))).unwrap();
        }
        let first = Box::pin(watch(receiver, String::new())).next().await.unwrap().unwrap();
        assert_eq!(first.kind, Some(v1::event::Kind::Lost(v1::Lost { events: 3 })));
        assert!(first.time_unix_nanoseconds > 0);
    }
}
