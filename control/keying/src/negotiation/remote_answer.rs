//! The answer that a peer gave to the gateway's offer.

use std::collections::HashMap;

use super::address::Remote;
use super::dtls::{self, Place};
use super::form::Form;
use super::formats::Common;
use super::levels::Levels;
use super::local_offer::{LocalLine, Role};
use super::standing::StandingLine;
use super::taken::{Taken, Taking};
use super::transports::Groups;
use super::{Agreed, Direction, Fault, LocalOffer, NegotiationError, Standing, ice};
use crate::ice::{AgreedIce, OwnIce};
use crate::policy::{Keying, Policy};
use crate::sdes::CryptoLine;
use crate::sdp::{Media, RtpProfile, Sdp};

/// An answer that came from a peer, held against what it was offered.
#[derive(Clone, Debug)]
pub struct RemoteAnswer {
    pub(super) sdp: Sdp,
    pub(super) lines: Vec<AnsweredLine>,
    agreed: Vec<Option<Agreed>>,
    standing: Standing,
}

/// A media line of it.
#[derive(Clone, Debug)]
pub(super) struct AnsweredLine {
    /// The line of the other peer's offer that it carries on.
    pub(super) source: Option<usize>,
    /// Whether it is accepted, and passes the gateway or goes by it.
    pub(super) accepted: bool,
    pub(super) common: Common,
    pub(super) direction: Direction,
    pub(super) rtcp_mux: bool,
    profile: Option<RtpProfile>,
    /// The peer's crypto line and the gateway's that it accepts, if it is keyed so.
    crypto: Option<(CryptoLine, CryptoLine)>,
    agreed: Option<Agreed>,
    association: Option<dtls::Association>,
    mid: Option<String>,
}

impl RemoteAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`NegotiationError`] if it cannot be read, or agrees on anything that was not offered: a profile, a suite, a
    /// configuration, plain RTP where SRTP is required.
    pub fn read(offer: &LocalOffer, sdp: &str, policy: &Policy) -> Result<Self, NegotiationError> {
        let sdp = Sdp::parse(sdp)?;
        let (got, want) = (sdp.media().len(), offer.lines.len());
        // "the answer MUST contain exactly the same number of "m=" lines as the offer" (RFC 3264 section 6).
        if got != want {
            return Err(NegotiationError::LinesDiffer { want, got });
        }
        let grouped = |line: usize| offer.lines.get(line).is_some_and(|line| line.tagged.is_some());
        let groups = Groups::answered(&sdp, grouped)?;
        let reader = Reader { offer, sdp: &sdp, policy, groups };
        let mut lines = Vec::with_capacity(got);
        for (line, offered) in offer.lines.iter().enumerate() {
            let read = reader.line(line, offered);
            lines.push(read.map_err(|fault| NegotiationError::media(line, offered.media.kind(), fault))?);
        }
        leave_one_of_two(offer, &mut lines);
        let agreed = by_transport(offer, &lines);
        let standing = standing(offer, &lines);
        Ok(Self { sdp, lines, agreed, standing })
    }

    /// What was agreed on with the peer that answered, by transport. None: it was refused, or is not used.
    pub fn agreed(&self) -> Vec<Option<Agreed>> {
        self.agreed.clone()
    }

    /// What stands with that peer from now on.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The accepted line that carries on a line of the other peer's offer.
    pub(super) fn of_source(&self, source: usize) -> Option<(usize, &AnsweredLine)> {
        let carries = |line: &&AnsweredLine| line.source == Some(source);
        self.lines.iter().enumerate().find(|(_, line)| carries(line) && line.accepted)
    }
}

struct Reader<'a> {
    offer: &'a LocalOffer,
    sdp: &'a Sdp,
    policy: &'a Policy,
    groups: Groups,
}

impl Reader<'_> {
    fn line(&self, line: usize, offered: &LocalLine) -> Result<AnsweredLine, Fault> {
        let media = &self.sdp.media()[line];
        let refused = AnsweredLine::refused(offered);
        if !media.kind().eq_ignore_ascii_case(offered.media.kind()) {
            let (want, got) = (offered.media.kind().to_owned(), media.kind().chars().take(32).collect());
            return Err(Fault::MediaChanged { want, got });
        }
        if media.port() == 0 {
            return Ok(refused);
        }
        match offered.role {
            Role::Dead => Err(Fault::NotOffered),
            Role::Around => Ok(AnsweredLine { accepted: true, ..refused }),
            // A line that was offered in its group only, and is answered out of it, has no transport.
            Role::Gateway(_) if self.is_unbundled(line, offered) => Ok(refused),
            Role::Gateway(form) => self.gateway(line, media, offered, form),
        }
    }

    fn is_unbundled(&self, line: usize, offered: &LocalLine) -> bool {
        offered.tagged.is_some() && self.groups.tagged[line] != offered.tagged
    }

    fn gateway(
        &self,
        line: usize,
        media: &Media,
        offered: &LocalLine,
        form: Form,
    ) -> Result<AnsweredLine, Fault> {
        // The transport and its keys are those of the group's first line (RFC 8843 section 7.2).
        let transport = self.groups.tagged[line].filter(|_| offered.tagged.is_some()).unwrap_or(line);
        let levels = Levels::of(self.sdp, transport);
        let remote = Remote::read(self.sdp, transport, levels.first("ice-ufrag").is_some())?;
        let common = Common::of(&offered.media, media)?;
        if common.formats.is_empty() {
            return Err(Fault::NoFormat);
        }
        let said = self.sdp.direction(line);
        let said = if remote.held { said.without_receiving() } else { said };
        let direction = said.in_answer_to(offered.direction);
        let rtcp_mux = offered.rtcp_mux && self.sdp.media()[transport].has("rtcp-mux");
        let ice = match &offered.ice {
            Some(own) if offered.tagged.is_none() => agreed_ice(own, offered, &levels, &remote, rtcp_mux)?,
            _ => None,
        };
        let place = Place { remote: remote.rtp, by_checks: ice.is_some() };
        let taken = match offered.tagged {
            None => self.taking().read(media, offered, form, &levels, place)?,
            Some(_) => Taken::Plain,
        };
        let agreed = Agreed {
            remote: remote.rtp,
            remote_rtcp: remote.rtcp.filter(|_| !rtcp_mux),
            rtcp_mux,
            keying: taken.keying(),
            inbound: taken.protects(|(theirs, _)| theirs, self.policy.peer(self.offer.side))?,
            outbound: taken.protects(|(_, ours)| ours, self.policy.peer(self.offer.side))?,
            payload_types: common.payload_types.clone(),
            codecs: common.codecs.clone(),
            ssrcs: media.ssrcs()?,
            direction,
            dtls: taken.dtls().cloned(),
            ice,
        };
        let since = offered.since.as_deref();
        Ok(AnsweredLine {
            source: offered.source,
            accepted: true,
            common,
            direction,
            rtcp_mux,
            profile: media.profile(),
            association: dtls::association(taken.dtls(), since, remote.rtp),
            mid: offered.media.value("mid").map(|mid| mid.trim().to_owned()),
            crypto: taken.crypto(),
            agreed: Some(agreed),
        })
    }

    fn taking(&self) -> Taking<'_> {
        Taking { policy: self.policy, side: self.offer.side }
    }
}

/// What is agreed on for checks; none: the peer takes no part in them.
fn agreed_ice(
    own: &OwnIce,
    offered: &LocalLine,
    levels: &Levels<'_>,
    remote: &Remote,
    rtcp_mux: bool,
) -> Result<Option<AgreedIce>, Fault> {
    let said = ice::Said::read(levels, remote.rtp, remote.rtcp.filter(|_| !rtcp_mux))?;
    let Some(said) = said.filter(|said| !said.mismatch) else { return Ok(None) };
    let own = ice::muxed(own.clone(), rtcp_mux);
    let standing = offered.since.as_ref().and_then(|since| since.ice.as_ref());
    Ok(Some(ice::agree(own, said.peer, true, standing)))
}

/// Of two lines that offer one medium the secure one is left. Who knows no such pairs takes both; the next offer has
/// the other with port 0.
fn leave_one_of_two(offer: &LocalOffer, lines: &mut [AnsweredLine]) {
    for line in 0..lines.len() {
        let Some(partner) = offer.lines[line].partner.filter(|partner| *partner < lines.len()) else {
            continue;
        };
        let both = lines[line].accepted && lines[partner].accepted;
        if both && lines[line].agreed.as_ref().is_some_and(|agreed| agreed.keying != Keying::None) {
            lines[partner] = AnsweredLine::refused(&offer.lines[partner]);
        }
    }
}

/// What was agreed on, line by line, put together by transports: lines of a group share one.
fn by_transport(offer: &LocalOffer, lines: &[AnsweredLine]) -> Vec<Option<Agreed>> {
    let lines = offer.lines.iter().zip(lines).filter_map(|(offered, line)| {
        Some(Joined {
            transport: offered.transport?,
            bundled: offered.tagged.is_some(),
            agreed: line.agreed.as_ref()?,
        })
    });
    join(offer.transports, &lines.collect::<Vec<_>>())
}

/// What was agreed on for a line, and its place.
pub(super) struct Joined<'a> {
    pub(super) transport: usize,
    pub(super) bundled: bool,
    pub(super) agreed: &'a Agreed,
}

/// Puts lines together by transports. A bundled one adds what it carries; transport and keys are its group's first
/// one's, without which it is not there.
pub(super) fn join(transports: usize, lines: &[Joined<'_>]) -> Vec<Option<Agreed>> {
    let mut all: Vec<Option<Agreed>> = vec![None; transports];
    for line in lines.iter().filter(|line| !line.bundled) {
        if let Some(place) = all.get_mut(line.transport) {
            *place = Some(line.agreed.clone());
        }
    }
    for line in lines.iter().filter(|line| line.bundled) {
        let Some(Some(agreed)) = all.get_mut(line.transport) else { continue };
        let added = line.agreed;
        agreed.direction = Direction::new(
            agreed.direction.sends() || added.direction.sends(),
            agreed.direction.receives() || added.direction.receives(),
        );
        let types = &mut agreed.payload_types;
        types.extend(
            added.payload_types.iter().filter(|added| !types.contains(added)).copied().collect::<Vec<_>>(),
        );
        let named = |(number, _): &&(u8, String)| agreed.codecs.iter().all(|(known, _)| known != number);
        let codecs: Vec<_> = added.codecs.iter().filter(named).cloned().collect();
        agreed.codecs.extend(codecs);
        agreed.ssrcs.extend_from_slice(&added.ssrcs);
    }
    all
}

fn standing(offer: &LocalOffer, lines: &[AnsweredLine]) -> Standing {
    // The line that was taken carries the medium on; of two the other one only keeps its place.
    let mut carries: HashMap<usize, usize> = HashMap::new();
    for (line, answered) in lines.iter().enumerate() {
        let Some(source) = answered.source else { continue };
        if answered.accepted || !carries.contains_key(&source) {
            carries.insert(source, line);
        }
    }
    let standing = |(line, (offered, answered)): (usize, (&LocalLine, &AnsweredLine))| {
        let theirs = answered.crypto.as_ref().map(|(theirs, _)| theirs.clone());
        StandingLine {
            media: offered.media.kind().to_owned(),
            other: offered.source.filter(|source| carries.get(source) == Some(&line)),
            partner: offered.partner,
            transport: offered.transport,
            active: answered.accepted,
            own: offered.own.clone(),
            keys: offered.keys.clone(),
            peer: theirs,
            dtls: answered.association.clone(),
            ice: answered.agreed.as_ref().and_then(|agreed| agreed.ice.clone()),
            mid: answered.mid.clone(),
            profile: answered.profile,
        }
    };
    Standing {
        lines: offer.lines.iter().zip(lines).enumerate().map(standing).collect(),
        transports: offer.transports,
    }
}

impl AnsweredLine {
    fn refused(offered: &LocalLine) -> Self {
        Self {
            source: offered.source,
            accepted: false,
            common: Common::default(),
            direction: Direction::Inactive,
            rtcp_mux: false,
            profile: None,
            crypto: None,
            agreed: None,
            association: None,
            mid: None,
        }
    }
}
