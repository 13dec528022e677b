//! A daemon with legs that are made by hand, and what is seen of them.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sluice_keying::dtls_srtp::Role;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_server::Config;
use tokio::task::block_in_place;
use tonic::Streaming;

use crate::peer::{Peer, SUITES};
use crate::support::{Daemon, LegSpec, udp};

pub const UFRAG: &str = "gatewayU";
pub const PASSWORD: &str = "gatewaypassword+gateway/";

/// A daemon, a session "s", and what happens there.
pub struct Bed {
    pub daemon: Daemon,
    events: Streaming<v1::Event>,
}

impl Bed {
    pub async fn new(name: &str) -> Self {
        Self::configured(name, "").await
    }

    /// With more in its configuration.
    pub async fn configured(name: &str, more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let text = format!(
            "[api]\nsocket = \"{}/sluice.sock\"\n[media]\naddresses = [\"127.0.0.1\"]\n\
             ports = \"30000-32000\"\n[datapath]\nmode = \"io_uring\"\nworkers = 1\npin = false\n\
             small_chunks = 1024\nlarge_chunks = 128\n[defaults]\nrekey_grace_ms = 300\n{more}",
            folder.path().display()
        );
        let config = Config::parse(std::path::Path::new("test.toml"), &text).unwrap();
        let daemon = Daemon::start_with(folder, config).await;
        daemon.session("s").await;
        let watch = v1::WatchEventsRequest::default();
        let events = daemon.client().await.watch_events(watch).await.unwrap().into_inner();
        Self { daemon, events }
    }

    /// The hash of the gateway's certificate.
    pub async fn fingerprint(&self) -> String {
        let info = self.daemon.client().await.get_info(v1::GetInfoRequest {}).await.unwrap().into_inner();
        info.dtls_fingerprints[0].clone()
    }

    /// A leg as it is.
    pub async fn leg(&self, leg: &str) -> v1::Leg {
        let request = v1::GetLegRequest { session: "s".into(), leg: leg.into() };
        self.daemon.client().await.get_leg(request).await.unwrap().into_inner()
    }

    pub async fn path(&self, leg: &str) -> v1::MediaPath {
        self.leg(leg).await.media_path.expect("it has a handshake or checks")
    }

    pub async fn update(&self, request: v1::UpdateLegRequest) -> v1::Leg {
        self.daemon.client().await.update_leg(request).await.unwrap().into_inner()
    }

    pub async fn statistics(&self) -> v1::MediaPathStatistics {
        let request = v1::GetStatisticsRequest { workers_only: true, ..Default::default() };
        let statistics = self.daemon.client().await.get_statistics(request).await.unwrap();
        statistics.into_inner().media_path.unwrap()
    }

    /// Of handshakes and checks that were not taken.
    pub async fn dropped(&self, reason: &str) -> u64 {
        let drops = self.statistics().await.drops;
        drops.into_iter().find(|drop| drop.reason == reason).map_or(0, |drop| drop.packets)
    }

    /// Signalling wants another association of a leg.
    pub async fn reassociate(&self, leg: &str, tls_id: &str) {
        let mut dtls = self.leg(leg).await.config.unwrap().dtls.unwrap();
        dtls.tls_id = tls_id.into();
        let (session, leg) = ("s".to_owned(), leg.to_owned());
        self.update(v1::UpdateLegRequest { session, leg, dtls: Some(dtls), ..Default::default() }).await;
    }

    /// How many packets of a leg wait for a key.
    pub async fn waiting(&self, leg: &str) -> u64 {
        let request = v1::GetStatisticsRequest { session: "s".into(), workers_only: false };
        let legs = self.daemon.client().await.get_statistics(request).await.unwrap().into_inner().legs;
        let leg = legs.into_iter().find(|found| found.leg == leg).expect("the leg");
        leg.early_media.unwrap_or_default().held
    }

    /// The next event that is one.
    pub async fn event<T>(&mut self, look: impl Fn(&Kind) -> Option<T>) -> T {
        let next = async {
            loop {
                let event = self.events.message().await.unwrap().expect("events go on");
                if let Some(found) = event.kind.as_ref().and_then(&look) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), next).await.expect("the event comes")
    }

    /// A leg towards a plain peer, with routes from and to another.
    pub async fn bridge(&self, other: &str) -> (UdpSocket, SocketAddr) {
        let bob = udp();
        let spec = LegSpec::plain().remote(&bob).with(|config| config.rtcp_mux = true);
        let leg = self.daemon.leg("s", "bob", spec).await.unwrap();
        self.daemon.route("s", "there", other, "bob").await.unwrap();
        self.daemon.route("s", "back", "bob", other).await.unwrap();
        (bob, leg.local_rtp.parse().unwrap())
    }

    /// Alice makes checks and a handshake, and speaks with Bob.
    pub async fn talk_after_checks(&self) -> Talk {
        let gateway = self.fingerprint().await;
        let mut alice = Peer::new();
        let leg = self.daemon.leg("s", "alice", checked(&mut alice)).await.unwrap();
        let (bob, to_bob_leg) = self.bridge("alice").await;
        block_in_place(|| meet_after_checks(&mut alice, &leg, &gateway));
        self.keyed("alice").await;
        Talk { alice, gateway, bob, to_bob_leg }
    }

    /// The same with a handshake alone, in which Alice has this role.
    pub async fn talk(&self, mut alice: Peer, role: Role) -> Talk {
        let gateway = self.fingerprint().await;
        let spec = handshaken(&alice).remote(&alice.socket).with(|config| answers(config, role));
        let leg = self.daemon.leg("s", "alice", spec).await.unwrap();
        let (bob, to_bob_leg) = self.bridge("alice").await;
        block_in_place(|| meet(&mut alice, &leg, role, &gateway));
        self.keyed("alice").await;
        Talk { alice, gateway, bob, to_bob_leg }
    }

    /// Waits for the last flight of a leg's peer, which may have its keys before the gateway does.
    async fn keyed(&self, leg: &str) {
        let keyed =
            || async { (self.path(leg).await.dtls_state() == v1::DtlsState::Established).then_some(()) };
        self.daemon.eventually(keyed).await;
    }
}

/// Alice has a leg of that name, with keys of a handshake, and Bob a plain one.
pub struct Talk {
    pub alice: Peer,
    /// The hash of the gateway's certificate.
    pub gateway: String,
    pub bob: UdpSocket,
    pub to_bob_leg: SocketAddr,
}

/// Has a leg take the other role than its peer.
pub fn answers(config: &mut v1::LegConfig, peer: Role) {
    let role = if peer == Role::Server { v1::DtlsRole::Client } else { v1::DtlsRole::Server };
    config.dtls.as_mut().unwrap().role = role.into();
}

/// Has a peer make its checks with a leg, and begin a handshake after them.
pub fn meet_after_checks(peer: &mut Peer, leg: &v1::Leg, gateway: &str) {
    peer.check(leg.local_rtp.parse().unwrap(), UFRAG, PASSWORD);
    peer.until("a way", Peer::is_connected);
    meet(peer, leg, Role::Client, gateway);
}

/// Has a peer make a handshake with a leg.
pub fn meet(peer: &mut Peer, leg: &v1::Leg, role: Role, gateway: &str) {
    peer.gateway = Some(leg.local_rtp.parse().unwrap());
    peer.handshake(role, &[gateway.to_owned()], &SUITES);
    peer.until_keyed();
}

/// Sends the first two packets of a plain stream, without which nothing of it is heard (RFC 3550 appendix A.1).
pub fn begin(bob: &UdpSocket, to: SocketAddr) {
    for sequence in 0..2 {
        bob.send_to(&crate::support::rtp(sequence, 0xb, 100), to).unwrap();
    }
}

/// A leg whose peer makes a handshake after checks, and begins.
pub fn checked(peer: &mut Peer) -> LegSpec {
    let ice = ice(peer);
    handshaken(peer).with(|config| config.ice = Some(ice))
}

/// What the gateway is to know of a peer's checks.
pub fn ice(peer: &mut Peer) -> v1::IceConfig {
    let own = peer.own_ice();
    let credentials = |ufrag: &str, password: &str| {
        Some(v1::IceCredentials { ufrag: ufrag.into(), password: password.into() })
    };
    v1::IceConfig {
        own: credentials(UFRAG, PASSWORD),
        peer: credentials(&own.credentials.ufrag, &own.credentials.password),
        peer_candidates: own.candidates.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

/// A leg whose peer makes a handshake without checks, and begins.
pub fn handshaken(peer: &Peer) -> LegSpec {
    LegSpec::srtp().with(|config| {
        config.rtcp_mux = true;
        config.early_media =
            Some(v1::EarlyMedia { mode: v1::EarlyMediaMode::Hold.into(), packets: 0, milliseconds: 10_000 });
        config.dtls = Some(v1::DtlsConfig {
            role: v1::DtlsRole::Server.into(),
            peer_fingerprints: vec![peer.fingerprint()],
            tls_id: "first-association-01".into(),
            suites: crate::peer::SUITES.iter().map(|suite| suite.name().to_owned()).collect(),
            ..Default::default()
        });
    })
}
