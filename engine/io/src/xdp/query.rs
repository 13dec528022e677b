//! Which XDP program an interface has, asked of the kernel by netlink.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Where in the kernel a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttachedMode {
    /// In the interface's driver.
    Native,
    /// In the kernel's generic receive path (SKB mode).
    Generic,
}

impl AttachedMode {
    /// `native` or `generic`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The program that an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The kernel's number of it.
    pub program: u32,
    /// Where it runs.
    pub mode: AttachedMode,
}

/// A netlink socket, which stays in the network namespace that it was opened in, whatever becomes of the
/// thread.
#[derive(Debug)]
pub struct Query {
    socket: Socket,
}

impl Query {
    /// Opens the socket in this thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// The XDP program of an interface, if it has one.
    pub fn program_of(&self, ifindex: u32) -> io::Result<Option<Seen>> {
        let mut link = LinkMessage::default();
        link.header.index = ifindex;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut request =
            NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetLink(link)));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(seen(&link)),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::Error::other("netlink answered with another message than asked for")),
        }
    }
}

fn seen(link: &LinkMessage) -> Option<Seen> {
    let xdp = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    })?;
    let generic = xdp.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer));
    let program = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some(*id),
        _ => None,
    })?;
    Some(Seen { program, mode: if generic { AttachedMode::Generic } else { AttachedMode::Native } })
}
