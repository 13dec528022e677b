//! Who the browser calls: an endpoint with plain RTP that says everything again, half a second later.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Where it is.
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DELAY: Duration = Duration::from_millis(500);
/// How long it waits for a packet before it looks whether it has to send one, or to end.
const TURN: Duration = Duration::from_millis(5);
/// Packets that wait; half a second of audio has 25 to 50.
const MAX_WAITING: usize = 200;
const RTP_HEADER: usize = 12;

/// A running echo; dropped, it ends.
pub(super) struct Echo {
    port: u16,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(super) fn start() -> Result<Self> {
        let (rtp, rtcp) = bind().context("the echo has no ports")?;
        rtp.set_read_timeout(Some(TURN))?;
        let port = rtp.local_addr()?.port();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
            // Its reports are not read; the port is there so that none comes back as unreachable.
            let _rtcp = rtcp;
            repeat(&rtp, &end);
        })?;
        Ok(Self { port, ended, thread: Some(thread) })
    }

    /// Its answer to `offer`: the first format of the first audio line, with plain RTP; other lines are refused.
    pub(super) fn answer(&self, offer: &str) -> Result<String> {
        let mut text =
            format!("v=0\r\no=echo 1 1 IN IP4 {ADDRESS}\r\ns=-\r\nc=IN IP4 {ADDRESS}\r\nt=0 0\r\n");
        let mut answered = false;
        for section in sections(offer) {
            let words: Vec<&str> = section[0].split(' ').collect();
            let [media, _, profile, format, ..] = words[..] else {
                anyhow::bail!("the offer has `m={}`", section[0])
            };
            let port = if media == "audio" && !answered { self.port } else { 0 };
            write!(text, "m={media} {port} {profile} {format}\r\n")?;
            if port == 0 {
                continue;
            }
            answered = true;
            let about = [format!("a=rtpmap:{format} "), format!("a=fmtp:{format} "), "a=ptime:".to_owned()];
            for line in section.iter().filter(|line| about.iter().any(|prefix| line.starts_with(prefix))) {
                text += line;
                text += "\r\n";
            }
            if section.contains(&"a=rtcp-mux") {
                text += "a=rtcp-mux\r\n";
            }
        }
        anyhow::ensure!(answered, "the offer has no audio");
        Ok(text)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The media sections: the value of each `m=`, and the lines after it.
fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut sections: Vec<Vec<&str>> = Vec::new();
    for line in sdp.lines() {
        match (line.strip_prefix("m="), sections.last_mut()) {
            (Some(media), _) => sections.push(vec![media]),
            (None, Some(section)) => section.push(line),
            (None, None) => {}
        }
    }
    sections
}

/// An even port and the one after it.
fn bind() -> io::Result<(UdpSocket, UdpSocket)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let rtp = UdpSocket::bind((ADDRESS, 0))?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 1 {
            continue;
        }
        match UdpSocket::bind((ADDRESS, port + 1)) {
            Ok(rtcp) => return Ok((rtp, rtcp)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn repeat(socket: &UdpSocket, ended: &AtomicBool) {
    let mut waiting: VecDeque<(Instant, SocketAddr, Vec<u8>)> = VecDeque::new();
    let mut buffer = [0; 2048];
    while !ended.load(Ordering::Relaxed) {
        if let Ok((length, source)) = socket.recv_from(&mut buffer)
            && let Some(packet) = echoed(&buffer[..length])
            && waiting.len() < MAX_WAITING
        {
            waiting.push_back((Instant::now() + DELAY, source, packet));
        }
        while let Some((_, to, packet)) = waiting.pop_front_if(|(due, ..)| *due <= Instant::now()) {
            // What cannot be sent now would be of no use later.
            let _ = socket.send_to(&packet, to);
        }
    }
}

/// An RTP packet as the echo's own: under another SSRC, since one cannot have two senders.
fn echoed(packet: &[u8]) -> Option<Vec<u8>> {
    let is_rtp = packet.len() >= RTP_HEADER && packet[0] >> 6 == 2 && !(192..=223).contains(&packet[1]);
    let mut packet = is_rtp.then(|| packet.to_vec())?;
    packet[8] ^= 0xff;
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_the_first_format_of_the_first_audio_line_and_refuses_the_rest() {
        let echo = Echo::start().unwrap();
        let offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
            m=audio 4000 RTP/AVP 111 0\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\na=rtpmap:0 PCMU/8000\r\n\
            a=rtcp-mux\r\nm=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
        let answer = echo.answer(offer).unwrap();
        let expected = format!(
            "m=audio {} RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\na=rtcp-mux\r\n\
             m=video 0 RTP/AVP 96\r\n",
            echo.port
        );
        assert!(answer.ends_with(&expected), "{answer}");
        assert!(echo.answer("v=0\r\nm=video 1 RTP/AVP 96\r\n").is_err());
        assert!(echo.answer("v=0\r\nm=audio\r\n").is_err());
    }

    #[test]
    fn what_comes_goes_back_later_under_another_ssrc() {
        let echo = Echo::start().unwrap();
        let peer = UdpSocket::bind((ADDRESS, 0)).unwrap();
        peer.set_read_timeout(Some(DELAY * 10)).unwrap();
        let rtcp = [0x80, 200, 0, 1, 1, 2, 3, 4, 0, 0, 0, 0];
        let rtp = [0x80, 111, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 42];
        let sent = Instant::now();
        for packet in [&rtcp[..], &rtp, &[1, 2]] {
            peer.send_to(packet, (ADDRESS, echo.port)).unwrap();
        }
        let mut buffer = [0; 100];
        let length = peer.recv(&mut buffer).unwrap();
        assert!(sent.elapsed() >= DELAY);
        assert_eq!(buffer[..length], [0x80, 111, 0, 1, 0, 0, 0, 9, 254, 2, 3, 4, 42]);
    }
}
