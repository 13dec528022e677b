//! Where the demo happens: two network namespaces joined by veth, or, without root, loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use anyhow::Result;

use crate::demo::namespace::{self, End, Namespace, address, interface_name, orphan_proof};

/// The gateway's addresses, and its peers', where both have namespaces.
pub const GATEWAY: [&str; 2] = ["192.0.2.1/24", "2001:db8::1/64"];
/// The peers' addresses.
pub const PEERS: [&str; 2] = ["192.0.2.2/24", "2001:db8::2/64"];

/// Somewhere processes and sockets live.
#[derive(Debug)]
pub enum Place {
    /// A network namespace of our own.
    Inside(Namespace),
    /// The network namespace that we were started in.
    Here,
}

impl Place {
    /// A command that will run at this place and die with the thread that spawned it.
    pub fn command(&self, program: &str) -> Command {
        match self {
            Self::Inside(namespace) => namespace.command(program),
            Self::Here => orphan_proof(program),
        }
    }

    /// A UDP socket at this place.
    pub fn udp(&self, local: SocketAddr) -> io::Result<UdpSocket> {
        match self {
            Self::Inside(namespace) => namespace.udp(local),
            Self::Here => UdpSocket::bind(local),
        }
    }
}

/// The gateway's place and its peers' place, and how they reach each other.
#[derive(Debug)]
pub struct World {
    /// Where the daemon runs.
    pub gateway: Place,
    /// Where the media peers and the attacker run.
    pub peers: Place,
    /// The gateway's address.
    pub gateway_address: IpAddr,
    /// The peers' address.
    pub peers_address: IpAddr,
    /// The gateway's interface, if it has one that XDP can be attached to.
    pub interface: Option<String>,
    /// The peers' end of the wire, where their packets can be captured.
    pub peers_interface: Option<String>,
}

impl World {
    /// Two namespaces joined by veth of the given MTU; needs root.
    pub fn namespaces(mtu: u32) -> Result<Self> {
        Self::with_queues(mtu, 1)
    }

    /// The same with so many queues each way.
    pub fn with_queues(mtu: u32, queues: u32) -> Result<Self> {
        namespace::sweep();
        let gateway = Namespace::create("gateway")?;
        let peers = Namespace::create("peers")?;
        let near = End { namespace: &gateway, interface: interface_name("g") };
        let far = End { namespace: &peers, interface: interface_name("p") };
        namespace::join((&near, &GATEWAY), (&far, &PEERS), mtu, queues)?;
        let (interface, peers_interface) = (Some(near.interface), Some(far.interface));
        Ok(Self {
            gateway: Place::Inside(gateway),
            peers: Place::Inside(peers),
            gateway_address: address(GATEWAY[0])?,
            peers_address: address(PEERS[0])?,
            interface,
            peers_interface,
        })
    }

    /// Loopback: all that an unprivileged user has. Two of its addresses stand for the two hosts.
    pub fn loopback() -> Self {
        Self {
            gateway: Place::Here,
            peers: Place::Here,
            gateway_address: Ipv4Addr::new(127, 0, 0, 2).into(),
            peers_address: Ipv4Addr::LOCALHOST.into(),
            interface: None,
            peers_interface: None,
        }
    }

    /// A socket address of the gateway.
    pub fn gateway_at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.gateway_address, port)
    }

    /// A socket address of the peers.
    pub fn peers_at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.peers_address, port)
    }
}
