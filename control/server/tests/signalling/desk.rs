//! A SIP server's part: requests of the service, and what is left when all is over.

use sluice_proto::v1;
use sluice_proto::v1::signalling_client::SignallingClient;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::support::Daemon;

/// Who hands in offers and answers.
#[derive(Clone)]
pub struct Desk {
    pub client: SignallingClient<Channel>,
}

impl Desk {
    pub async fn at(daemon: &Daemon) -> Self {
        let client = SignallingClient::new(daemon.channel().await).max_encoding_message_size(64 << 20);
        Self { client }
    }

    pub async fn offer(
        &mut self,
        session: &str,
        sdp: &str,
        policy: Option<v1::SessionPolicy>,
    ) -> Result<v1::ProcessOfferResponse, Status> {
        let request = v1::ProcessOfferRequest {
            session: session.into(),
            sdp: sdp.into(),
            policy,
            ..Default::default()
        };
        self.process_offer(request).await
    }

    pub async fn reoffer(
        &mut self,
        session: &str,
        from: v1::CallSide,
        sdp: &str,
    ) -> Result<v1::ProcessOfferResponse, Status> {
        let request = v1::ProcessOfferRequest {
            session: session.into(),
            from: from.into(),
            sdp: sdp.into(),
            ..Default::default()
        };
        self.process_offer(request).await
    }

    pub async fn process_offer(
        &mut self,
        request: v1::ProcessOfferRequest,
    ) -> Result<v1::ProcessOfferResponse, Status> {
        Ok(self.client.process_offer(request).await?.into_inner())
    }

    pub async fn answer(
        &mut self,
        session: &str,
        branch: &str,
        sdp: &str,
        provisional: bool,
    ) -> Result<v1::ProcessAnswerResponse, Status> {
        let request = v1::ProcessAnswerRequest {
            session: session.into(),
            branch: branch.into(),
            sdp: sdp.into(),
            provisional,
            ..Default::default()
        };
        Ok(self.client.process_answer(request).await?.into_inner())
    }

    pub async fn reject(&mut self, session: &str, branch: &str) -> Result<v1::Call, Status> {
        let (session, branch) = (session.into(), branch.into());
        let request = v1::RejectOfferRequest { session, branch, request_id: String::new() };
        Ok(self.client.reject_offer(request).await?.into_inner().call.unwrap())
    }

    pub async fn branch(&mut self, session: &str, branch: &str) -> Result<v1::CreateBranchResponse, Status> {
        let (session, branch) = (session.into(), branch.into());
        let request = v1::CreateBranchRequest { session, branch, ..Default::default() };
        Ok(self.client.create_branch(request).await?.into_inner())
    }

    pub async fn select(&mut self, session: &str, branch: &str) -> Result<v1::Call, Status> {
        let (session, branch) = (session.into(), branch.into());
        let request = v1::SelectBranchRequest { session, branch, request_id: String::new() };
        Ok(self.client.select_branch(request).await?.into_inner().call.unwrap())
    }

    pub async fn drop_branch(&mut self, session: &str, branch: &str) -> Result<bool, Status> {
        let (session, branch) = (session.into(), branch.into());
        let request = v1::DropBranchRequest { session, branch, request_id: String::new() };
        Ok(self.client.drop_branch(request).await?.into_inner().existed)
    }

    pub async fn retarget(
        &mut self,
        session: &str,
        new_branch: &str,
    ) -> Result<v1::RetargetResponse, Status> {
        let (session, new_branch) = (session.into(), new_branch.into());
        let request = v1::RetargetRequest { session, new_branch, ..Default::default() };
        Ok(self.client.retarget(request).await?.into_inner())
    }

    pub async fn end(&mut self, session: &str) -> bool {
        let request = v1::EndSessionRequest { session: session.into(), request_id: String::new() };
        self.client.end_session(request).await.unwrap().into_inner().existed
    }

    pub async fn call(&mut self, session: &str) -> Result<v1::Call, Status> {
        let request = v1::GetCallRequest { session: session.into() };
        Ok(self.client.get_call(request).await?.into_inner().call.unwrap())
    }
}

/// The callee takes plain RTP only; the caller must have SRTP.
pub fn to_plain() -> v1::SessionPolicy {
    towards_callee(v1::MediaSecurity::Plain)
}

pub fn towards_callee(security: v1::MediaSecurity) -> v1::SessionPolicy {
    let callee = v1::PeerPolicy { security: security.into(), ..Default::default() };
    v1::SessionPolicy { callee: Some(callee), ..Default::default() }
}

/// Both sides take plain RTP only.
pub fn plain() -> v1::SessionPolicy {
    let peer = v1::PeerPolicy { security: v1::MediaSecurity::Plain.into(), ..Default::default() };
    v1::SessionPolicy { caller: Some(peer.clone()), callee: Some(peer), ..Default::default() }
}

/// The stable word for programs in a refusal.
pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// A daemon with a range of 200 ports that no other test has, nor the system gives to peers, so that they can be counted.
pub async fn daemon(name: &str, first: u16) -> Daemon {
    daemon_with(name, first, |_| String::new()).await
}

/// The same with more in its configuration, which may name files in its folder.
pub async fn daemon_with(name: &str, first: u16, more: impl FnOnce(&std::path::Path) -> String) -> Daemon {
    let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
    let text = format!(
        "[api]\nsocket = \"{}/sluice.sock\"\n[media]\naddresses = [\"127.0.0.1\"]\nports = \"{first}-{}\"\n\
         [datapath]\nmode = \"io_uring\"\nworkers = 1\npin = false\nsmall_chunks = 1024\nlarge_chunks = 128\n\
         [defaults]\nrekey_grace_ms = 300\n[limits]\nlegs = 1000\nroutes = 1000\nstreams = 1000\n{}",
        folder.path().display(),
        first + 199,
        more(folder.path())
    );
    let config = sluice_server::Config::parse(std::path::Path::new("test.toml"), &text).unwrap();
    Daemon::start_with(folder, config).await
}

/// What must be as it was before, when all calls have ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    first_port: u16,
    sessions: usize,
    legs: usize,
    calls: u64,
    engine: (u64, u64),
    sockets: usize,
}

impl Left {
    pub async fn of(daemon: &Daemon, first_port: u16) -> Self {
        let mut client = daemon.client().await;
        let sessions = client.list_sessions(v1::ListSessionsRequest::default()).await.unwrap().into_inner();
        let request = v1::GetStatisticsRequest { session: String::new(), workers_only: true };
        let statistics = client.get_statistics(request).await.unwrap().into_inner();
        let worker = &statistics.workers[0];
        Self {
            first_port,
            sessions: sessions.sessions.len(),
            legs: daemon.legs("").await.len(),
            calls: statistics.calls,
            engine: (worker.legs, worker.routes),
            sockets: sockets(first_port),
        }
    }

    /// Waits until it is so again: the kernel takes its time with sockets.
    pub async fn again(self, daemon: &Daemon) {
        let mut now = Self::of(daemon, self.first_port).await;
        for _ in 0..200 {
            if now == self {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            now = Self::of(daemon, self.first_port).await;
        }
        panic!("{now:?} is left, and {self:?} was there before");
    }
}

/// UDP sockets that are bound to ports of the daemon's range.
fn sockets(first: u16) -> usize {
    let own = std::fs::read_to_string("/proc/self/net/udp").unwrap();
    let port = |line: &str| {
        let local = line.split_whitespace().nth(1)?;
        u16::from_str_radix(local.split(':').nth(1)?, 16).ok()
    };
    own.lines().filter_map(port).filter(|port| (first..first + 200).contains(port)).count()
}
