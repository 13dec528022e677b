//! The service `sluice.v1.Signalling`, one call after the other.

use std::path::Path;

use anyhow::{Context, Result};
use sluice_proto::v1::signalling_client::SignallingClient;
use sluice_proto::v1::sluice_client::SluiceClient;
use sluice_proto::v1::{self, CallSide};
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A connection to a daemon.
pub struct Signalling {
    runtime: Runtime,
    client: SignallingClient<Channel>,
    legs: SluiceClient<Channel>,
}

impl Signalling {
    /// Connects to a daemon by its Unix socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))?;
        let channel = runtime
            .block_on(endpoint.connect())
            .with_context(|| format!("no daemon at {}", socket.display()))?;
        let legs = SluiceClient::new(channel.clone());
        Ok(Self { runtime, client: SignallingClient::new(channel), legs })
    }

    /// Hands in an offer; returns the one for the other side.
    pub fn offer(
        &mut self,
        session: &str,
        branch: &str,
        from: CallSide,
        sdp: &str,
        policy: Option<v1::SessionPolicy>,
    ) -> Result<String, Status> {
        let request = v1::ProcessOfferRequest {
            session: session.to_owned(),
            branch: branch.to_owned(),
            from: from as i32,
            sdp: sdp.to_owned(),
            policy,
            ..Default::default()
        };
        Ok(self.runtime.block_on(self.client.process_offer(request))?.into_inner().sdp)
    }

    /// Makes another branch of the first offer; returns the offer for its callee.
    pub fn fork(&mut self, session: &str, branch: &str) -> Result<String, Status> {
        let request = v1::CreateBranchRequest {
            session: session.to_owned(),
            branch: branch.to_owned(),
            ..Default::default()
        };
        Ok(self.runtime.block_on(self.client.create_branch(request))?.into_inner().sdp)
    }

    /// Hands in an answer; returns the one for who offered.
    pub fn answer(
        &mut self,
        session: &str,
        branch: &str,
        sdp: &str,
        provisional: bool,
    ) -> Result<String, Status> {
        let request = v1::ProcessAnswerRequest {
            session: session.to_owned(),
            branch: branch.to_owned(),
            sdp: sdp.to_owned(),
            provisional,
            ..Default::default()
        };
        Ok(self.runtime.block_on(self.client.process_answer(request))?.into_inner().sdp)
    }

    /// Goes on with one branch.
    pub fn select(&mut self, session: &str, branch: &str) -> Result<(), Status> {
        let request = v1::SelectBranchRequest {
            session: session.to_owned(),
            branch: branch.to_owned(),
            ..Default::default()
        };
        self.runtime.block_on(self.client.select_branch(request)).map(drop)
    }

    /// Drops a branch.
    pub fn drop_branch(&mut self, session: &str, branch: &str) -> Result<(), Status> {
        let request = v1::DropBranchRequest {
            session: session.to_owned(),
            branch: branch.to_owned(),
            ..Default::default()
        };
        self.runtime.block_on(self.client.drop_branch(request)).map(drop)
    }

    /// Says that a pending offer was refused.
    pub fn reject(&mut self, session: &str, branch: &str) -> Result<(), Status> {
        let request = v1::RejectOfferRequest {
            session: session.to_owned(),
            branch: branch.to_owned(),
            ..Default::default()
        };
        self.runtime.block_on(self.client.reject_offer(request)).map(drop)
    }

    /// Ends a call.
    pub fn end(&mut self, session: &str) -> Result<(), Status> {
        let request = v1::EndSessionRequest { session: session.to_owned(), ..Default::default() };
        self.runtime.block_on(self.client.end_session(request)).map(drop)
    }

    /// A call as it is.
    pub fn call(&mut self, session: &str) -> Result<v1::Call, Status> {
        let request = v1::GetCallRequest { session: session.to_owned() };
        let response = self.runtime.block_on(self.client.get_call(request))?.into_inner();
        response.call.ok_or_else(|| Status::internal("an answer without a call"))
    }

    /// A leg as it is.
    pub fn leg(&mut self, session: &str, leg: &str) -> Result<v1::Leg, Status> {
        let request = v1::GetLegRequest { session: session.to_owned(), leg: leg.to_owned() };
        Ok(self.runtime.block_on(self.legs.get_leg(request))?.into_inner())
    }
}
