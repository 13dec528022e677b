//! The answer that the gateway gives to a peer from another's.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::remote_answer::{AnsweredLine, Joined, join};
use super::standing::StandingLine;
use super::transports::{bundle_passes, mux_passes};
use super::{
    Agreed, Choice, Fault, NegotiationError, Origin, OwnMedia, Protected, RemoteAnswer, RemoteMedia,
    RemoteOffer, Standing, Treatment, capabilities, formats, keys, local_offer, rewrite,
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
    profile: Option<RtpProfile>,
    agreed: Option<Agreed>,
}

/// What went wrong: with the gateway's own, or with the line.
enum Failed {
    Own(NegotiationError),
    Line(Fault),
}

impl<F: Into<Fault>> From<F> for Failed {
    fn from(fault: F) -> Self {
        Self::Line(fault.into())
    }
}

struct Composer<'a> {
    offer: &'a RemoteOffer,
    answer: &'a RemoteAnswer,
    own: &'a [OwnMedia],
    policy: &'a Policy,
    side: Side,
    address: Option<IpAddr>,
    random: &'a mut dyn FnMut(&mut [u8]),
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
        let own = *self.own.get(transport).ok_or(Failed::Own(missing))?;
        // It ends here: who offers it gets it. It passes: who answers it has the say.
        let rtcp_mux = read.rtcp_mux && (answered.rtcp_mux || !mux_passes(self.policy));
        let key = match &choice.crypto {
            Some(accepted) if read.tagged.is_none() => {
                let peer = self.policy.peer(self.side);
                Some(keys::answered(accepted, self.offer.since.line(line), own, peer, self.random)?)
            }
            _ => None,
        };
        let mut media = self.answer.sdp.media()[other].clone();
        rewrite::strip(&mut media);
        formats::keep(&mut media, &answered.common.formats)?;
        media.set_profile(choice.profile);
        rewrite::set_own(&mut media, own, self.address, rtcp_mux)?;
        rewrite::set_direction(&mut media, self.answer.sdp.session(), answered.direction)?;
        set_mid(&mut media, read.mid.as_deref())?;
        let value = key.as_ref().map(CryptoLine::value);
        let crypto: Vec<_> = value.iter().map(|value| ("crypto", value.as_str())).collect();
        rewrite::put_keying(&mut media, &crypto)?;
        if let Some(configuration) = &choice.configuration {
            media.set_attribute("acfg", Some(&configuration.acfg))?;
        }
        if read.tell_supported {
            media.set_attribute("csup", Some(capabilities::SUPPORTED))?;
        }
        let agreed = Agreed {
            remote: read.remote,
            remote_rtcp: read.remote_rtcp.filter(|_| !rtcp_mux),
            rtcp_mux,
            keying: if choice.is_secure() { Keying::Sdes } else { Keying::None },
            inbound: choice.crypto().map_or(Ok(Protected::Plain), keys::protected)?,
            outbound: key.as_ref().map_or(Ok(Protected::Plain), keys::protected)?,
            payload_types: answered.common.payload_types.clone(),
            ssrcs: read.ssrcs.clone(),
            direction: answered.direction.reversed(),
            dtls: None,
            ice: None,
        };
        Ok(Line {
            media,
            other: Some(other),
            accepted: true,
            own: Some(own),
            key,
            profile: Some(choice.profile),
            agreed: Some(agreed),
        })
    }

    /// A line with port 0, under the protocol and formats that it was offered with.
    fn refused(&self, line: usize, read: &RemoteMedia) -> Result<Line, Failed> {
        let offered = &self.offer.sdp.media()[line];
        let media = rewrite::dead(&read.kind, &read.proto, offered.formats())?;
        Ok(Line { media, other: None, accepted: false, own: None, key: None, profile: None, agreed: None })
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
        rewrite::prune_groups(&mut sdp, |mids| {
            bundle_passes(self.policy) || mids.iter().all(|mid| around(mid))
        })?;
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
