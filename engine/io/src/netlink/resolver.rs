//! From two addresses to the Ethernet header between them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::NetlinkError;
use super::exchange::{Answer, Exchange};
use crate::NextHop;

const UDP: u8 = 17;
/// After this time without a word from a neighbour that is in use, it is asked whether it is there.
const UNCONFIRMED: Duration = Duration::from_secs(4);
/// `USER_HZ`: the unit of the kernel's times of neighbours.
const TICKS_PER_SECOND: u32 = 100;

/// Looks next hops up, in the network namespace of the thread that opened it.
pub struct Resolver {
    exchange: Exchange,
    allowed: Vec<u32>,
    /// Whether the kernel lets us have neighbours checked (CAP_NET_ADMIN).
    may_probe: bool,
    /// What was found since [`Resolver::refresh`]: many peers have few next hops.
    links: HashMap<u32, Link>,
    neighbours: HashMap<(u32, IpAddr), [u8; 6]>,
}

/// Where a route leads.
struct Route {
    interface: u32,
    /// Whose MAC address is wanted: the gateway, or the destination itself.
    neighbour: IpAddr,
    mtu: Option<u32>,
}

/// An Ethernet interface, or a VLAN on one.
#[derive(Clone, Copy)]
struct Link {
    /// The interface that carries the frames.
    carrier: u32,
    mac: [u8; 6],
    vlan: Option<u16>,
    mtu: u32,
}

impl Link {
    /// This link as a VLAN on the one below it, which must not be a VLAN itself.
    fn tagged(mut self, id: u16, below: &LinkMessage) -> Option<Self> {
        let carrier = read_link(below).filter(|_| vlan(below).is_none())?;
        self.carrier = carrier.carrier;
        self.vlan = Some(id);
        // The tag does not count against the MTU of either.
        self.mtu = self.mtu.min(carrier.mtu);
        Some(self)
    }
}

impl Resolver {
    /// Opens a netlink socket. Only next hops over the `allowed` interfaces, by index, are ever found:
    /// those with AF_XDP sockets.
    pub fn open(allowed: Vec<u32>) -> Result<Self, NetlinkError> {
        Ok(Self {
            exchange: Exchange::open()?,
            allowed,
            may_probe: true,
            links: HashMap::new(),
            neighbours: HashMap::new(),
        })
    }

    /// Forgets the interfaces and neighbours that were found so far: from now on they are asked for anew.
    pub fn refresh(&mut self) {
        self.links.clear();
        self.neighbours.clear();
    }

    /// Whether a neighbour is what it was when it was looked up: that the kernel has checked it is no news.
    pub(super) fn is_known(&self, neighbour: &NeighbourMessage) -> bool {
        let address = neighbour.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        });
        let known = address.and_then(|at| self.neighbours.get(&(neighbour.header.ifindex, at)));
        known.is_some_and(|known| read_neighbour(neighbour) == Some(*known))
    }

    /// The next hop of UDP datagrams from `local` to `remote`. Interfaces and neighbours are as they were when they were
    /// first asked for since [`Self::refresh`]. `None` while there is no route, no
    /// resolved neighbour, or no way over an allowed Ethernet interface.
    pub fn next_hop(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<NextHop>, NetlinkError> {
        let Some(route) = self.route(local, remote)? else { return Ok(None) };
        let Some(link) = self.known_link(route.interface)? else { return Ok(None) };
        if !self.allowed.contains(&link.carrier) {
            return Ok(None);
        }
        let Some(destination) = self.known_neighbour(route.interface, route.neighbour)? else {
            return Ok(None);
        };
        Ok(Some(NextHop {
            ifindex: link.carrier,
            source: link.mac,
            destination,
            vlan: link.vlan,
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
        }))
    }

    fn route(&mut self, local: SocketAddr, remote: SocketAddr) -> Result<Option<Route>, NetlinkError> {
        let (source, destination) = (local.ip().to_canonical(), remote.ip().to_canonical());
        if source.is_unspecified() || source.is_ipv4() != destination.is_ipv4() {
            return Ok(None);
        }
        let mut question = RouteMessage::default();
        let bits = if destination.is_ipv4() { 32 } else { 128 };
        question.header.address_family = family(destination);
        (question.header.destination_prefix_length, question.header.source_prefix_length) = (bits, bits);
        question.attributes = vec![
            RouteAttribute::Destination(destination.into()),
            RouteAttribute::Source(source.into()),
            // Ports and protocol, since rules and multipath hashes may look at them.
            RouteAttribute::IpProto(UDP),
            RouteAttribute::Sport(local.port()),
            RouteAttribute::Dport(remote.port()),
        ];
        if let SocketAddr::V6(v6) = remote
            && v6.scope_id() != 0
        {
            question.attributes.push(RouteAttribute::Oif(v6.scope_id()));
        }
        match self.exchange.ask(RouteNetlinkMessage::GetRoute(question))? {
            Answer::Found(RouteNetlinkMessage::NewRoute(route)) => Ok(read_route(&route, destination)),
            _ => Ok(None),
        }
    }

    fn neighbour(&mut self, interface: u32, address: IpAddr) -> Result<Option<[u8; 6]>, NetlinkError> {
        let question = RouteNetlinkMessage::GetNeighbour(neighbour(interface, address));
        let Answer::Found(RouteNetlinkMessage::NewNeighbour(found)) = self.exchange.ask(question)? else {
            return Ok(None);
        };
        if is_unconfirmed(&found) {
            self.probe(interface, address)?;
            if !self.may_probe && found.header.state == NeighbourState::Stale {
                // What the kernel sends to it has the kernel check it as well.
                return Ok(None);
            }
        }
        Ok(read_neighbour(&found))
    }

    /// Frames sent past the kernel do not tell it that the neighbour is in use: it would never look whether that is
    /// still there, and still has that address. Has it ask now; until the answer, or the want of one, the entry is
    /// good (RFC 4861 §7.3.3, and the same for ARP).
    fn probe(&mut self, interface: u32, address: IpAddr) -> Result<(), NetlinkError> {
        if !self.may_probe {
            return Ok(());
        }
        let mut order = neighbour(interface, address);
        order.header.state = NeighbourState::Probe;
        // Without NLM_F_CREATE one that is gone by now is not made anew, and without NLM_F_REPLACE the entry keeps
        // what else is known of it.
        if let Answer::Refused(error) = self.exchange.order(RouteNetlinkMessage::NewNeighbour(order))? {
            self.may_probe = error.raw_os_error() != Some(libc::EPERM);
        }
        Ok(())
    }

    fn known_neighbour(&mut self, interface: u32, address: IpAddr) -> Result<Option<[u8; 6]>, NetlinkError> {
        if let Some(known) = self.neighbours.get(&(interface, address)) {
            return Ok(Some(*known));
        }
        let found = self.neighbour(interface, address)?;
        self.neighbours.extend(found.map(|mac| ((interface, address), mac)));
        Ok(found)
    }

    fn known_link(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        if let Some(known) = self.links.get(&index) {
            return Ok(Some(*known));
        }
        let found = self.link(index)?;
        self.links.extend(found.map(|link| (index, link)));
        Ok(found)
    }

    fn link(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let Some(message) = self.link_message(index)? else { return Ok(None) };
        let Some(link) = read_link(&message) else { return Ok(None) };
        let Some(vlan) = vlan(&message) else { return Ok(Some(link)) };
        let (VlanTag::Customer(id), Some(parent)) = (vlan, parent(&message)) else { return Ok(None) };
        let below = self.link_message(parent)?;
        Ok(below.and_then(|below| link.tagged(id, &below)))
    }

    fn link_message(&mut self, index: u32) -> Result<Option<LinkMessage>, NetlinkError> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        match self.exchange.ask(RouteNetlinkMessage::GetLink(question))? {
            Answer::Found(RouteNetlinkMessage::NewLink(link)) => Ok(Some(link)),
            _ => Ok(None),
        }
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn neighbour(interface: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = interface;
    let address = match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message.attributes = vec![NeighbourAttribute::Destination(address)];
    message
}

/// Only plain unicast routes: nothing local, broadcast, multicast, blackholed or encapsulated.
fn read_route(route: &RouteMessage, destination: IpAddr) -> Option<Route> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let mut found = Route { interface: 0, neighbour: destination, mtu: None };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.interface = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
                found.neighbour = IpAddr::V4(*v4);
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
                found.neighbour = IpAddr::V6(*v6);
            }
            RouteAttribute::Via(_) | RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => return None,
            RouteAttribute::Metrics(metrics) => found.mtu = mtu(metrics),
            _ => {}
        }
    }
    (found.interface != 0).then_some(found)
}

/// The route's own MTU, or what path MTU discovery has found.
fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

/// Whether nothing confirmed for a while that the neighbour is there.
fn is_unconfirmed(found: &NeighbourMessage) -> bool {
    let confirmed = found.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::CacheInfo(info) => Some(info.confirmed / TICKS_PER_SECOND),
        _ => None,
    });
    match found.header.state {
        NeighbourState::Stale => true,
        NeighbourState::Reachable => {
            confirmed.is_some_and(|seconds| u64::from(seconds) >= UNCONFIRMED.as_secs())
        }
        // Being checked, or not to be.
        _ => false,
    }
}

fn read_neighbour(found: &NeighbourMessage) -> Option<[u8; 6]> {
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    if !matches!(found.header.state, Reachable | Stale | Delay | Probe | Permanent) {
        return None;
    }
    found.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

/// An Ethernet interface that is up.
fn read_link(message: &LinkMessage) -> Option<Link> {
    let (header, attributes) = (&message.header, &message.attributes);
    let up = header.flags.contains(LinkFlags::Up) && !header.flags.contains(LinkFlags::Loopback);
    if !up || header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let mac = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })?;
    let mtu = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })?;
    Some(Link { carrier: header.index, mac, vlan: None, mtu })
}

/// The tag of a VLAN interface.
#[derive(Clone, Copy)]
enum VlanTag {
    /// IEEE 802.1Q.
    Customer(u16),
    /// IEEE 802.1ad, or a VLAN that does not say which: left to the kernel.
    Other,
}

/// The tag, if the interface is a VLAN.
fn vlan(message: &LinkMessage) -> Option<VlanTag> {
    let info = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    })?;
    if !info.contains(&LinkInfo::Kind(InfoKind::Vlan)) {
        return None;
    }
    let data = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data.as_slice()),
        _ => None,
    });
    let data = data.unwrap_or_default();
    let id = data.iter().find_map(|item| match item {
        InfoVlan::Id(id) if (1..=4094).contains(id) => Some(*id),
        _ => None,
    });
    let customer = data.contains(&InfoVlan::Protocol(VlanProtocol::Ieee8021Q));
    Some(id.filter(|_| customer).map_or(VlanTag::Other, VlanTag::Customer))
}

fn parent(message: &LinkMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(index: u32, mtu: u32) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up;
        message.attributes = vec![LinkAttribute::Address(vec![2; 6]), LinkAttribute::Mtu(mtu)];
        message
    }

    fn vlan_on(index: u32, below: u32, data: Vec<InfoVlan>) -> LinkMessage {
        let mut message = ethernet(index, 1500);
        let info = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(data))];
        message.attributes.extend([LinkAttribute::Link(below), LinkAttribute::LinkInfo(info)]);
        message
    }

    fn customer(id: u16) -> Vec<InfoVlan> {
        vec![InfoVlan::Protocol(VlanProtocol::Ieee8021Q), InfoVlan::Id(id)]
    }

    #[test]
    fn a_vlan_is_carried_by_its_parent_with_its_tag_and_the_smaller_mtu() {
        let message = vlan_on(9, 4, customer(100));
        assert_eq!(parent(&message), Some(4));
        let Some(VlanTag::Customer(id)) = vlan(&message) else { panic!("a customer tag") };
        let link = read_link(&message).unwrap().tagged(id, &ethernet(4, 1400)).unwrap();
        assert_eq!((link.carrier, link.vlan, link.mtu), (4, Some(100), 1400));
        assert!(read_link(&message).unwrap().tagged(id, &vlan_on(4, 3, customer(5))).is_none());
    }

    #[test]
    fn service_tags_and_impossible_ids_are_left_to_the_kernel() {
        let service = vec![InfoVlan::Protocol(VlanProtocol::Ieee8021Ad), InfoVlan::Id(9)];
        for data in [service, customer(0), customer(4095), vec![InfoVlan::Id(7)], Vec::new()] {
            assert!(matches!(vlan(&vlan_on(9, 4, data)), Some(VlanTag::Other)));
        }
        assert!(vlan(&ethernet(4, 1500)).is_none());
    }

    #[test]
    fn only_ethernet_that_is_up_has_a_link() {
        let mut message = ethernet(4, 1500);
        assert!(read_link(&message).is_some());
        message.header.flags = LinkFlags::empty();
        assert!(read_link(&message).is_none());
        message.header.flags = LinkFlags::Up | LinkFlags::Loopback;
        assert!(read_link(&message).is_none());
        message.header.flags = LinkFlags::Up;
        message.header.link_layer_type = LinkLayerType::None;
        assert!(read_link(&message).is_none());
    }
}
