//! Ethernet frames as they are, in and out of an interface inside a namespace.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use etherparse::PacketBuilder;
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender, NetworkInterface};
use sluice_tools::demo::namespace::Namespace;

/// An open interface.
pub struct Port {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
    interface: NetworkInterface,
}

impl Port {
    /// Opens an interface of a namespace.
    pub fn open(namespace: &Namespace, name: &str) -> Result<Self> {
        namespace.run(|| {
            let interface = find(name)?;
            let config = Config {
                read_timeout: Some(Duration::from_millis(20)),
                read_buffer_size: 65_536,
                write_buffer_size: 65_536,
                ..Config::default()
            };
            match pnet_datalink::channel(&interface, config)? {
                Channel::Ethernet(sender, receiver) => Ok(Self { sender, receiver, interface }),
                _ => bail!("{name} is not Ethernet"),
            }
        })?
    }

    /// The interface's MAC address.
    pub fn mac(&self) -> [u8; 6] {
        self.interface.mac.unwrap_or_default().octets()
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.sender.send_to(frame, None).context("no room to send")??;
        Ok(())
    }

    /// The next frame that `wanted` accepts; `None` if none comes in time.
    pub fn receive(&mut self, limit: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Ok(frame) = self.receiver.next()
                && wanted(frame)
            {
                return Some(frame.to_vec());
            }
        }
        None
    }
}

/// The MAC address of an interface inside a namespace.
pub fn mac_of(namespace: &Namespace, name: &str) -> Result<[u8; 6]> {
    let interface = namespace.run(|| find(name))??;
    Ok(interface.mac.unwrap_or_default().octets())
}

/// The index of an interface inside a namespace.
pub fn index_of(namespace: &Namespace, name: &str) -> Result<u32> {
    Ok(namespace.run(|| find(name))??.index)
}

/// A UDP datagram in an Ethernet frame, tagged with `vlan` if given.
pub fn udp_frame(
    macs: ([u8; 6], [u8; 6]),
    vlan: Option<u16>,
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> Result<Vec<u8>> {
    let ethernet = PacketBuilder::ethernet2(macs.0, macs.1);
    let mut frame = Vec::new();
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (source, destination) else {
        let (SocketAddr::V6(from), SocketAddr::V6(to)) = (source, destination) else {
            bail!("{source} and {destination} are of different families");
        };
        let builder = ethernet.ipv6(from.ip().octets(), to.ip().octets(), 64);
        builder.udp(from.port(), to.port()).write(&mut frame, payload)?;
        return Ok(frame);
    };
    let (from_ip, to_ip) = (from.ip().octets(), to.ip().octets());
    match vlan {
        Some(id) => ethernet
            .single_vlan(id.try_into().map_err(|_| anyhow::anyhow!("no VLAN {id}"))?)
            .ipv4(from_ip, to_ip, 64)
            .udp(from.port(), to.port())
            .write(&mut frame, payload)?,
        None => ethernet.ipv4(from_ip, to_ip, 64).udp(from.port(), to.port()).write(&mut frame, payload)?,
    }
    Ok(frame)
}

fn find(name: &str) -> Result<NetworkInterface> {
    let interfaces = pnet_datalink::interfaces();
    interfaces.into_iter().find(|i| i.name == name).with_context(|| format!("no interface {name}"))
}
