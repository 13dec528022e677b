//! What the two peers of a call say.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sluice_srtp::Suite;
use sluice_tools::demo::gateway::random;

/// What a caller offers, as phones do: the strongest suite first.
const OFFERED: [Suite; 4] =
    [Suite::AeadAes256Gcm, Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];
/// What a callee takes of what it is offered.
const TAKEN: Suite = Suite::AesCm128HmacSha1_80;
/// More than the keys of an offer.
const MATERIAL: usize = 256;
/// Ports of peers at one address, and the first of them.
const PORTS: u64 = 20_000;
const FIRST_PORT: u64 = 10_000;
/// First addresses of callers and callees. Nobody is there: no media is sent.
const CALLERS: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 1);
const CALLEES: Ipv4Addr = Ipv4Addr::new(10, 77, 32, 1);

/// How media goes between a peer and the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// SRTP with keys in SDP (RFC 4568).
    Sdes,
    /// Plain RTP.
    Plain,
}

/// The caller's offer of a call with that number.
pub fn offer(number: u64, security: Security, video: bool) -> Result<String> {
    let at = address(CALLERS, number);
    let mut text = head(at);
    let mut material = [0; MATERIAL];
    for (line, kind) in ["audio", "video"].into_iter().take(1 + usize::from(video)).enumerate() {
        media(&mut text, kind, at.port() + 2 * line as u16, profile(security));
        if security == Security::Sdes {
            random(&mut material)?;
            let mut rest = &material[..];
            for (tag, suite) in OFFERED.into_iter().enumerate() {
                let (key, after) = rest.split_at(suite.key_len() + suite.salt_len());
                crypto(&mut text, &(tag + 1).to_string(), suite, key);
                rest = after;
            }
        }
    }
    Ok(text)
}

/// The callee's answer to what the gateway offers it.
pub fn answer(number: u64, offered: &str, security: Security) -> Result<String> {
    let at = address(CALLEES, number);
    let mut text = head(at);
    let mut material = [0; MATERIAL];
    let (_, sections) = offered.split_once("\r\nm=").context("the gateway offers no media")?;
    for (line, section) in sections.split("\r\nm=").enumerate() {
        let kind = section.split(' ').next().unwrap_or_default();
        check(section, security)?;
        media(&mut text, kind, at.port() + 2 * line as u16, profile(security));
        if security == Security::Sdes {
            let tag = tag_of(section, TAKEN)?;
            let key = &mut material[..TAKEN.key_len() + TAKEN.salt_len()];
            random(key)?;
            crypto(&mut text, tag, TAKEN, key);
        }
    }
    Ok(text)
}

/// Whether an SDP of the gateway gives its reader what it should: ports, and keys if there are to be any.
pub fn check_all(sdp: &str, security: Security, media: usize) -> Result<()> {
    let (_, sections) = sdp.split_once("\r\nm=").context("the gateway's SDP has no media")?;
    let sections: Vec<_> = sections.split("\r\nm=").collect();
    ensure!(sections.len() == media, "{media} media lines became {}: {sdp}", sections.len());
    sections.into_iter().try_for_each(|section| check(section, security))
}

fn check(section: &str, security: Security) -> Result<()> {
    let mut words = section.split(' ').skip(1);
    let port: u16 = words.next().and_then(|word| word.parse().ok()).context("a media line without a port")?;
    ensure!(port != 0, "the gateway refuses the media line {section}");
    let profile = words.next().unwrap_or_default();
    let is_secure = profile.contains("SAVP");
    ensure!(
        is_secure == (security == Security::Sdes),
        "the profile is {profile} where it should be {security:?}"
    );
    ensure!(!is_secure || section.contains("\r\na=crypto:"), "there are no keys: {section}");
    Ok(())
}

fn tag_of(section: &str, suite: Suite) -> Result<&str> {
    for line in section.lines().filter_map(|line| line.strip_prefix("a=crypto:")) {
        let mut words = line.split(' ');
        if let (Some(tag), Some(name)) = (words.next(), words.next())
            && name == suite.name()
        {
            return Ok(tag);
        }
    }
    bail!("the gateway offers no {suite}: {section}")
}

const fn profile(security: Security) -> &'static str {
    match security {
        Security::Sdes => "RTP/SAVP",
        Security::Plain => "RTP/AVP",
    }
}

fn address(first: Ipv4Addr, number: u64) -> SocketAddrV4 {
    // Two media lines have two ports each.
    let port = FIRST_PORT + number % (PORTS / 4) * 4;
    SocketAddrV4::new(first, port as u16)
}

fn head(at: SocketAddrV4) -> String {
    let (ip, session) = (at.ip(), 3_960_000_000_u64 + u64::from(at.port()));
    let mut text = String::with_capacity(1600);
    let _ =
        write!(text, "v=0\r\no=- {session} {session} IN IP4 {ip}\r\ns=call\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
    text
}

fn media(text: &mut String, kind: &str, port: u16, profile: &str) {
    let _ = match kind {
        "video" => write!(
            text,
            "m=video {port} {profile} 96 97\r\nb=AS:1500\r\na=rtpmap:96 H264/90000\r\n\
             a=fmtp:96 profile-level-id=42e01f;packetization-mode=1\r\na=rtpmap:97 VP8/90000\r\na=sendrecv\r\n"
        ),
        _ => write!(
            text,
            "m=audio {port} {profile} 111 9 8 0 101\r\na=rtpmap:111 opus/48000/2\r\n\
             a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n\
             a=sendrecv\r\n"
        ),
    };
}

fn crypto(text: &mut String, tag: &str, suite: Suite, key: &[u8]) {
    let _ = write!(text, "a=crypto:{tag} {suite} inline:");
    BASE64.encode_string(key, text);
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callee_takes_the_suite_that_it_knows_under_the_tag_it_was_offered() {
        let offered = offer(7, Security::Sdes, true).unwrap();
        assert_eq!(offered.matches("a=crypto:").count(), 8);
        let answered = answer(7, &offered, Security::Sdes).unwrap();
        assert_eq!(answered.matches("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:").count(), 2);
        check_all(&answered, Security::Sdes, 2).unwrap();
        assert!(check_all(&answered, Security::Sdes, 1).is_err());
    }

    #[test]
    fn what_is_not_as_it_should_be_is_seen() {
        let plain = offer(1, Security::Plain, false).unwrap();
        assert!(check_all(&plain, Security::Plain, 1).is_ok());
        assert!(answer(1, &plain, Security::Sdes).is_err(), "no keys");
        let refused = plain.replace("m=audio 10004", "m=audio 0");
        assert!(check_all(&refused, Security::Plain, 1).is_err());
    }
}
