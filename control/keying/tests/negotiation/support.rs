//! A gateway between a caller and a callee, and peers that answer.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sluice_keying::dtls_srtp::{Fingerprint, HashFunction};
use sluice_keying::ice::Candidate;
use sluice_keying::negotiation::{
    Agreed, LocalAnswer, LocalOffer, NegotiationError, Origin, OwnAddresses, OwnMedia, Protected,
    RemoteAnswer, RemoteOffer, Standing,
};
use sluice_keying::policy::{BestEffortForm, Policy, Security, Side};
use sluice_keying::sdes::CryptoLine;
use sluice_keying::sdp::{RtpProfile, Sdp, Secured};

/// A crypto line of a peer with a key of its own, by the letter that fills it.
pub(crate) fn crypto(tag: u32, suite: &str, fill: u8) -> String {
    let octets = match suite {
        "AEAD_AES_256_GCM" => 44,
        "AEAD_AES_128_GCM" => 28,
        "AES_256_CM_HMAC_SHA1_80" => 46,
        _ => 30,
    };
    format!("{tag} {suite} inline:{}", STANDARD.encode(vec![fill; octets]))
}

pub(crate) const CM80: &str = "AES_CM_128_HMAC_SHA1_80";
pub(crate) const CM32: &str = "AES_CM_128_HMAC_SHA1_32";
pub(crate) const GCM128: &str = "AEAD_AES_128_GCM";
pub(crate) const GCM256: &str = "AEAD_AES_256_GCM";

/// A description of media lines with their attributes.
pub(crate) fn sdp(address: &str, media: &[(&str, Vec<String>)]) -> String {
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    let mut text =
        format!("v=0\r\no=peer 7 1 IN {family} {address}\r\ns=call\r\nc=IN {family} {address}\r\nt=0 0\r\n");
    for (m, attributes) in media {
        text.extend(["m=", m, "\r\n"]);
        for attribute in attributes {
            text.extend(["a=", attribute, "\r\n"]);
        }
    }
    text
}

/// A description as a peer wrote it, of `tests/vectors/sdp`.
pub(crate) fn captured(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/sdp").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Attributes from their texts.
pub(crate) fn attributes(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// One audio line.
pub(crate) fn audio(proto: &str, texts: &[&str]) -> String {
    sdp("192.0.2.10", &[(&format!("audio 4000 {proto} 0 8 101"), attributes(texts))])
}

/// A branch of a call.
pub(crate) struct Call {
    pub(crate) policy: Policy,
    pub(crate) origins: [Origin; 2],
    pub(crate) standing: [Standing; 2],
    /// Local addresses by side and transport.
    pub(crate) own: [Vec<OwnMedia>; 2],
    counter: u32,
}

impl Call {
    pub(crate) fn new(caller: Security, callee: Security) -> Self {
        let mut policy = Policy::default();
        policy.caller.security = caller;
        policy.callee.security = callee;
        Self::with(policy)
    }

    pub(crate) fn with_form(callee: Security, form: BestEffortForm) -> Self {
        let mut call = Self::new(Security::BestEffort, callee);
        call.policy.callee.best_effort = form;
        call.policy.caller.best_effort = form;
        call
    }

    pub(crate) fn with(policy: Policy) -> Self {
        let mut random = |octets: &mut [u8]| octets.fill(9);
        let own = |address: &str, from: u16| {
            let at = |port| SocketAddr::new(address.parse().expect("an address"), port);
            (0..1024).map(|n| OwnMedia::new(at(from + 2 * n), at(from + 2 * n + 1))).collect()
        };
        Self {
            policy,
            origins: [Origin::new(&mut random), Origin::new(&mut random)],
            standing: [Standing::default(), Standing::default()],
            own: [own("198.51.100.1", 10_000), own("203.0.113.1", 20_000)],
            counter: 0,
        }
    }

    /// The same with a certificate for each side, and candidates.
    pub(crate) fn in_media_path(mut self) -> Self {
        for (side, own) in self.own.iter_mut().enumerate() {
            let certificate: Arc<[Fingerprint]> = [certificate(b'A' + side as u8)].into();
            for media in own {
                let candidates = vec![candidate(1, media.rtp), candidate(2, media.rtcp)];
                media.dtls = Some(Arc::clone(&certificate));
                media.ice = Some(Arc::new(OwnAddresses { candidates, selected: Vec::new() }));
            }
        }
        self
    }

    /// An offer from a side: what was read, and what the other side gets.
    pub(crate) fn offer(
        &mut self,
        from: Side,
        text: &str,
    ) -> Result<(RemoteOffer, LocalOffer), NegotiationError> {
        let (here, there) = (index(from), 1 - index(from));
        let offer = RemoteOffer::reread(text, &self.policy, from, &self.standing[here])?;
        let counter = &mut self.counter;
        let local = LocalOffer::recompose(
            &offer,
            &self.standing[there],
            &self.own[there],
            &self.policy,
            other(from),
            &mut self.origins[there],
            &mut |octets| fill(counter, octets),
        )?;
        assert_eq!(Sdp::parse(local.sdp()).expect("own SDP").write().as_str(), local.sdp());
        Ok((offer, local))
    }

    /// The answer to it.
    pub(crate) fn answer(
        &mut self,
        offer: &RemoteOffer,
        local: &LocalOffer,
        text: &str,
    ) -> Result<(RemoteAnswer, LocalAnswer), NegotiationError> {
        let (here, there) = (index(offer.side()), 1 - index(offer.side()));
        let answer = RemoteAnswer::read(local, text, &self.policy)?;
        let counter = &mut self.counter;
        let made = LocalAnswer::compose(
            offer,
            &answer,
            &self.own[here],
            &self.policy,
            offer.side(),
            &mut self.origins[here],
            &mut |octets| fill(counter, octets),
        )?;
        assert_eq!(Sdp::parse(made.sdp()).expect("own SDP").write().as_str(), made.sdp());
        self.standing[there] = answer.standing().clone();
        self.standing[here] = made.standing().clone();
        Ok((answer, made))
    }

    /// An offer that a peer answers.
    pub(crate) fn exchange(
        &mut self,
        from: Side,
        text: &str,
        peer: Peer,
    ) -> Result<Exchange, NegotiationError> {
        let (offer, local) = self.offer(from, text)?;
        let text = peer.answer(local.sdp());
        let (answer, made) = self.answer(&offer, &local, &text)?;
        Ok(Exchange { offer, local, answer, made })
    }
}

/// What came of an offer and its answer.
pub(crate) struct Exchange {
    pub(crate) offer: RemoteOffer,
    pub(crate) local: LocalOffer,
    pub(crate) answer: RemoteAnswer,
    pub(crate) made: LocalAnswer,
}

impl Exchange {
    /// Of the first transport whether it is SRTP, towards the offerer and towards the answerer.
    pub(crate) fn secure(&self) -> (Option<bool>, Option<bool>) {
        let secure =
            |agreed: Vec<Option<Agreed>>| agreed.into_iter().next().flatten().map(|agreed| is_srtp(&agreed));
        (secure(self.made.agreed()), secure(self.answer.agreed()))
    }
}

pub(crate) fn is_srtp(agreed: &Agreed) -> bool {
    let srtp = [&agreed.inbound, &agreed.outbound].map(|one| *one != Protected::Plain);
    assert_eq!(srtp[0], srtp[1], "both directions are protected, or neither is");
    srtp[0]
}

pub(crate) fn index(side: Side) -> usize {
    match side {
        Side::Caller => 0,
        Side::Callee => 1,
    }
}

pub(crate) fn other(side: Side) -> Side {
    match side {
        Side::Caller => Side::Callee,
        Side::Callee => Side::Caller,
    }
}

/// The fingerprint of a certificate, by a letter.
pub(crate) fn certificate(letter: u8) -> Fingerprint {
    Fingerprint::of(HashFunction::Sha256, &[letter])
}

/// A host's candidate.
pub(crate) fn candidate(component: u16, address: SocketAddr) -> Candidate {
    Candidate::host(component, address, u16::MAX)
}

/// What was agreed on a transport.
pub(crate) fn at(agreed: &[Option<Agreed>], transport: usize) -> &Agreed {
    agreed[transport].as_ref().expect("agreed on")
}

/// Octets that are never the same twice.
fn fill(counter: &mut u32, octets: &mut [u8]) {
    *counter += 1;
    let mixed = counter.wrapping_mul(0x9e37_79b1).to_be_bytes();
    for (octet, (mixed, at)) in octets.iter_mut().zip(mixed.iter().cycle().zip(0_u8..)) {
        *octet = mixed ^ at;
    }
}

/// What a peer can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// RTP only; it knows nothing of crypto lines.
    Plain,
    /// SRTP under a secure profile, RTP under others.
    Sdes,
    /// The same, and RFC 8643.
    Osrtp,
    /// The same as `Sdes`, and RFC 5939.
    Capabilities,
    /// SRTP by a handshake wherever there is a fingerprint, and ICE; RTP under other plain profiles.
    Dtls,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Sdes, Self::Osrtp, Self::Capabilities];

    /// An answer that takes the first line of each medium that it can take.
    pub(crate) fn answer(self, offer: &str) -> String {
        let offer = Sdp::parse(offer).expect("an offer that can be read");
        let mut media = Vec::new();
        let mut taken: Vec<(String, String)> = Vec::new();
        for (line, port) in offer.media().iter().zip((6000..).step_by(2)) {
            let formats: Vec<_> = line.formats().collect();
            let formats = formats.join(" ");
            let twin = (line.kind().to_owned(), formats.clone());
            let accepted = if line.port() == 0 || taken.contains(&twin) { None } else { self.take(line) };
            let Some((profile, mut attributes)) = accepted else {
                media.push((format!("{} 0 {} {formats}", line.kind(), line.proto()), Vec::new()));
                continue;
            };
            taken.push(twin);
            attributes.extend(line.value("mid").map(|mid| format!("mid:{mid}")));
            attributes.extend(line.all("rtpmap").map(|map| format!("rtpmap:{}", map.text())));
            attributes.extend(line.has("rtcp-mux").then(|| "rtcp-mux".to_owned()));
            media.push((format!("{} {port} {} {formats}", line.kind(), profile.name()), attributes));
        }
        let media: Vec<_> = media.iter().map(|(m, attributes)| (m.as_str(), attributes.clone())).collect();
        sdp("192.0.2.20", &media)
    }

    fn take(self, line: &sluice_keying::sdp::Media) -> Option<(RtpProfile, Vec<String>)> {
        let profile = line.profile()?;
        let crypto = |value: &str| {
            let line = CryptoLine::parse(value).expect("a crypto line");
            format!("crypto:{}", self::crypto(line.tag(), line.suite_name(), b'b'))
        };
        let first = line.value("crypto").map(crypto);
        if self == Self::Capabilities && line.has("pcfg") {
            // `1 t=N a=N|…` of one transport: the first of all.
            let (number, proto) = line.value("tcap")?.split_once(' ')?;
            let (attribute, value) = line.value("acap")?.split_once(" crypto:")?;
            let acfg = format!("acfg:1 t={number} a={attribute}");
            return Some((proto.parse().ok()?, vec![crypto(value), acfg]));
        }
        if self == Self::Dtls && line.has("fingerprint") {
            let ice = ["ice-ufrag:peer", "ice-pwd:0123456789012345678901", "ice-options:trickle"];
            let dtls = [format!("fingerprint:{}", certificate(b'q')), "setup:active".to_owned()];
            let ice = ice.iter().filter(|_| line.has("ice-ufrag")).map(|text| (*text).to_owned());
            return Some((profile, dtls.into_iter().chain(ice).collect()));
        }
        match profile.secured {
            Secured::Plain if self == Self::Osrtp => Some((profile, first.into_iter().collect())),
            Secured::Plain => Some((profile, Vec::new())),
            Secured::Srtp if !matches!(self, Self::Plain | Self::Dtls) => Some((profile, vec![first?])),
            _ => None,
        }
    }
}

/// All lines of a text that begin so.
pub(crate) fn lines<'t>(text: &'t str, beginning: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.starts_with(beginning)).collect()
}
