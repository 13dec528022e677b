//! A daemon with a folder for recordings and a call: leg "a" gets SRTP, leg "b" sends it on as SRTP under another key.
#![allow(unreachable_pub, reason = "a module of a test, not of a library")]

use std::net::UdpSocket;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::recording_client::RecordingClient;
use sluice_proto::v1::tap_config::Destination;
use sluice_server::Config;
use sluice_server::config::AbsolutePath;
use sluice_srtp::{
    Job, KeyId, Kind as MediaKind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, ReplayWindow, SessionKeys, Suite,
    protect, unprotect,
};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::SUITE;
use crate::support::{Daemon, LegSpec, config, rtp, udp};

/// What a sends under, and what b is sent under.
pub const A_KEY: [u8; 30] = [7; 30];
pub const B_KEY: [u8; 30] = [8; 30];

pub struct Bed {
    daemon: Daemon,
    /// Where recordings are.
    pub folder: PathBuf,
    pub a: Sender,
    pub b: UdpSocket,
    pub a_leg: v1::Leg,
}

impl Deref for Bed {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Bed {
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, |_, _| ()).await
    }

    /// With a configuration that is changed, knowing its folder.
    pub async fn start_with(name: &str, change: impl FnOnce(&mut Config, &Path)) -> Self {
        let temporary = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let folder = temporary.path().join("recordings");
        std::fs::create_dir(&folder).unwrap();
        let mut config = config(temporary.path(), "io_uring");
        config.recording.folder = Some(AbsolutePath(folder.clone()));
        change(&mut config, temporary.path());
        let daemon = Daemon::start_with(temporary, config).await;
        daemon.session("s").await;
        let (a, b) = (udp(), udp());
        let mux = |spec: LegSpec| spec.with(|config| config.rtcp_mux = true);
        let a_leg = daemon.leg("s", "a", mux(LegSpec::srtp().remote(&a))).await.unwrap();
        daemon.leg("s", "b", mux(LegSpec::srtp().remote(&b))).await.unwrap();
        daemon.key("s", "a", "k", Inbound, SUITE, &A_KEY).await.unwrap();
        daemon.key("s", "b", "k", Outbound, SUITE, &B_KEY).await.unwrap();
        daemon.route("s", "ab", "a", "b").await.unwrap();
        let a = Sender::new(a, &a_leg, &A_KEY, 0xa11ce);
        Self { daemon, folder, a, b, a_leg }
    }

    pub async fn stop(self) {
        self.daemon.stop().await;
    }

    pub async fn recorder(&self) -> RecordingClient<Channel> {
        RecordingClient::new(self.channel().await)
    }

    pub async fn events(&self) -> Streaming<v1::Event> {
        let request = v1::WatchEventsRequest { session: "s".into() };
        self.client().await.watch_events(request).await.unwrap().into_inner()
    }

    pub async fn tap(&self, tap: &str, config: v1::TapConfig) -> Result<v1::Tap, Status> {
        let request = v1::StartTapRequest { session: "s".into(), tap: tap.into(), config: Some(config) };
        self.recorder().await.start_tap(request).await.map(tonic::Response::into_inner)
    }

    pub async fn stop_tap(&self, tap: &str) -> Result<v1::Tap, Status> {
        let request = v1::StopTapRequest { session: "s".into(), tap: tap.into() };
        self.recorder().await.stop_tap(request).await.map(tonic::Response::into_inner)
    }

    pub async fn get_tap(&self, tap: &str) -> Result<v1::Tap, Status> {
        let request = v1::GetTapRequest { session: "s".into(), tap: tap.into() };
        self.recorder().await.get_tap(request).await.map(tonic::Response::into_inner)
    }

    /// Waits until the tap is as `is` wants it.
    pub async fn tap_when(&self, tap: &str, is: impl Fn(&v1::Tap) -> bool) -> v1::Tap {
        self.eventually(async || self.get_tap(tap).await.ok().filter(|tap| is(tap))).await
    }

    /// Whether b gets the very octets that it would get without any tap.
    pub fn expect_at_b(&self, expected: &[u8]) {
        assert_eq!(crate::support::receive(&self.b), expected);
    }

    pub async fn delete_session(&self) {
        let request = v1::DeleteSessionRequest { session: "s".into() };
        self.client().await.delete_session(request).await.unwrap();
    }

    pub async fn delete_leg(&self, leg: &str) {
        let request = v1::DeleteLegRequest { session: "s".into(), leg: leg.into() };
        self.client().await.delete_leg(request).await.unwrap();
    }
}

pub fn to_file(name: &str, legs: &[&str]) -> v1::TapConfig {
    let file = v1::TapFile { name: name.into(), ..Default::default() };
    tapping(legs, Destination::File(file))
}

pub fn to_peer(peer: v1::TapPeer, legs: &[&str]) -> v1::TapConfig {
    tapping(legs, Destination::Peer(peer))
}

fn tapping(legs: &[&str], destination: Destination) -> v1::TapConfig {
    let legs = legs.iter().map(|leg| (*leg).to_owned()).collect();
    v1::TapConfig { legs, destination: Some(destination), ..Default::default() }
}

pub fn peer(recorder: &UdpSocket, suite: &str, key_salt: &[u8]) -> v1::TapPeer {
    v1::TapPeer {
        remote: recorder.local_addr().unwrap().to_string(),
        rtcp_mux: true,
        key: Some(v1::TapKey { suite: suite.into(), key_salt: key_salt.to_vec(), mki: Vec::new() }),
        ..Default::default()
    }
}

/// The next event of a tap.
pub async fn tap_event(events: &mut Streaming<v1::Event>) -> Kind {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), events.message()).await;
        let event = event.expect("an event comes").unwrap().expect("the daemon is there");
        if let Some(kind @ (Kind::TapStarted(_) | Kind::TapEnded(_))) = event.kind {
            assert_eq!(event.session, "s");
            return kind;
        }
    }
}

/// A peer that sends SRTP under its own key, with a context whose indices go on.
pub struct Sender {
    pub socket: UdpSocket,
    to: String,
    ssrc: u32,
    context: sluice_srtp::Outbound,
}

impl Sender {
    pub fn new(socket: UdpSocket, leg: &v1::Leg, key_salt: &[u8], ssrc: u32) -> Self {
        let context = outbound(SUITE, key_salt, ssrc);
        Self { socket, to: leg.local_rtp.clone(), ssrc, context }
    }

    /// Sends a packet; what it is in the clear.
    pub fn send(&mut self, sequence: u16) -> Vec<u8> {
        let plain = rtp(sequence, self.ssrc, 160);
        self.send_packet(MediaKind::Rtp, &plain);
        plain
    }

    pub fn send_packet(&mut self, kind: MediaKind, plain: &[u8]) {
        let sealed = seal(&mut self.context, kind, plain);
        self.socket.send_to(&sealed, &self.to).unwrap();
    }
}

fn keys(suite: &str, key_salt: &[u8], mki: &[u8]) -> Arc<SessionKeys> {
    let suite: Suite = suite.parse().unwrap();
    let master = MasterKey::from_concatenated(suite, key_salt).unwrap();
    let mki = if mki.is_empty() { Mki::NONE } else { Mki::new(mki).unwrap() };
    Arc::new(SessionKeys::derive(KeyId(1), &master, mki, Lifetime::MAX).unwrap())
}

pub fn outbound(suite: &str, key_salt: &[u8], ssrc: u32) -> sluice_srtp::Outbound {
    sluice_srtp::Outbound::new(ssrc, keys(suite, key_salt, &[]), 0)
}

pub fn inbound(suite: &str, key_salt: &[u8], mki: &[u8], ssrc: u32) -> sluice_srtp::Inbound {
    sluice_srtp::Inbound::new(ssrc, keys(suite, key_salt, mki), ReplayWindow::default(), 0)
}

pub fn seal(context: &mut sluice_srtp::Outbound, kind: MediaKind, plain: &[u8]) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + MAX_OVERHEAD, 0);
    let mut jobs = [Job::new(0, kind, &mut packet, plain.len())];
    protect(std::slice::from_mut(context), &mut jobs);
    jobs[0].result.unwrap();
    let len = jobs[0].len;
    packet.truncate(len);
    packet
}

/// The packet in the clear, if it is authentic.
pub fn open(context: &mut sluice_srtp::Inbound, kind: MediaKind, sealed: &[u8]) -> Option<Vec<u8>> {
    let mut packet = sealed.to_vec();
    let mut jobs = [Job::new(0, kind, &mut packet, sealed.len())];
    unprotect(std::slice::from_mut(context), &mut jobs);
    let (result, len) = (jobs[0].result, jobs[0].len);
    packet.truncate(len);
    result.is_ok().then_some(packet)
}
