//! How media leaves: to the right next hop, marked and summed as it should be, and never in fragments; and what comes
//! back of it.

mod marking;
mod mtu;
mod neighbours;
mod routes;
mod unreachable;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_proto::v1;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::site::{PATIENCE, Site, expect_exactly, over_ipv6, stream};
use sluice_tools::demo::gateway::{Gateway, Leg};
use sluice_tools::demo::namespace::Namespace;

/// Both ways out.
const DATAPATHS: [&str; 2] = ["auto", "io_uring"];

/// Both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// The gateway's and the peers' address.
    fn ends(self, site: &Site, gateway: u16, peers: u16) -> Result<(SocketAddr, SocketAddr)> {
        match self {
            Self::V4 => Ok((site.at(gateway), site.world.peers_at(peers))),
            Self::V6 => over_ipv6(gateway, peers),
        }
    }

    /// Octets of IP and UDP headers.
    const fn headers(self) -> usize {
        match self {
            Self::V4 => 28,
            Self::V6 => 48,
        }
    }
}

/// A caller and a listener that speak plain RTP, whose sequence numbers tell what was lost.
struct Call {
    caller: Peer,
    into: SocketAddr,
    listener: Peer,
    source: Source,
}

impl Call {
    /// From leg `a`, by IPv4, to leg `b`.
    fn new(site: &mut Site, out: (SocketAddr, SocketAddr)) -> Result<Self> {
        let listener = Peer::plain(site.world.peers.udp(out.1)?);
        Self::to(site, out, listener, |_| ())
    }

    fn to(
        site: &mut Site,
        out: (SocketAddr, SocketAddr),
        listener: Peer,
        change: impl Fn(&mut v1::LegConfig),
    ) -> Result<Self> {
        let caller = site.peer(4000)?;
        let mut legs = [
            Leg::new("a", site.at(4000), caller.address()?).rtcp_mux(),
            Leg::new("b", out.0, out.1).rtcp_mux(),
        ];
        change(&mut legs[1].config);
        site.gateway.create_call("call", &legs, &[("a", "b")])?;
        Ok(Self { caller, into: site.at(4000), listener, source: Source::new(7, 0) })
    }

    fn send(&mut self, count: usize) -> Result<Vec<Vec<u8>>> {
        stream(&mut self.caller, self.into, &mut self.source, count)
    }

    /// Streams until the kernel knows the way.
    fn settle(&mut self) -> Result<()> {
        let sent = self.send(5)?;
        expect_exactly(&mut self.listener, &sent)
    }

    /// Streams until a next hop is known and media leaves by AF_XDP.
    fn warm_up(&mut self, gateway: &mut Gateway) -> Result<()> {
        for _ in 0..50 {
            let before = sent_by(gateway)?.0;
            self.send(20)?;
            if sent_by(gateway)?.0 >= before + 20 {
                self.listener.receive_all(Duration::from_millis(50))?;
                return Ok(());
            }
        }
        anyhow::bail!("nothing leaves by AF_XDP: {}", gateway.log())
    }
}

/// Datagrams sent so far by AF_XDP and by kernel sockets.
fn sent_by(gateway: &mut Gateway) -> Result<(u64, u64)> {
    let workers = gateway.statistics()?.workers;
    let sum = |is: &dyn Fn(&str) -> bool| -> u64 {
        let paths = workers.iter().flat_map(|worker| &worker.paths);
        paths.filter(|path| is(&path.path)).map(|path| path.sent).sum()
    };
    Ok((sum(&|path| path.starts_with("xdp")), sum(&|path| path == "io_uring")))
}

/// Waits until so many more were sent by AF_XDP and by kernel sockets: the kernel tells of that when it likes to.
fn sent_since(gateway: &mut Gateway, before: (u64, u64), wanted: (u64, u64)) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = sent_by(gateway)?;
        let sent = (now.0 - before.0, now.1 - before.1);
        if sent == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{sent:?} were sent by AF_XDP and by sockets, not {wanted:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sets a variable under /proc/sys/net for a namespace.
fn sysctl(namespace: &Namespace, variable: &str, value: &str) -> Result<()> {
    let file = format!("/proc/sys/net/{variable}");
    // /proc/sys/net is that of the thread that opens it.
    namespace.run(|| std::fs::write(&file, value))?.with_context(|| format!("{file} = {value}"))
}

/// Nothing is unaccounted for: what the workers received was sent, or dropped for a reason.
fn all_accounted_for(gateway: &mut Gateway) -> Result<()> {
    for worker in gateway.statistics()?.workers {
        let dropped: u64 = worker.drops.iter().map(|drop| drop.packets).sum();
        let came = worker.received + worker.copied + worker.handed_in;
        let went = worker.sent + dropped + worker.handed_out + worker.negotiation;
        ensure!(came == went, "{came} came and {went} went: {worker:?}");
    }
    Ok(())
}
