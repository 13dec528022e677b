//! A gateway in a network namespace of its own, and its peers in another.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, Result, ensure};
use sluice_tools::demo::gateway::{Gateway, Settings};
use sluice_tools::demo::namespace::{Namespace, address};
use sluice_tools::demo::world::{GATEWAY, PEERS, Place, World};
use tempfile::TempDir;

use crate::peer::Peer;
use crate::rtp::Source;

/// How long packets may be on their way before a test says that they were lost.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long a test waits to be sure that nothing comes.
pub const QUIET: Duration = Duration::from_millis(300);
/// Between packets of a stream, so that one in slow motion loses none.
pub const PACE: Duration = Duration::from_millis(2);

/// Two namespaces joined by veth and a daemon in one of them.
pub struct Site {
    // Dropped in this order: the daemon before its namespace.
    /// The daemon.
    pub gateway: Gateway,
    /// Namespaces, addresses, interfaces.
    pub world: World,
    directory: TempDir,
}

impl Site {
    /// XDP as good as it gets on veth, MTU 1500.
    pub fn new() -> Result<Self> {
        Self::with(1500, "auto")
    }

    /// The same with another MTU and datapath.
    pub fn with(mtu: u32, datapath: &str) -> Result<Self> {
        Self::in_world(World::namespaces(mtu)?, datapath, "")
    }

    /// XDP on veth of so many queues.
    pub fn with_queues(queues: u32) -> Result<Self> {
        Self::in_world(World::with_queues(1500, queues)?, "auto", "")
    }

    /// XDP as good as it gets, and more of a configuration, in TOML.
    pub fn configured(more: &str) -> Result<Self> {
        Self::in_world(World::namespaces(1500)?, "auto", more)
    }

    fn in_world(world: World, datapath: &str, more: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let gateway = start(&world, directory.path(), datapath, more)?;
        Ok(Self { gateway, world, directory })
    }

    /// Ends the daemon without a warning; the world stays. Returns what is needed to go on.
    pub fn crash(self) -> Ruin {
        let Self { mut gateway, world, directory } = self;
        gateway.kill();
        Ruin { world, directory }
    }

    /// The socket of the daemon's API.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("sluice.sock")
    }

    /// The gateway's IPv4 address with a port.
    pub fn at(&self, port: u16) -> SocketAddr {
        self.world.gateway_at(port)
    }

    /// A plain peer on a port of the peers' IPv4 address.
    pub fn peer(&self, port: u16) -> Result<Peer> {
        Ok(Peer::plain(self.world.peers.udp(self.world.peers_at(port))?))
    }

    /// The gateway's namespace.
    pub fn gateway_namespace(&self) -> &Namespace {
        inside(&self.world.gateway)
    }

    /// The peers' namespace.
    pub fn peers_namespace(&self) -> &Namespace {
        inside(&self.world.peers)
    }

    /// The gateway's interface.
    pub fn interface(&self) -> &str {
        self.world.interface.as_deref().expect("namespaces have interfaces")
    }

    /// The peers' interface.
    pub fn peers_interface(&self) -> &str {
        self.world.peers_interface.as_deref().expect("namespaces have interfaces")
    }
}

/// What a crashed daemon leaves.
pub struct Ruin {
    /// Namespaces, addresses, interfaces.
    pub world: World,
    directory: TempDir,
}

impl Ruin {
    /// Starts a new daemon with the same configuration.
    pub fn restart(self) -> Result<Site> {
        let Self { world, directory } = self;
        let gateway = start(&world, directory.path(), "auto", "")?;
        Ok(Site { gateway, world, directory })
    }
}

/// The gateway's and the peers' IPv6 addresses with ports.
pub fn over_ipv6(gateway: u16, peers: u16) -> Result<(SocketAddr, SocketAddr)> {
    let at = |with_prefix, port| Ok::<_, anyhow::Error>(SocketAddr::new(address(with_prefix)?, port));
    Ok((at(GATEWAY[1], gateway)?, at(PEERS[1], peers)?))
}

/// The daemon's executable, as fresh as the tests.
pub fn executable() -> Result<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        if let Some(given) = env::var_os("SLUICE_BIN") {
            return Some(PathBuf::from(given));
        }
        // target/debug/deps/test-hash → target/debug/sluice
        let test = env::current_exe().ok()?;
        let beside = test.parent()?.parent()?.join("sluice");
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "-p", "sluice", "--bin", "sluice"]);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        (build.status().ok()?.success() && beside.exists()).then_some(beside)
    });
    built.as_deref().context("cannot build the sluice executable: run `cargo build -p sluice`")
}

/// Sends `count` packets of `source` from one peer at a steady pace; returns them in the clear.
pub fn stream(from: &mut Peer, to: SocketAddr, source: &mut Source, count: usize) -> Result<Vec<Vec<u8>>> {
    (0..count)
        .map(|_| {
            let packet = source.next_packet();
            from.send(to, &packet)?;
            thread::sleep(PACE);
            Ok(packet)
        })
        .collect()
}

/// Fails unless exactly `sent` arrives, each packet once, in whatever order.
pub fn expect_exactly(at: &mut Peer, sent: &[Vec<u8>]) -> Result<()> {
    let mut received = receive_up_to(at, sent.len())?;
    received.extend(at.receive_all(QUIET)?);
    compare(received, sent)
}

/// As [`expect_exactly`] at each of several peers, whose quiet is waited for but once.
pub fn expect_each_exactly(peers: &mut [(String, Peer, Vec<Vec<u8>>)]) -> Result<()> {
    let mut all = Vec::new();
    for (name, at, sent) in &mut *peers {
        all.push(receive_up_to(at, sent.len()).with_context(|| name.clone())?);
    }
    thread::sleep(QUIET);
    for ((name, at, sent), mut received) in peers.iter_mut().zip(all) {
        received.extend(at.receive_all(Duration::from_millis(1))?);
        compare(received, sent).with_context(|| name.clone())?;
    }
    Ok(())
}

fn receive_up_to(at: &mut Peer, count: usize) -> Result<Vec<Vec<u8>>> {
    let mut received = Vec::new();
    while received.len() < count
        && let Some(packet) = at.receive(PATIENCE)?
    {
        received.push(packet);
    }
    Ok(received)
}

fn compare(mut received: Vec<Vec<u8>>, sent: &[Vec<u8>]) -> Result<()> {
    let mut expected = sent.to_vec();
    expected.sort();
    received.sort();
    ensure!(
        received == expected,
        "{} packets were sent and {} arrived, {} of them as sent",
        expected.len(),
        received.len(),
        received.iter().filter(|packet| expected.binary_search(packet).is_ok()).count()
    );
    Ok(())
}

/// Fails if anything arrives.
pub fn expect_nothing(at: &mut Peer) -> Result<()> {
    let surplus = at.receive_all(QUIET)?;
    ensure!(surplus.is_empty(), "{} packets arrived that should not have", surplus.len());
    Ok(())
}

fn start(world: &World, directory: &Path, datapath: &str, more: &str) -> Result<Gateway> {
    let with_prefix = GATEWAY.iter().map(|text| address(text));
    let settings = Settings {
        executable: executable()?,
        place: &world.gateway,
        directory,
        interfaces: world.interface.iter().cloned().collect(),
        addresses: with_prefix.collect::<Result<Vec<IpAddr>>>()?,
        datapath,
        workers: None,
        shared_port: None,
        legs: None,
    };
    Gateway::start_with(&settings, &format!("{}{more}", settings.configuration()?))
}

fn inside(place: &Place) -> &Namespace {
    match place {
        Place::Inside(namespace) => namespace,
        Place::Here => unreachable!("a site is made of namespaces"),
    }
}
