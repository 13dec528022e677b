//! The gRPC service: each call as one line towards the gateway.

use std::pin::Pin;
use std::sync::Arc;

use sluice_proto::v1;
use sluice_proto::v1::sluice_server::Sluice;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::ApiError;
use crate::gateway::Gateway;

/// Entries of one batch; a larger one would hold up other callers for too long.
const MAX_BATCH: usize = 10_000;

/// `sluice.v1.Sluice`.
pub(crate) struct Service(pub(crate) Arc<Gateway>);

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: Result<T, ApiError>) -> Answer<T> {
    Ok(Response::new(result?))
}

fn only<T>(mut results: Vec<Result<T, ApiError>>) -> Result<T, ApiError> {
    results.pop().unwrap_or_else(|| Err(ApiError::unavailable("no result")))
}

fn bounded<T>(field: &'static str, entries: Vec<T>) -> Result<Vec<T>, ApiError> {
    if entries.len() > MAX_BATCH {
        let message = format!("has {} entries", entries.len());
        return Err(ApiError::invalid(field, message, "send at most 10000 entries per call"));
    }
    Ok(entries)
}

#[tonic::async_trait]
impl Sluice for Service {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn get_info(&self, _: Request<v1::GetInfoRequest>) -> Answer<v1::Info> {
        answer(self.0.info())
    }

    async fn create_session(&self, request: Request<v1::CreateSessionRequest>) -> Answer<v1::Session> {
        let v1::CreateSessionRequest { session, labels } = request.into_inner();
        answer(self.0.create_session(session, labels).await)
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
        let existed = self.0.delete_session(&request.into_inner().session).await;
        answer(existed.map(|existed| v1::DeleteSessionResponse { existed }))
    }

    async fn create_leg(&self, request: Request<v1::CreateLegRequest>) -> Answer<v1::Leg> {
        answer(only(self.0.create_legs(vec![request.into_inner()]).await))
    }

    async fn update_leg(&self, request: Request<v1::UpdateLegRequest>) -> Answer<v1::Leg> {
        answer(self.0.update_leg(request.into_inner()).await)
    }

    async fn get_leg(&self, request: Request<v1::GetLegRequest>) -> Answer<v1::Leg> {
        let v1::GetLegRequest { session, leg } = request.into_inner();
        answer(self.0.get_leg(&session, &leg).await)
    }

    async fn list_legs(&self, request: Request<v1::ListLegsRequest>) -> Answer<v1::ListLegsResponse> {
        let legs = self.0.list_legs(&request.into_inner().session).await;
        answer(legs.map(|legs| v1::ListLegsResponse { legs }))
    }

    async fn delete_leg(&self, request: Request<v1::DeleteLegRequest>) -> Answer<v1::DeleteLegResponse> {
        let v1::DeleteLegRequest { session, leg } = request.into_inner();
        let existed = self.0.delete_leg(&session, &leg).await;
        answer(existed.map(|existed| v1::DeleteLegResponse { existed }))
    }

    async fn create_route(&self, request: Request<v1::CreateRouteRequest>) -> Answer<v1::Route> {
        let route = request.into_inner().route.unwrap_or_default();
        answer(only(self.0.create_routes(vec![route]).await))
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
        let existed = self.0.delete_route(&session, &route).await;
        answer(existed.map(|existed| v1::DeleteRouteResponse { existed }))
    }

    async fn install_keys(
        &self,
        request: Request<v1::InstallKeysRequest>,
    ) -> Answer<v1::InstallKeysResponse> {
        let keys = bounded("keys", request.into_inner().keys)?;
        let results = self.0.install_keys(keys).await.into_iter().map(key_result).collect();
        Ok(Response::new(v1::InstallKeysResponse { results }))
    }

    async fn rekey(&self, request: Request<v1::RekeyRequest>) -> Answer<v1::RekeyResponse> {
        let v1::RekeyRequest { keys, grace_milliseconds } = request.into_inner();
        let results = self.0.rekey(bounded("keys", keys)?, grace_milliseconds).await?;
        let results = results.into_iter().map(key_result).collect();
        Ok(Response::new(v1::RekeyResponse { results }))
    }

    async fn retire_keys(&self, request: Request<v1::RetireKeysRequest>) -> Answer<v1::RetireKeysResponse> {
        let keys = bounded("keys", request.into_inner().keys)?;
        let results = self.0.retire_keys(keys).await.into_iter().map(key_result).collect();
        Ok(Response::new(v1::RetireKeysResponse { results }))
    }

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Answer<v1::ListKeysResponse> {
        let v1::ListKeysRequest { session, leg } = request.into_inner();
        answer(self.0.list_keys(&session, &leg).await.map(|legs| v1::ListKeysResponse { legs }))
    }

    async fn create_legs(&self, request: Request<v1::CreateLegsRequest>) -> Answer<v1::CreateLegsResponse> {
        let legs = bounded("legs", request.into_inner().legs)?;
        let results = self.0.create_legs(legs).await.into_iter().map(|result| v1::LegResult {
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
        let results = self.0.create_routes(routes).await.into_iter().map(|result| v1::RouteResult {
            result: Some(match result {
                Ok(route) => v1::route_result::Result::Route(route),
                Err(error) => v1::route_result::Result::Failure(error.into()),
            }),
        });
        Ok(Response::new(v1::CreateRoutesResponse { results: results.collect() }))
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
        let events = BroadcastStream::new(self.0.events.subscribe()).filter_map(move |event| match event {
            Ok(event) => {
                let matches = wanted.is_empty() || event.session.is_empty() || event.session == wanted;
                matches.then_some(Ok(event))
            }
            Err(BroadcastStreamRecvError::Lagged(events)) => {
                let kind = Some(v1::event::Kind::Lost(v1::Lost { events }));
                Some(Ok(v1::Event { kind, ..Default::default() }))
            }
        });
        Ok(Response::new(Box::pin(events)))
    }
}

fn key_result(result: Result<v1::Key, ApiError>) -> v1::KeyResult {
    v1::KeyResult {
        result: Some(match result {
            Ok(key) => v1::key_result::Result::Key(key),
            Err(error) => v1::key_result::Result::Failure(error.into()),
        }),
    }
}
