//! A media peer that knows exactly what it sent: a plain socket and the SRTP library.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use sluice_srtp::{
    Inbound, Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD, MasterKey, Outbound, ReplayWindow, SessionKeys,
    protect, unprotect,
};
use sluice_tools::demo::gateway::Key;

/// A peer of one leg.
pub struct Peer {
    /// Its socket.
    pub socket: UdpSocket,
    sends: Option<(Arc<SessionKeys>, HashMap<u32, Outbound>)>,
    receives: Option<(Arc<SessionKeys>, HashMap<u32, Inbound>)>,
    /// The rollover counter that new streams start with.
    pub roc: u32,
}

impl Peer {
    /// A peer that sends and receives plain RTP.
    pub fn plain(socket: UdpSocket) -> Self {
        // Tests send a whole stream before they look at what came: the kernel has to keep it.
        let _ = set_socket_recv_buffer_size_force(&socket, 16 << 20);
        Self { socket, sends: None, receives: None, roc: 0 }
    }

    /// A peer that protects what it sends under `sends`, and takes what comes as under `receives`.
    pub fn keyed(socket: UdpSocket, sends: Option<&Key>, receives: Option<&Key>) -> Result<Self> {
        Self::with_options(socket, sends, receives, &KeyOptions::default())
    }

    /// The same with keys that are used as `options` say.
    pub fn with_options(
        socket: UdpSocket,
        sends: Option<&Key>,
        receives: Option<&Key>,
        options: &KeyOptions,
    ) -> Result<Self> {
        let session_keys = |key: &Key| session_keys(key, options);
        let sends = sends.map(session_keys).transpose()?.map(|keys| (keys, HashMap::new()));
        let receives = receives.map(session_keys).transpose()?.map(|keys| (keys, HashMap::new()));
        Ok(Self { sends, receives, ..Self::plain(socket) })
    }

    /// Where this peer is.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// The octets that this peer would send for an RTP or RTCP packet.
    pub fn seal(&mut self, packet: &[u8]) -> Result<Vec<u8>> {
        let Some((keys, contexts)) = &mut self.sends else { return Ok(packet.to_vec()) };
        let (kind, ssrc) = kind_and_ssrc(packet).context("neither RTP nor RTCP")?;
        let (keys, roc) = (Arc::clone(keys), self.roc);
        let context = contexts.entry(ssrc).or_insert_with(|| Outbound::new(ssrc, keys, roc));
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + MAX_OVERHEAD, 0);
        let mut jobs = [Job::new(0, kind, &mut buffer, packet.len())];
        protect(slice::from_mut(context), &mut jobs);
        let [Job { result, len, .. }] = jobs;
        result?;
        buffer.truncate(len);
        Ok(buffer)
    }

    /// Protects and sends a packet; returns the octets that went out.
    pub fn send(&mut self, to: SocketAddr, packet: &[u8]) -> Result<Vec<u8>> {
        let sealed = self.seal(packet)?;
        self.socket.send_to(&sealed, to)?;
        Ok(sealed)
    }

    /// The next packet that arrives, unprotected; `None` if none comes in time.
    pub fn receive(&mut self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let Some((packet, _)) = receive_raw(&self.socket, limit)? else { return Ok(None) };
        self.open(packet).map(Some)
    }

    /// All packets that arrive until none came for `quiet`.
    pub fn receive_all(&mut self, quiet: Duration) -> Result<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        while let Some(packet) = self.receive(quiet)? {
            packets.push(packet);
        }
        Ok(packets)
    }

    /// Unprotects a packet that arrived elsewhere.
    pub fn open(&mut self, mut packet: Vec<u8>) -> Result<Vec<u8>> {
        let Some((keys, contexts)) = &mut self.receives else { return Ok(packet) };
        let (kind, ssrc) = kind_and_ssrc(&packet).context("neither RTP nor RTCP")?;
        let (keys, roc) = (Arc::clone(keys), self.roc);
        let context =
            contexts.entry(ssrc).or_insert_with(|| Inbound::new(ssrc, keys, ReplayWindow::default(), roc));
        let length = packet.len();
        let mut jobs = [Job::new(0, kind, &mut packet, length)];
        unprotect(slice::from_mut(context), &mut jobs);
        let [Job { result, len, .. }] = jobs;
        result.with_context(|| format!("packet {:02x?}", &packet[..packet.len().min(16)]))?;
        packet.truncate(len);
        Ok(packet)
    }
}

/// The next datagram on a socket and where it came from; `None` if none comes in time.
pub fn receive_raw(socket: &UdpSocket, limit: Duration) -> Result<Option<(Vec<u8>, SocketAddr)>> {
    let deadline = Instant::now() + limit;
    let mut buffer = vec![0; 65_536];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            buffer.truncate(length);
            return Ok(Some((buffer, from)));
        }
    }
}

fn session_keys(key: &Key, options: &KeyOptions) -> Result<Arc<SessionKeys>> {
    let master = MasterKey::from_concatenated(key.suite, &key.material)?;
    Ok(Arc::new(SessionKeys::derive_with(KeyId(0), &master, options)?))
}

/// RFC 5761 §4 tells RTP from RTCP; their SSRCs are in different places.
fn kind_and_ssrc(packet: &[u8]) -> Option<(Kind, u32)> {
    let (kind, at) = match packet.get(1)? & 0x7f {
        64..=95 => (Kind::Rtcp, 4),
        _ => (Kind::Rtp, 8),
    };
    let ssrc = packet.get(at..at + 4)?.first_chunk()?;
    Some((kind, u32::from_be_bytes(*ssrc)))
}
