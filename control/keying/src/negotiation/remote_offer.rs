//! An offer that came from a peer.

use std::net::SocketAddr;

use super::address::Remote;
use super::capabilities::{self, Capabilities, Required};
use super::choice::{Choice, Choices};
use super::transports::{Groups, follow_tagged, number_transports};
use super::{Direction, Fault, NegotiationError, Standing, ice, twins};
use crate::ice::PeerIce;
use crate::policy::{ForeignKeying, IceUse, Keying, Policy, PolicyViolation, Rule, Security, Side};
use crate::sdp::{Line, Media, RtpProfile, Sdp, Secured};

/// An offer that came from a peer, read and judged.
#[derive(Clone, Debug)]
pub struct RemoteOffer {
    /// As it is with the chosen configurations: what is offered to the other peer comes of it.
    pub(super) sdp: Sdp,
    pub(super) media: Vec<RemoteMedia>,
    /// What stood with the peer before.
    pub(super) since: Standing,
    pub(super) side: Side,
    pub(super) transports: usize,
    /// Extensions were required that are not known: the answer tells those that are.
    pub(super) tell_supported: bool,
}

/// A media line of an offer.
#[derive(Clone, Debug)]
pub struct RemoteMedia {
    /// `audio`, `video`.
    pub kind: String,
    /// What becomes of it.
    pub treatment: Treatment,
    /// What is left to choose from, the best first. Empty unless it passes the gateway.
    pub choices: Vec<Choice>,
    /// The transport by which it passes the gateway; lines of a BUNDLE group that passes share one.
    pub transport: Option<usize>,
    /// Where the peer receives RTP; none while it has no address.
    pub remote: Option<SocketAddr>,
    /// Where it receives RTCP, if it says so.
    pub remote_rtcp: Option<SocketAddr>,
    /// Whether it offers RTP and RTCP on one port (RFC 5761).
    pub rtcp_mux: bool,
    /// Its name in groups (RFC 5888).
    pub mid: Option<String>,
    /// Which way media flows, as the peer sees it; a hold by 0.0.0.0 is one.
    pub direction: Direction,
    /// Its payload types.
    pub payload_types: Vec<u8>,
    /// SSRCs that the peer says it will send (RFC 5576).
    pub ssrcs: Vec<u32>,
    /// What it says for ICE, if it does and nothing on the way has changed its address.
    pub(super) ice: Option<ice::Said>,
    /// Whether it is in a BUNDLE group that passes.
    pub(super) grouped: bool,
    /// Of a bundled line the first of its group, if that is another.
    pub(super) tagged: Option<usize>,
    /// The line that offers the same medium in another profile.
    pub(super) partner: Option<usize>,
    /// The transport protocol that was written.
    pub(super) proto: String,
    /// Required extensions of capability negotiation are not known.
    pub(super) tell_supported: bool,
}

/// What becomes of a media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It passes the gateway.
    Gateway,
    /// It goes by the gateway: the other peer gets it as it is.
    Around,
    /// It is not used: its port is 0.
    Unused,
    /// Another line offers the same medium, and is better.
    Twin,
    /// It is refused.
    Refused(NegotiationError),
}

impl RemoteOffer {
    /// Reads the first offer of a peer on a side of the gateway.
    ///
    /// # Errors
    /// [`NegotiationError`] if it cannot be read, contradicts itself, or has no media line that the policy takes. A
    /// line that is refused while others are taken has [`Treatment::Refused`].
    pub fn read(sdp: &str, policy: &Policy, side: Side) -> Result<Self, NegotiationError> {
        Self::reread(sdp, policy, side, &Standing::default())
    }

    /// Reads an offer of a peer with which something stands: its lines keep their transports.
    ///
    /// # Errors
    /// As of [`RemoteOffer::read`], and [`NegotiationError::LinesRemoved`].
    pub fn reread(
        sdp: &str,
        policy: &Policy,
        side: Side,
        since: &Standing,
    ) -> Result<Self, NegotiationError> {
        let mut sdp = Sdp::parse(sdp)?;
        let (got, want) = (sdp.media().len(), since.lines.len());
        if got < want {
            return Err(NegotiationError::LinesRemoved { want, got });
        }
        let tell_supported = has_unknown_required(&sdp);
        let reader = Reader { policy, side, groups: Groups::read(&sdp, policy, since)? };
        let mut media = Vec::with_capacity(got);
        for line in 0..got {
            media.push(reader.line(&sdp, line)?);
        }
        twins::pair(&mut media, &sdp, since);
        follow_tagged(&mut media);
        let transports = number_transports(&mut media, since);
        for (line, media) in media.iter().enumerate() {
            apply(&mut sdp, line, media)?;
        }
        let offer = Self { sdp, media, since: since.clone(), side, transports, tell_supported };
        offer.check_any_left()?;
        Ok(offer)
    }

    /// Its media lines in their order.
    pub fn media(&self) -> &[RemoteMedia] {
        &self.media
    }

    /// How many transports the session has had: local addresses are given for numbers below it.
    pub fn transports(&self) -> usize {
        self.transports
    }

    /// Whether a transport is used by this offer. One that is not was removed.
    pub fn uses(&self, transport: usize) -> bool {
        self.line_of(transport).is_some()
    }

    /// Which side it came from.
    pub fn side(&self) -> Side {
        self.side
    }

    /// A line that says where the peer takes plain RTP of a transport before an answer: who offers "MUST be prepared to
    /// receive media" (RFC 3264 section 5.1), of the actual configuration at least (RFC 5939 section 3.9). None where the
    /// policy does not let it have plain RTP, it receives nothing, has no address, or is found by checks.
    pub fn takes_plain_early(&self, transport: usize) -> Option<&RemoteMedia> {
        let line = &self.media[self.line_of(transport)?];
        let plain = |choice: &Choice| !choice.is_secure() && !choice.is_potential();
        let receives = |media: &RemoteMedia| media.transport == Some(transport) && media.direction.receives();
        let placed = line.remote.is_some() && line.ice().is_none();
        (placed && line.choices.iter().any(plain) && self.media.iter().any(receives)).then_some(line)
    }

    /// Lines that are refused, each with the reason.
    pub fn refusals(&self) -> impl Iterator<Item = &NegotiationError> {
        self.media.iter().filter_map(|media| match &media.treatment {
            Treatment::Refused(reason) => Some(reason),
            _ => None,
        })
    }

    /// The first line of a transport.
    pub(super) fn line_of(&self, transport: usize) -> Option<usize> {
        let of =
            |media: &RemoteMedia| media.treatment == Treatment::Gateway && media.transport == Some(transport);
        self.media.iter().position(of)
    }

    fn check_any_left(&self) -> Result<(), NegotiationError> {
        let left = |media: &RemoteMedia| matches!(media.treatment, Treatment::Gateway | Treatment::Around);
        if self.media.iter().any(left) {
            return Ok(());
        }
        self.refusals().next().map_or(Ok(()), |reason| Err(reason.clone()))
    }
}

impl RemoteMedia {
    /// What is taken: the best choice. None if it does not pass the gateway.
    pub fn chosen(&self) -> Option<&Choice> {
        self.choices.first().filter(|_| self.treatment == Treatment::Gateway)
    }

    /// What the peer says of itself for ICE (RFC 8839). None too where what it says does not fit its address, so that ICE
    /// is not used.
    pub fn ice(&self) -> Option<&PeerIce> {
        self.ice.as_ref().filter(|said| !said.mismatch).map(|said| &said.peer)
    }
}

struct Reader<'a> {
    policy: &'a Policy,
    side: Side,
    groups: Groups,
}

impl Reader<'_> {
    fn line(&self, sdp: &Sdp, line: usize) -> Result<RemoteMedia, NegotiationError> {
        let media = &sdp.media()[line];
        self.read(sdp, line).map_err(|fault| NegotiationError::media(line, media.kind(), fault))
    }

    fn read(&self, sdp: &Sdp, line: usize) -> Result<RemoteMedia, Fault> {
        let media = &sdp.media()[line];
        let tagged = self.groups.tagged[line];
        let mut read = RemoteMedia {
            kind: media.kind().to_owned(),
            treatment: Treatment::Unused,
            choices: Vec::new(),
            transport: None,
            remote: None,
            remote_rtcp: None,
            rtcp_mux: media.has("rtcp-mux"),
            mid: media.value("mid").map(|mid| mid.trim().to_owned()),
            direction: sdp.direction(line),
            payload_types: media.payload_types(),
            ssrcs: media.ssrcs()?,
            ice: None,
            grouped: self.groups.is_used(line),
            tagged,
            partner: None,
            proto: media.proto().to_owned(),
            tell_supported: false,
        };
        // A bundle-only line has port 0 and is used all the same (RFC 8843 section 6).
        if media.port() == 0 && !self.groups.is_used(line) {
            return Ok(read);
        }
        let Some(profile) = media.profile() else {
            read.treatment = self.foreign_transport(media, line);
            return Ok(read);
        };
        let capabilities = capabilities_of(sdp, line);
        read.tell_supported = capabilities.unsupported == Required::ByMedia;
        let levels = self.groups.levels(sdp, line);
        let choices = Choices::read(sdp, line, &levels, &capabilities, self.policy, self.side)?;
        read.treatment = self.treatment(sdp, line, profile, &choices)?;
        read.choices = choices.ranked;
        if read.treatment == Treatment::Gateway {
            if media.port_count() > 1 {
                read.treatment = refused(line, media, Fault::PortCount { count: media.port_count() });
            }
            let remote = Remote::read(sdp, self.groups.place(line), levels.first("ice-ufrag").is_some())?;
            (read.remote, read.remote_rtcp) = (remote.rtp, remote.rtcp);
            if self.policy.peer(self.side).ice != IceUse::Off {
                let rtcp = remote.rtcp.filter(|_| !read.rtcp_mux);
                read.ice = ice::Said::read(&levels, remote.rtp, rtcp)?;
            }
            if remote.held {
                read.direction = read.direction.without_receiving();
            }
        }
        Ok(read)
    }

    /// What becomes of a line of RTP with these choices.
    fn treatment(
        &self,
        sdp: &Sdp,
        line: usize,
        profile: RtpProfile,
        choices: &Choices,
    ) -> Result<Treatment, Fault> {
        let media = &sdp.media()[line];
        let foreign = self.foreign_keying(sdp, line, profile);
        let best = choices.ranked.first();
        let reason = match (foreign, best) {
            (None, Some(_)) => return Ok(Treatment::Gateway),
            (Some(_), Some(best)) if best.is_secure() => return Ok(Treatment::Gateway),
            (Some(keying), _) => match self.policy.foreign_keying {
                ForeignKeying::Pass if self.may_go_around(profile) => return Ok(Treatment::Around),
                ForeignKeying::Refuse => {
                    let reason = format!("it is keyed by {keying}, which the gateway does not speak");
                    return Err(PolicyViolation::new(Rule::ForeignKeying, reason).into());
                }
                _ if best.is_some() => return Ok(Treatment::Gateway),
                _ => match choices.fault.clone() {
                    Some(fault) if !matches!(fault, Fault::NoKeys { .. }) => fault,
                    _ => Fault::ForeignKeying { keying },
                },
            },
            (None, None) => {
                choices.fault.clone().unwrap_or_else(|| Fault::NoKeys { profile: profile.to_string() })
            }
        };
        Ok(refused(line, media, reason))
    }

    /// What keys a line that the gateway cannot key.
    fn foreign_keying(&self, sdp: &Sdp, line: usize, profile: RtpProfile) -> Option<Keying> {
        let dtls = profile.secured == Secured::DtlsSrtp || sdp.inherited(line, "fingerprint").is_some();
        if dtls && !self.policy.keyings_of(self.side).contains(&Keying::DtlsSrtp) {
            return Some(Keying::DtlsSrtp);
        }
        if sdp.inherited(line, "key-mgmt").is_some() {
            return Some(Keying::Mikey);
        }
        sdp.media()[line].has("zrtp-hash").then_some(Keying::Zrtp)
    }

    /// What the gateway does not see must be SRTP by its profile where SRTP is required.
    fn may_go_around(&self, profile: RtpProfile) -> bool {
        profile.secured != Secured::Plain || self.policy.peer(self.side).security != Security::Required
    }

    /// What becomes of a line that is not RTP over UDP: the gateway cannot carry it.
    fn foreign_transport(&self, media: &Media, line: usize) -> Treatment {
        let proto = media.proto();
        // Without the attributes that `Remove` takes out, TLS could not be set up.
        let keyed = proto
            .split('/')
            .any(|part| part.eq_ignore_ascii_case("TLS") || part.eq_ignore_ascii_case("DTLS"));
        match self.policy.foreign_keying {
            // Its transport would be that of lines that pass the gateway.
            _ if self.groups.is_used(line) => {
                refused(line, media, Fault::ForeignTransport { proto: proto.chars().take(64).collect() })
            }
            ForeignKeying::Pass => Treatment::Around,
            ForeignKeying::Remove if !keyed => Treatment::Around,
            _ => refused(line, media, Fault::ForeignTransport { proto: proto.chars().take(64).collect() }),
        }
    }
}

fn refused(line: usize, media: &Media, fault: Fault) -> Treatment {
    Treatment::Refused(NegotiationError::media(line, media.kind(), fault))
}

fn capabilities_of(sdp: &Sdp, line: usize) -> Capabilities {
    let session = sdp.session().attributes().map(|attribute| (attribute.name, attribute.text()));
    let media = sdp.media()[line].attributes().map(|attribute| (attribute.name, attribute.text()));
    Capabilities::read(session, media)
}

fn has_unknown_required(sdp: &Sdp) -> bool {
    let session = sdp.session().attributes().map(|attribute| (attribute.name, attribute.text()));
    Capabilities::read(session, std::iter::empty()).unsupported == Required::BySession
}

/// Puts the chosen configuration in the actual one's place (RFC 5939 section 3.6.2).
fn apply(sdp: &mut Sdp, line: usize, read: &RemoteMedia) -> Result<(), NegotiationError> {
    let Some(configuration) = read.chosen().and_then(|choice| choice.configuration.as_ref()) else {
        return Ok(());
    };
    let media = &mut sdp.media_mut()[line];
    if configuration.without_media {
        media.retain_attributes(|_| false);
    }
    media.retain_attributes(|attribute| !capabilities::ATTRIBUTES.contains(&attribute.name));
    let lines = media.lines().count();
    let first = media.lines().position(|line| line.kind() == 'a').unwrap_or(lines);
    // "All such added media-level attributes MUST be listed before the media-level attributes that were initially
    // present", and in their order.
    for (at, attribute) in (first..).zip(&configuration.attributes) {
        media.insert(at, Line::attribute(&attribute.name, attribute.value.as_deref())?)?;
    }
    if let Some(proto) = &configuration.proto {
        media.set_proto(proto)?;
    }
    Ok(())
}
