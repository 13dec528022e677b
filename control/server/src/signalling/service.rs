//! The gRPC service: each call as one line towards [`Signalling`].

use std::sync::Arc;

use sluice_proto::v1;
use sluice_proto::v1::signalling_server;
use tonic::{Request, Response, Status};

use super::Signalling;
use crate::access::Caller;
use crate::service::whole;

/// `sluice.v1.Signalling`.
pub(crate) struct Service(pub(crate) Arc<Signalling>);

type Answer<T> = Result<Response<T>, Status>;

/// A method that works on a call to its end, whatever becomes of the client.
macro_rules! to_the_end {
    ($service:expr, $method:ident, $request:expr) => {{
        let (signalling, request) = (Arc::clone(&$service.0), $request.into_inner());
        Ok(Response::new(whole(async move { signalling.$method(request).await }).await?))
    }};
}

#[tonic::async_trait]
impl signalling_server::Signalling for Service {
    async fn process_offer(
        &self,
        request: Request<v1::ProcessOfferRequest>,
    ) -> Answer<v1::ProcessOfferResponse> {
        to_the_end!(self, process_offer, request)
    }

    async fn process_answer(
        &self,
        request: Request<v1::ProcessAnswerRequest>,
    ) -> Answer<v1::ProcessAnswerResponse> {
        let caller = Caller::of(&request)?;
        let (signalling, request) = (Arc::clone(&self.0), request.into_inner());
        let answered = whole(async move { signalling.process_answer(request, &caller).await });
        Ok(Response::new(answered.await?))
    }

    async fn reject_offer(
        &self,
        request: Request<v1::RejectOfferRequest>,
    ) -> Answer<v1::RejectOfferResponse> {
        to_the_end!(self, reject_offer, request)
    }

    async fn create_branch(
        &self,
        request: Request<v1::CreateBranchRequest>,
    ) -> Answer<v1::CreateBranchResponse> {
        to_the_end!(self, create_branch, request)
    }

    async fn select_branch(
        &self,
        request: Request<v1::SelectBranchRequest>,
    ) -> Answer<v1::SelectBranchResponse> {
        to_the_end!(self, select_branch, request)
    }

    async fn drop_branch(&self, request: Request<v1::DropBranchRequest>) -> Answer<v1::DropBranchResponse> {
        to_the_end!(self, drop_branch, request)
    }

    async fn retarget(&self, request: Request<v1::RetargetRequest>) -> Answer<v1::RetargetResponse> {
        to_the_end!(self, retarget, request)
    }

    async fn end_session(&self, request: Request<v1::EndSessionRequest>) -> Answer<v1::EndSessionResponse> {
        to_the_end!(self, end_session, request)
    }

    async fn add_call_candidates(
        &self,
        request: Request<v1::AddCallCandidatesRequest>,
    ) -> Answer<v1::AddCallCandidatesResponse> {
        to_the_end!(self, add_call_candidates, request)
    }

    async fn get_call(&self, request: Request<v1::GetCallRequest>) -> Answer<v1::GetCallResponse> {
        let call = self.0.call(&request.into_inner().session).await?;
        Ok(Response::new(v1::GetCallResponse { call: Some(call) }))
    }

    async fn list_calls(&self, request: Request<v1::ListCallsRequest>) -> Answer<v1::ListCallsResponse> {
        let v1::ListCallsRequest { page_size, page_token } = request.into_inner();
        Ok(Response::new(self.0.calls(page_size, &page_token).await?))
    }
}
