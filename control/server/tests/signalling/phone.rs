//! A peer that says SDP and speaks SRTP, with the library as its own.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::slice::from_mut;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sluice_srtp::{
    Inbound, Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys,
    Suite, protect, unprotect,
};

pub const CM_80: Suite = Suite::AesCm128HmacSha1_80;
pub const GCM_256: Suite = Suite::AeadAes256Gcm;

/// An `a=crypto` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    pub tag: u32,
    pub suite: Suite,
    pub key_salt: Vec<u8>,
}

impl Crypto {
    pub fn new(tag: u32, suite: Suite, octet: u8) -> Self {
        Self { tag, suite, key_salt: vec![octet; suite.key_len() + suite.salt_len()] }
    }

    fn line(&self) -> String {
        format!("a=crypto:{} {} inline:{}\r\n", self.tag, self.suite, STANDARD.encode(&self.key_salt))
    }
}

/// The crypto lines of an SDP.
pub fn crypto(sdp: &str) -> Vec<Crypto> {
    let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let tag = words.next()?.parse().ok()?;
        let suite = words.next()?.parse().ok()?;
        let key = words.next()?.strip_prefix("inline:")?.split('|').next()?;
        Some(Crypto { tag, suite, key_salt: STANDARD.decode(key).ok()? })
    };
    lines.map(|line| parse(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// The address of an SDP's media line.
pub fn address(sdp: &str, line: usize) -> SocketAddr {
    let ip = sdp.lines().find_map(|line| line.strip_prefix("c=IN IP4 ")).expect("c=");
    SocketAddr::new(ip.trim().parse().unwrap(), port(sdp, line))
}

pub fn port(sdp: &str, line: usize) -> u16 {
    let media = sdp.lines().filter(|line| line.starts_with("m=")).nth(line).expect("m=");
    media.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The transport protocol of an SDP's media line.
pub fn proto(sdp: &str, line: usize) -> &str {
    let media = sdp.lines().filter(|line| line.starts_with("m=")).nth(line).expect("m=");
    media.split(' ').nth(2).unwrap()
}

/// A peer with one medium.
pub struct Phone {
    pub socket: UdpSocket,
    sending: HashMap<Vec<u8>, Outbound>,
    receiving: HashMap<(Vec<u8>, u32), Inbound>,
}

impl Phone {
    pub fn new() -> Self {
        // Its RTCP port, the next one, is nobody's.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { socket, sending: HashMap::new(), receiving: HashMap::new() }
    }

    pub fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// An audio line of its own.
    pub fn sdp(&self, proto: &str, crypto: &[Crypto]) -> String {
        self.sdp_with(proto, crypto, "")
    }

    pub fn sdp_with(&self, proto: &str, crypto: &[Crypto], more: &str) -> String {
        description(&self.media(proto, crypto, more))
    }

    pub fn media(&self, proto: &str, crypto: &[Crypto], more: &str) -> String {
        let crypto: String = crypto.iter().map(Crypto::line).collect();
        format!("m=audio {} {proto} 0 8\r\n{crypto}{more}", self.port())
    }

    pub fn send_plain(&self, packet: &[u8], to: SocketAddr) {
        self.socket.send_to(packet, to).unwrap();
    }

    /// Sends the first two packets of a plain stream, without which nothing of it is heard (RFC 3550 appendix A.1).
    pub fn begin_plain(&self, ssrc: u32, to: SocketAddr) -> [Vec<u8>; 2] {
        let first = [0, 1].map(|sequence| crate::support::rtp(sequence, ssrc, 20));
        for packet in &first {
            self.send_plain(packet, to);
        }
        first
    }

    /// Sends under a key; each has one context.
    pub fn send(&mut self, crypto: &Crypto, packet: &[u8], to: SocketAddr) {
        let ssrc = sluice_srtp::rtp::ssrc(packet).unwrap();
        let fresh = || Outbound::new(ssrc, keys(crypto), 0);
        let context = self.sending.entry(crypto.key_salt.clone()).or_insert_with(fresh);
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + MAX_OVERHEAD, 0);
        let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, packet.len())];
        protect(from_mut(context), &mut jobs);
        jobs[0].result.unwrap();
        let len = jobs[0].len;
        self.socket.send_to(&buffer[..len], to).unwrap();
    }

    pub fn receive_plain(&self) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        let len = self.socket.recv(&mut buffer).expect("a datagram");
        buffer.truncate(len);
        buffer
    }

    /// Has what is sent under a key from now on begin at a rollover counter.
    pub fn begin_at(&mut self, crypto: &Crypto, ssrc: u32, roc: u32) {
        self.sending.insert(crypto.key_salt.clone(), Outbound::new(ssrc, keys(crypto), roc));
    }

    /// Receives what is under a key.
    pub fn receive(&mut self, crypto: &Crypto) -> Vec<u8> {
        let mut packet = self.receive_plain();
        let ssrc = sluice_srtp::rtp::ssrc(&packet).unwrap();
        let fresh = || Inbound::new(ssrc, keys(crypto), ReplayWindow::default(), 0);
        let context = self.receiving.entry((crypto.key_salt.clone(), ssrc)).or_insert_with(fresh);
        let len = packet.len();
        let mut jobs = [Job::new(0, Kind::Rtp, &mut packet, len)];
        unprotect(from_mut(context), &mut jobs);
        jobs[0].result.expect("it is under the key");
        let len = jobs[0].len;
        packet.truncate(len);
        packet
    }

    /// Whether nothing arrives for a while.
    pub fn hears_nothing(&self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let nothing = self.socket.recv(&mut [0; 2048]).is_err();
        self.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        nothing
    }
}

/// An SDP with these media lines.
pub fn description(media: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=x-unknown:kept\r\n{media}"
    )
}

fn keys(crypto: &Crypto) -> Arc<SessionKeys> {
    let master = MasterKey::from_concatenated(crypto.suite, &crypto.key_salt).unwrap();
    Arc::new(SessionKeys::derive(KeyId(1), &master, Mki::NONE, Lifetime::MAX).unwrap())
}
