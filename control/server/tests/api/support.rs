//! A daemon of the tests' own, and peers for it.
#![allow(unreachable_pub, reason = "a module of a test, not of a library")]

use std::future::Future;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sluice_proto::v1;
use sluice_proto::v1::sluice_client::SluiceClient;
use sluice_server::{Config, Server};
use sluice_srtp::{
    Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, SessionKeys, Suite, protect,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub fn config(folder: &Path, mode: &str) -> Config {
    let text = format!(
        "[api]\nsocket = \"{}/sluice.sock\"\n[media]\naddresses = [\"127.0.0.1\"]\nports = \"40000-49999\"\n\
         [datapath]\nmode = \"{mode}\"\nworkers = 1\npin = false\nsmall_chunks = 256\nlarge_chunks = 128\n\
         [limits]\nlegs = 1000\nroutes = 1000\nstreams = 1000\n",
        folder.display()
    );
    Config::parse(Path::new("test.toml"), &text).unwrap()
}

pub struct Daemon {
    folder: tempfile::TempDir,
    socket: PathBuf,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Daemon {
    pub async fn start(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let config = config(folder.path(), "io_uring");
        Self::start_with(folder, config).await
    }

    pub async fn start_with(folder: tempfile::TempDir, config: Config) -> Self {
        let socket = config.api.socket.0.clone();
        let server = Server::start(config).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            server.run(async { drop(stopped.await) }).await.unwrap();
        });
        Self { folder, socket, stop, served }
    }

    /// Where applications ask for rings.
    pub fn rings(&self) -> PathBuf {
        self.socket.with_extension("sock.rings")
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::try_from(format!("unix:{}", self.socket.display())).unwrap().connect().await.unwrap()
    }

    pub async fn client(&self) -> SluiceClient<Channel> {
        SluiceClient::new(self.channel().await)
    }

    /// Ends the daemon; its socket must be gone after that.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), self.served).await.expect("it stops").unwrap();
        assert!(!self.socket.exists());
        assert!(!self.folder.path().join("sluice.sock.rings").exists());
    }

    /// Waits until `look` finds something.
    pub async fn eventually<T, F: Future<Output = Option<T>>>(&self, look: impl Fn() -> F) -> T {
        self.eventually_within(Duration::from_secs(5), look).await
    }

    /// Waits for longer.
    pub async fn eventually_within<T, F: Future<Output = Option<T>>>(
        &self,
        time: Duration,
        look: impl Fn() -> F,
    ) -> T {
        for _ in 0..time.as_millis() / 10 {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never happened");
    }

    pub async fn session(&self, session: &str) {
        let request = v1::CreateSessionRequest { session: session.into(), ..Default::default() };
        self.client().await.create_session(request).await.unwrap();
    }

    pub async fn leg(&self, session: &str, leg: &str, spec: LegSpec) -> Result<v1::Leg, Status> {
        let request =
            v1::CreateLegRequest { session: session.into(), leg: leg.into(), config: Some(spec.config) };
        Ok(self.client().await.create_leg(request).await?.into_inner())
    }

    pub async fn legs(&self, session: &str) -> Vec<v1::Leg> {
        let request = v1::ListLegsRequest { session: session.into() };
        self.client().await.list_legs(request).await.unwrap().into_inner().legs
    }

    pub async fn route(&self, session: &str, id: &str, from: &str, to: &str) -> Result<(), Status> {
        let route = v1::Route {
            session: session.into(),
            id: id.into(),
            from: from.into(),
            to: to.into(),
            ..Default::default()
        };
        let request = v1::CreateRouteRequest { route: Some(route) };
        self.client().await.create_route(request).await.map(drop)
    }

    pub fn install(leg: &str, direction: v1::Direction, key_salt: Vec<u8>) -> v1::KeyInstall {
        v1::KeyInstall {
            session: "s".into(),
            leg: leg.into(),
            key: "k".into(),
            direction: direction.into(),
            suite: Suite::AesCm128HmacSha1_80.name().into(),
            key_salt,
            ..Default::default()
        }
    }

    pub async fn key(
        &self,
        session: &str,
        leg: &str,
        key: &str,
        direction: v1::Direction,
        suite: &str,
        key_salt: &[u8],
    ) -> Result<v1::Key, v1::Failure> {
        let install = Self::install(leg, direction, key_salt.to_vec());
        let install =
            v1::KeyInstall { session: session.into(), key: key.into(), suite: suite.into(), ..install };
        let request = v1::InstallKeysRequest { keys: vec![install] };
        let mut results = self.client().await.install_keys(request).await.unwrap().into_inner().results;
        match results.pop().and_then(|result| result.result).expect("one result") {
            v1::key_result::Result::Key(key) => Ok(key),
            v1::key_result::Result::Failure(failure) => Err(failure),
        }
    }

    /// Drops of a leg of session "s" by reason.
    pub async fn drops(&self, leg: &str) -> Vec<(String, u64)> {
        let request = v1::GetStatisticsRequest { session: "s".into(), workers_only: false };
        let legs = self.client().await.get_statistics(request).await.unwrap().into_inner().legs;
        let leg = legs.into_iter().find(|found| found.leg == leg).expect("the leg");
        leg.drops.into_iter().map(|drop| (drop.reason, drop.packets)).collect()
    }
}

/// A leg to be created.
pub struct LegSpec {
    pub config: v1::LegConfig,
}

impl LegSpec {
    fn of(protection: v1::Protection) -> Self {
        let config =
            v1::LegConfig { inbound: protection.into(), outbound: protection.into(), ..Default::default() };
        Self { config }
    }

    pub fn srtp() -> Self {
        Self::of(v1::Protection::Srtp)
    }

    pub fn plain() -> Self {
        Self::of(v1::Protection::Plain)
    }

    pub fn remote(self, peer: &UdpSocket) -> Self {
        self.remote_text(&peer.local_addr().unwrap().to_string())
    }

    pub fn remote_text(self, remote: &str) -> Self {
        self.with(|config| config.remote = remote.into())
    }

    pub fn local(self, local: &str) -> Self {
        self.with(|config| config.local = local.into())
    }

    pub fn with(mut self, change: impl FnOnce(&mut v1::LegConfig)) -> Self {
        change(&mut self.config);
        self
    }
}

/// The field that a refusal blames.
pub fn field_of(status: &Status) -> String {
    assert_ne!(status.code(), Code::Unknown);
    let details = status.get_error_details();
    assert!(details.error_info().is_some_and(|info| info.metadata.contains_key("remedy")), "{status:?}");
    details.bad_request().map(|bad| bad.field_violations[0].field.clone()).unwrap_or_default()
}

pub fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

pub fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let len = socket.recv(&mut buffer).expect("a datagram");
    buffer.truncate(len);
    buffer
}

pub fn receive_after(socket: &UdpSocket, act: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    act();
    receive(socket)
}

/// Whether nothing arrives for a while.
pub fn silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let nothing = socket.recv(&mut [0; 2048]).is_err();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    nothing
}

pub fn rtp(sequence: u16, ssrc: u32, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..payload).map(|i| i as u8));
    packet
}

/// The packet under AES_CM_128_HMAC_SHA1_80, ROC 0.
pub fn protected(key_salt: &[u8], packet: &[u8]) -> Vec<u8> {
    let master = MasterKey::from_concatenated(Suite::AesCm128HmacSha1_80, key_salt).unwrap();
    let keys = SessionKeys::derive(KeyId(1), &master, Mki::NONE, Lifetime::MAX).unwrap();
    let ssrc = sluice_srtp::rtp::ssrc(packet).unwrap();
    let mut contexts = [Outbound::new(ssrc, Arc::new(keys), 0)];
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, packet.len())];
    protect(&mut contexts[..], &mut jobs);
    jobs[0].result.unwrap();
    let len = jobs[0].len;
    buffer.truncate(len);
    buffer
}
