//! The offer that the gateway makes to one peer from another's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::form::{Form, Keyings, Ways};
use super::slots::{self, Slot};
use super::standing::StandingLine;
use super::transports::{bundle_passes, mux_passes};
use super::{
    Direction, NegotiationError, Offered, OfferedDtls, Origin, OwnMedia, RemoteMedia, RemoteOffer, Standing,
    Treatment, rewrite,
};
use crate::ice::OwnIce;
use crate::policy::{BestEffortForm, Keying, Policy, Side};
use crate::sdes::CryptoLine;
use crate::sdp::{Media, Sdp, Secured};

/// An offer to a peer: its SDP, and what the answer is held against.
#[derive(Clone)]
pub struct LocalOffer {
    text: Zeroizing<String>,
    pub(super) lines: Vec<LocalLine>,
    pub(super) side: Side,
    pub(super) transports: usize,
}

/// A media line of it.
#[derive(Clone)]
pub(super) struct LocalLine {
    /// As it is offered.
    pub(super) media: Media,
    /// The line of the other peer's offer that it carries on.
    pub(super) source: Option<usize>,
    /// The line that offers the same medium in another profile.
    pub(super) partner: Option<usize>,
    pub(super) transport: Option<usize>,
    pub(super) role: Role,
    /// Of a bundled line the first of its group.
    pub(super) tagged: Option<usize>,
    pub(super) own: Option<OwnMedia>,
    pub(super) keys: Vec<CryptoLine>,
    /// By which keyings it is offered as SRTP, if it is.
    pub(super) keyings: Option<Keyings>,
    pub(super) dtls: Option<OfferedDtls>,
    pub(super) ice: Option<OwnIce>,
    /// Of a potential configuration that is taken as a whole how many attribute capabilities it demands, and has in all.
    pub(super) capabilities: [usize; 2],
    /// What stood before.
    pub(super) since: Option<Arc<StandingLine>>,
    pub(super) rtcp_mux: bool,
    pub(super) direction: Direction,
}

/// What a line is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It keeps its place.
    Dead,
    /// It goes by the gateway.
    Around,
    /// It passes the gateway, and is offered in one of these ways.
    Gateway(Form),
}

/// The number of the only potential configuration that is offered.
pub(super) const CONFIGURATION: u32 = 1;

impl LocalOffer {
    /// Makes the first offer to the peer on `side` from another peer's. `own` has local addresses by transport,
    /// `random` fills what it is given from a cryptographic source.
    ///
    /// # Errors
    /// [`NegotiationError`] if there are fewer addresses than transports, or the policy leaves nothing to offer.
    pub fn compose(
        offer: &RemoteOffer,
        own: &[OwnMedia],
        policy: &Policy,
        side: Side,
        origin: &mut Origin,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, NegotiationError> {
        Self::recompose(offer, &Standing::default(), own, policy, side, origin, random)
    }

    /// Makes an offer to a peer with which something stands: lines keep their places, and keys stay as they are but
    /// where a local address changed. [`Standing::rekeyed`] gives new ones.
    ///
    /// # Errors
    /// As of [`LocalOffer::compose`].
    pub fn recompose(
        offer: &RemoteOffer,
        since: &Standing,
        own: &[OwnMedia],
        policy: &Policy,
        side: Side,
        origin: &mut Origin,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, NegotiationError> {
        let ways = Ways::of(policy, side)?;
        let dual = ways == Ways::Both && policy.peer(side).best_effort == BestEffortForm::DualLines;
        let slots = slots::lay_out(offer, since, dual);
        let address = first_address(offer, own);
        let (capability, said) = (1, HashMap::new());
        let mut composer =
            Composer { offer, since, own, policy, side, ways, slots, address, capability, said, random };
        let lines = (0..composer.slots.len()).map(|at| composer.line(at)).collect::<Result<Vec<_>, _>>()?;
        let mut sdp = composer.description(&lines)?;
        let text = origin.sign(&mut sdp, address)?;
        Ok(Self { text, lines, side, transports: offer.transports.max(since.transports) })
    }

    /// The SDP. It has keys in it.
    pub fn sdp(&self) -> &str {
        &self.text
    }

    /// What was said of the gateway itself, by transport: for handshakes and checks that come before the answer. None:
    /// the transport is not offered.
    pub fn offered(&self) -> Vec<Option<Offered>> {
        let mut offered = vec![None; self.transports];
        for line in self.lines.iter().filter(|line| line.tagged.is_none()) {
            let Some(place) = line.transport.and_then(|transport| offered.get_mut(transport)) else {
                continue;
            };
            // Of two lines for a medium the secure one says more.
            if place.as_ref().is_none_or(|one: &Offered| one.dtls.is_none()) {
                let (dtls, ice) = (line.dtls.clone(), line.ice.clone());
                *place = Some(Offered { dtls, ice, rtcp_mux: line.rtcp_mux });
            }
        }
        offered
    }

    /// The transport of a media line, by its `a=mid`, or else by its number from 0: candidates that come before the
    /// answer name lines so (RFC 8840 section 4.4).
    pub fn transport_of(&self, mid: Option<&str>, line: Option<usize>) -> Option<usize> {
        let named = |line: &&LocalLine| mid.is_some() && line.media.value("mid").map(str::trim) == mid;
        self.lines.iter().find(named).or_else(|| self.lines.get(line?))?.transport
    }
}

impl std::fmt::Debug for LocalOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let roles: Vec<_> = self.lines.iter().map(|line| line.role).collect();
        f.debug_struct("LocalOffer").field("side", &self.side).field("lines", &roles).finish_non_exhaustive()
    }
}

/// The address of the first transport that is used, which the session's c= says.
pub(super) fn first_address(offer: &RemoteOffer, own: &[OwnMedia]) -> Option<IpAddr> {
    let first = offer.media.iter().find_map(|media| media.transport);
    first.and_then(|transport| own.get(transport)).map(|own| own.rtp.ip())
}

pub(super) struct Composer<'a> {
    pub(super) offer: &'a RemoteOffer,
    pub(super) since: &'a Standing,
    pub(super) own: &'a [OwnMedia],
    pub(super) policy: &'a Policy,
    pub(super) side: Side,
    pub(super) ways: Ways,
    pub(super) slots: Vec<Slot>,
    pub(super) address: Option<IpAddr>,
    /// The capability number that comes next: no two of a description are the same (RFC 5939 section 3.4.1).
    pub(super) capability: u32,
    /// What checks were told, by transport.
    pub(super) said: HashMap<usize, OwnIce>,
    pub(super) random: &'a mut dyn FnMut(&mut [u8]),
}

impl Composer<'_> {
    fn line(&mut self, at: usize) -> Result<LocalLine, NegotiationError> {
        let source = self.slots[at].source;
        let media = source.and_then(|source| self.offer.media.get(source));
        let mut line = match (source, media) {
            (Some(source), Some(media)) if media.treatment == Treatment::Around => self.around(source)?,
            (Some(source), Some(media)) if media.treatment == Treatment::Gateway => match self.form(at) {
                Some(form) => self.gateway(at, source, media, form)?,
                None => self.dead(at)?,
            },
            _ => self.dead(at)?,
        };
        (line.source, line.partner) = (source, self.slots[at].partner);
        Ok(line)
    }

    /// In which way a line that passes the gateway is offered; of two lines for a medium one may be left out.
    fn form(&self, at: usize) -> Option<Form> {
        let Slot { twin, partner, .. } = self.slots[at];
        match self.ways {
            Ways::Plain => return (!twin).then_some(Form::Plain),
            Ways::Secure => return (!twin).then_some(Form::Secure),
            Ways::Both => {}
        }
        let agreed = |line: usize| self.since.line(line).filter(|standing| standing.active);
        let first = if twin { partner.and_then(agreed) } else { agreed(at) };
        if let Some(standing) = first.filter(|standing| standing.is_secured()) {
            // What was agreed on is offered again; a potential configuration is the actual one from then on (RFC 5939
            // section 3.6.3).
            let secure = standing.profile.is_some_and(|profile| profile.secured != Secured::Plain);
            return (!twin).then_some(if secure { Form::Secure } else { Form::Osrtp });
        }
        match self.policy.peer(self.side).best_effort {
            // The line that was taken as plain RTP stays it, and the other one tries again.
            BestEffortForm::DualLines if partner.is_some() => {
                let secure = twin == first.is_some();
                Some(if secure { Form::Secure } else { Form::Plain })
            }
            _ if twin => None,
            BestEffortForm::Osrtp | BestEffortForm::DualLines => Some(Form::Osrtp),
            BestEffortForm::Capabilities => Some(Form::Capabilities { first: 0 }),
        }
    }

    fn gateway(
        &mut self,
        at: usize,
        source: usize,
        read: &RemoteMedia,
        form: Form,
    ) -> Result<LocalLine, NegotiationError> {
        let transport = read.transport.unwrap_or_default();
        let own = self.own.get(transport).ok_or(NegotiationError::NoOwnAddress { transport })?;
        let mut media = self.offer.sdp.media()[source].clone();
        let keyings = match form {
            Form::Plain => None,
            _ => Some(self.keyings(at, own).ok_or_else(|| self.no_keying(transport))?),
        };
        let addresses = own.ice.as_deref().filter(|_| self.offers_ice(at));
        // With either of them RTP and RTCP are to share a port: that is one handshake, and half of the checks (RFC 5764
        // section 3).
        let muxes = addresses.is_some() || keyings.is_some_and(|keyings| keyings.has(Keying::DtlsSrtp));
        let rtcp_mux = (mux_passes(self.policy) && read.rtcp_mux) || own.rtp == own.rtcp || muxes;
        let peers = media.profile().is_some_and(|profile| profile.feedback);
        let feedback = self.policy.peer(self.side).feedback.of(peers);
        rewrite::strip(&mut media);
        rewrite::set_profile(&mut media, form.profile(self.secured(at, keyings), feedback));
        rewrite::set_own(&mut media, own, self.address, rtcp_mux)?;
        rewrite::set_direction(&mut media, self.offer.sdp.session(), read.direction)?;
        if self.slots[at].twin {
            media.remove_attributes("mid");
        }
        let tagged = read.tagged.and_then(|tagged| self.slot_of(tagged));
        let mut line = LocalLine {
            transport: Some(transport),
            role: Role::Gateway(form),
            tagged,
            own: Some(own.clone()),
            keyings,
            since: self.since.line(at).cloned().map(Arc::new),
            rtcp_mux,
            direction: read.direction,
            ..LocalLine::new(media)
        };
        if tagged.is_none() {
            self.key(&mut line, form, feedback)?;
            if let Some(addresses) = addresses {
                self.check(&mut line, addresses)?;
            }
        } else {
            line.bundle(self.since.line(at).is_some_and(|standing| standing.active))?;
        }
        Ok(line)
    }

    fn around(&self, source: usize) -> Result<LocalLine, NegotiationError> {
        let kind = &self.offer.media[source].kind;
        let media = rewrite::around(&self.offer.sdp, source)
            .map_err(|fault| NegotiationError::media(source, kind, fault))?;
        Ok(LocalLine { role: Role::Around, ..LocalLine::new(media) })
    }

    /// A line that keeps its place.
    fn dead(&self, at: usize) -> Result<LocalLine, NegotiationError> {
        let standing = self.since.line(at);
        let source = self.slots[at].source.and_then(|source| self.offer.sdp.media().get(source));
        let kind = standing.map(|standing| standing.media.as_str()).or_else(|| source.map(Media::kind));
        let proto = match standing.and_then(|standing| standing.profile) {
            Some(profile) => profile.name(),
            None => source.map_or("RTP/AVP", |media| media.proto()),
        };
        // "MAY list just a single media format" (RFC 3264 section 8.2).
        let format = source.and_then(|media| media.formats().next()).unwrap_or("0");
        Ok(LocalLine::new(rewrite::dead(kind.unwrap_or("audio"), proto, [format])?))
    }

    fn slot_of(&self, source: usize) -> Option<usize> {
        self.slots.iter().position(|slot| slot.source == Some(source) && !slot.twin)
    }

    fn description(&self, lines: &[LocalLine]) -> Result<Sdp, NegotiationError> {
        let mut sdp = self.offer.sdp.clone();
        let media = lines.iter().map(|line| &line.media);
        rewrite::replace_media(&mut sdp, media)?;
        if lines.iter().any(|line| matches!(line.role, Role::Gateway(_))) {
            rewrite::own_session(&mut sdp, self.address)?;
        }
        let around = |mid: &str| {
            let named = |line: &&LocalLine| line.media.value("mid").map(str::trim) == Some(mid);
            lines.iter().find(named).is_some_and(|line| line.role == Role::Around)
        };
        let bundled = |mid: &str| {
            let named = |line: &&LocalLine| line.media.value("mid").map(str::trim) == Some(mid);
            lines.iter().find(named).is_some_and(|line| line.tagged.is_some())
        };
        let passes = |mids: &[&str]| {
            bundle_passes(self.policy)
                || mids.iter().all(|mid| around(mid))
                || mids.iter().any(|mid| bundled(mid))
        };
        rewrite::prune_groups(&mut sdp, passes)?;
        if lines.iter().filter_map(|line| line.ice.as_ref()).any(|own| own.lite) {
            sdp.session_mut().set_attribute("ice-lite", None)?;
        }
        Ok(sdp)
    }
}

impl LocalLine {
    fn new(media: Media) -> Self {
        Self {
            media,
            source: None,
            partner: None,
            transport: None,
            role: Role::Dead,
            tagged: None,
            own: None,
            keys: Vec::new(),
            keyings: None,
            dtls: None,
            ice: None,
            capabilities: [0; 2],
            since: None,
            rtcp_mux: false,
            direction: Direction::Inactive,
        }
    }

    /// Makes it a line whose transport is that of its group's first: with port 0 until the peer has agreed to that,
    /// and in each case without what is the transport's (RFC 8843 sections 6 and 7.1.3).
    fn bundle(&mut self, agreed: bool) -> Result<(), NegotiationError> {
        self.media.remove_attributes("crypto");
        if !agreed {
            self.media.set_port(0);
            self.media.set_attribute("bundle-only", None)?;
        }
        Ok(())
    }
}
