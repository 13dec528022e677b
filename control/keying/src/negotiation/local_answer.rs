//! The answer that the gateway gives to a peer from another's.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::choice::Keyed;
use super::dtls::{self, Place};
use super::remote_answer::{AnsweredLine, Joined, join};
use super::standing::StandingLine;
use super::transports::mux_passes;
use super::{
    Agreed, Choice, Fault, NegotiationError, Origin, OwnMedia, Protected, RemoteAnswer, RemoteMedia,
    RemoteOffer, Standing, Treatment, capabilities, formats, ice, keys, local_offer, rewrite,
};
use crate::policy::{Keying, Policy, Side};
use crate::sdes::CryptoLine;
use crate::sdp::{Media, RtpProfile, Sdp};

/// An answer to a peer: its SDP, and what was agreed on with it.
#[derive(Clone)]
pub struct LocalAnswer {
    text: Zeroizing<String>,
    agreed: Vec<Option<Agreed>>,
    standing: Standing,
}

impl LocalAnswer {
    /// Makes the answer to a peer's offer from another peer's answer. `own` has local addresses towards the offerer by
    /// transport, `random` fills what it is given from a cryptographic source.
    ///
    /// Keys stay as they stood when the offer was read, where the peer's key and the local address are the same.
    ///
    /// # Errors
    /// [`NegotiationError`] if there are fewer addresses than transports, or the offer's keys cannot be used.
    pub fn compose(
        offer: &RemoteOffer,
        answer: &RemoteAnswer,
        own: &[OwnMedia],
        policy: &Policy,
        side: Side,
        origin: &mut Origin,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, NegotiationError> {
        let address = local_offer::first_address(offer, own);
        let mut composer = Composer { offer, answer, own, policy, side, address, random };
        let mut lines = Vec::with_capacity(offer.media.len());
        for (line, media) in offer.media.iter().enumerate() {
            let made = composer.line(line, media);
            lines.push(made.map_err(|fault| match fault {
                Failed::Own(error) => error,
                Failed::Line(fault) => NegotiationError::media(line, &media.kind, fault),
            })?);
        }
        let mut sdp = composer.description(&lines)?;
        let text = origin.sign(&mut sdp, address)?;
        let (agreed, standing) = (composer.by_transport(&lines), composer.standing(lines));
        Ok(Self { text, agreed, standing })
    }

    /// The SDP. It has keys in it.
    pub fn sdp(&self) -> &str {
        &self.text
    }

    /// What was agreed on with the offerer, by transport. None: it was refused, or is not used.
    pub fn agreed(&self) -> Vec<Option<Agreed>> {
        self.agreed.clone()
    }

    /// What stands with that peer from now on. For a further answer to the same offer, see [`RemoteOffer::answered`].
    pub fn standing(&self) -> &Standing {
        &self.standing
    }
}

impl RemoteOffer {
    /// Takes note of an answer that was given, so that a further one to this offer (a final one after a provisional
    /// one) has the same keys.
    pub fn answered(&mut self, answer: &LocalAnswer) {
        self.since = answer.standing.clone();
    }
}

impl std::fmt::Debug for LocalAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalAnswer").field("agreed", &self.agreed).finish_non_exhaustive()
    }
}

/// A line of the answer.
struct Line {
    media: Media,
    /// The line of the other peer's that it carries on.
    other: Option<usize>,
    accepted: bool,
    own: Option<OwnMedia>,
    key: Option<CryptoLine>,
    association: Option<dtls::Association>,
    profile: Option<RtpProfile>,
    agreed: Option<Agreed>,
}

/// What went wrong: with the gateway's own, or with the line.
pub(super) enum Failed {
    Own(NegotiationError),
    Line(Fault),
}

impl<F: Into<Fault>> From<F> for Failed {
    fn from(fault: F) -> Self {
        Self::Line(fault.into())
    }
}

pub(super) struct Composer<'a> {
    pub(super) offer: &'a RemoteOffer,
    pub(super) answer: &'a RemoteAnswer,
    pub(super) own: &'a [OwnMedia],
    pub(super) policy: &'a Policy,
    pub(super) side: Side,
    pub(super) address: Option<IpAddr>,
    pub(super) random: &'a mut dyn FnMut(&mut [u8]),
}

impl Composer<'_> {
    fn line(&mut self, line: usize, read: &RemoteMedia) -> Result<Line, Failed> {
        let taken = matches!(read.treatment, Treatment::Gateway | Treatment::Around);
        let Some((other, answered)) = self.answer.of_source(line).filter(|_| taken) else {
            return self.refused(line, read);
        };
        match read.chosen() {
            None => Ok(Line {
                media: rewrite::around(&self.answer.sdp, other)?,
                accepted: true,
                other: Some(other),
                ..self.refused(line, read)?
            }),
            Some(choice) => self.gateway(line, read, choice, other, answered),
        }
    }

    fn gateway(
        &mut self,
        line: usize,
        read: &RemoteMedia,
        choice: &Choice,
        other: usize,
        answered: &AnsweredLine,
    ) -> Result<Line, Failed> {
        let transport = read.transport.unwrap_or_default();
        let missing = NegotiationError::NoOwnAddress { transport };
        let own = self.own.get(transport).ok_or(Failed::Own(missing))?;
        let standing = self.offer.since.line(line);
        let peer = self.policy.peer(self.side);
        let ice = read.ice.as_ref().zip(own.ice.as_deref());
        // It ends here, or RTCP would need a handshake or checks of its own: who offers it gets it. It passes: who
        // answers it has the say.
        let needed = ice.is_some() || choice.keying() == Keying::DtlsSrtp;
        let rtcp_mux = read.rtcp_mux && (answered.rtcp_mux || needed || !mux_passes(self.policy));
        let ice = ice.filter(|(said, _)| !said.mismatch);
        let key = match choice.crypto() {
            Some(accepted) if read.tagged.is_none() => {
                Some(keys::answered(accepted, standing, own, peer, self.random)?)
            }
            _ => None,
        };
        let handshake = match &choice.keyed {
            Keyed::Dtls(said) if read.tagged.is_none() => {
                let place = Place { remote: read.remote, by_checks: ice.is_some() };
                Some(self.handshake(said, transport, place, standing)?)
            }
            _ => None,
        };
        let ice = ice.filter(|_| read.tagged.is_none());
        let ice = ice.map(|(said, addresses)| self.checks(said, addresses, standing, own, rtcp_mux));
        let mut media = self.answer.sdp.media()[other].clone();
        rewrite::strip(&mut media);
        formats::keep(&mut media, &answered.common.formats)?;
        rewrite::set_profile(&mut media, choice.profile);
        rewrite::set_own(&mut media, own, self.address, rtcp_mux)?;
        rewrite::set_direction(&mut media, self.answer.sdp.session(), answered.direction)?;
        set_mid(&mut media, read.mid.as_deref())?;
        let value = key.as_ref().map(CryptoLine::value);
        let crypto = value.iter().map(|value| ("crypto", value.as_str()));
        let said = handshake
            .as_ref()
            .map(|(answered, named)| rewrite::handshake(&answered.own, answered.setup, *named));
        let said = said.iter().flatten().map(|(name, value)| (*name, value.as_str()));
        rewrite::put_keying(&mut media, &crypto.chain(said).collect::<Vec<_>>())?;
        match (&ice, &read.ice) {
            (Some(agreed), _) => ice::write(&mut media, &agreed.own, &[])?,
            // "an agent MAY include an "ice-mismatch" attribute" (RFC 8839 section 4.2.5).
            (None, Some(said)) if said.mismatch && own.ice.is_some() && read.tagged.is_none() => {
                media.push_attribute("ice-mismatch", None)?;
            }
            _ => {}
        }
        if let Some(configuration) = &choice.configuration {
            media.set_attribute("acfg", Some(&configuration.acfg))?;
        }
        if read.tell_supported {
            media.set_attribute("csup", Some(capabilities::SUPPORTED))?;
        }
        let protected = |line: Option<&CryptoLine>| match (&choice.keyed, line) {
            (Keyed::Dtls(_), _) => Ok(Protected::InMediaPath),
            (_, Some(line)) => keys::protected(line, peer),
            (_, None) => Ok(Protected::Plain),
        };
        let dtls = handshake.and_then(|(answered, _)| answered.agreed);
        let association = dtls::association(dtls.as_ref(), standing, read.remote);
        let agreed = Agreed {
            remote: read.remote,
            remote_rtcp: read.remote_rtcp.filter(|_| !rtcp_mux),
            rtcp_mux,
            keying: choice.keying(),
            inbound: protected(choice.crypto())?,
            outbound: protected(key.as_ref())?,
            payload_types: answered.common.payload_types.clone(),
            codecs: answered.common.codecs.clone(),
            ssrcs: read.ssrcs.clone(),
            direction: answered.direction.reversed(),
            dtls,
            ice,
        };
        Ok(Line {
            media,
            other: Some(other),
            accepted: true,
            own: Some(own.clone()),
            key,
            association,
            profile: Some(choice.profile),
            agreed: Some(agreed),
        })
    }

    /// A line with port 0, under the protocol and formats that it was offered with.
    fn refused(&self, line: usize, read: &RemoteMedia) -> Result<Line, Failed> {
        let offered = &self.offer.sdp.media()[line];
        let media = rewrite::dead(&read.kind, &read.proto, offered.formats())?;
        Ok(Line {
            media,
            other: None,
            accepted: false,
            own: None,
            key: None,
            association: None,
            profile: None,
            agreed: None,
        })
    }

    fn description(&self, lines: &[Line]) -> Result<Sdp, NegotiationError> {
        let mut sdp = self.answer.sdp.clone();
        rewrite::replace_media(&mut sdp, lines.iter().map(|line| &line.media))?;
        let gateway = |line: &Line| line.agreed.is_some();
        if lines.iter().any(gateway) || !lines.iter().any(|line| line.accepted) {
            rewrite::own_session(&mut sdp, self.address)?;
        }
        if self.offer.tell_supported {
            sdp.session_mut().set_attribute("csup", Some(capabilities::SUPPORTED))?;
        }
        let around = |mid: &str| {
            let named = |line: &&Line| line.media.value("mid").map(str::trim) == Some(mid);
            lines.iter().find(named).is_some_and(|line| line.accepted && line.agreed.is_none())
        };
        rewrite::prune_groups(&mut sdp, |mids| mids.iter().all(|mid| around(mid)))?;
        for group in self.groups(|line| lines[line].agreed.is_some())? {
            sdp.session_mut().push_attribute("group", Some(&group))?;
        }
        let is_lite = |line: &Line| {
            let ice = line.agreed.as_ref().and_then(|agreed| agreed.ice.as_ref());
            ice.is_some_and(|ice| ice.own.lite)
        };
        if lines.iter().any(is_lite) {
            sdp.session_mut().set_attribute("ice-lite", None)?;
        }
        Ok(sdp)
    }

    fn by_transport(&self, lines: &[Line]) -> Vec<Option<Agreed>> {
        let joined = self.offer.media.iter().zip(lines).filter_map(|(read, line)| {
            Some(Joined {
                transport: read.transport?,
                bundled: read.tagged.is_some(),
                agreed: line.agreed.as_ref()?,
            })
        });
        join(self.offer.transports, &joined.collect::<Vec<_>>())
    }

    fn standing(&self, lines: Vec<Line>) -> Standing {
        let standing = |(at, (read, line)): (usize, (&RemoteMedia, Line))| StandingLine {
            media: read.kind.clone(),
            other: line.other.or_else(|| self.stood(at, read)),
            partner: read.partner,
            transport: read.transport.or_else(|| self.offer.since.line(at)?.transport),
            active: line.accepted,
            own: line.own,
            dtls: line.association,
            ice: line.agreed.and_then(|agreed| agreed.ice),
            mid: read.mid.clone(),
            peer: read.chosen().and_then(|choice| choice.crypto().cloned()).filter(|_| line.key.is_some()),
            keys: line.key.into_iter().collect(),
            profile: line.profile,
        };
        let lines = self.offer.media.iter().zip(lines).enumerate().map(standing).collect();
        Standing { lines, transports: self.offer.transports }
    }

    /// The other peer's line for one that is not in use.
    fn stood(&self, line: usize, read: &RemoteMedia) -> Option<usize> {
        if read.treatment == Treatment::Twin {
            return None;
        }
        let carries = |answered: &AnsweredLine| answered.source == Some(line);
        self.answer.lines.iter().position(carries)
    }
}

/// Names a line in the answer as it is named in the offer (RFC 5888 section 7).
fn set_mid(media: &mut Media, mid: Option<&str>) -> Result<(), Fault> {
    if let Some(mid) = mid {
        return Ok(media.set_attribute("mid", Some(mid))?);
    }
    media.remove_attributes("mid");
    Ok(())
}
