//! How a line of an offer is keyed, and what it says of checks.

use zeroize::Zeroizing;

use super::form::{Form, Keyings};
use super::local_offer::{CONFIGURATION, Composer, LocalLine, Role};
use super::{NegotiationError, OfferedDtls, OwnAddresses, OwnMedia, dtls, ice, keys, rewrite};
use crate::policy::{IceUse, Keying};
use crate::sdes::CryptoLine;
use crate::sdp::{Media, RtpProfile, Secured};

impl Composer<'_> {
    /// By which keyings SRTP is offered: by the one that was agreed on, as long as the policy has it. None: it would be by
    /// a handshake, and there is no certificate.
    pub(super) fn keyings(&self, at: usize, own: &OwnMedia) -> Option<Keyings> {
        let usable = Keyings::of(self.policy, self.side, own.dtls.is_some())?;
        let stands = |keying| match keying {
            Keying::DtlsSrtp => own.dtls.is_some() && self.policy.refuses_dtls(self.side).is_none(),
            _ => self.policy.refuses_keying(self.side, keying).is_none(),
        };
        let agreed = self.since.line(at).filter(|standing| standing.active);
        let agreed = agreed.and_then(|standing| match (&standing.peer, &standing.dtls) {
            (Some(_), _) => Some(Keying::Sdes),
            (None, Some(_)) => Some(Keying::DtlsSrtp),
            (None, None) => None,
        });
        Some(agreed.filter(|keying| stands(*keying)).map_or(usable, Keyings::only))
    }

    pub(super) fn no_keying(&self, transport: usize) -> NegotiationError {
        let refused = self.policy.refuses_dtls(self.side);
        refused.map_or(NegotiationError::NoCertificate { transport }, NegotiationError::NothingToOffer)
    }

    /// The secure profile: the one that was agreed on, as some endpoints have RTP/SAVP(F) with fingerprints.
    pub(super) fn secured(&self, at: usize, keyings: Option<Keyings>) -> Secured {
        let secured = keyings.map_or(Secured::Plain, Keyings::secured);
        let agreed = self.since.line(at).filter(|standing| standing.active && standing.dtls.is_some());
        match agreed.and_then(|standing| standing.profile) {
            Some(profile) if secured == Secured::DtlsSrtp && profile.secured == Secured::Srtp => {
                Secured::Srtp
            }
            _ => secured,
        }
    }

    /// Whether ICE is offered: the policy has it so, or the peer takes part already.
    pub(super) fn offers_ice(&self, at: usize) -> bool {
        let standing =
            || self.since.line(at).is_some_and(|standing| standing.active && standing.ice.is_some());
        let policy = self.policy.peer(self.side).ice;
        policy.is_offered() || (policy != IceUse::Off && standing())
    }

    /// Puts what keys the line in.
    pub(super) fn key(
        &mut self,
        line: &mut LocalLine,
        form: Form,
        feedback: bool,
    ) -> Result<(), NegotiationError> {
        let Some(keyings) = line.keyings else {
            line.media.remove_attributes("crypto");
            return Ok(());
        };
        // A configuration has one of them: each has a profile of its own.
        let capabilities = matches!(form, Form::Capabilities { .. });
        let keyings = if capabilities { Keyings::only(keyings.first) } else { keyings };
        line.keyings = Some(keyings);
        if keyings.has(Keying::Sdes) {
            let standing = line.since.as_ref().zip(line.own.as_ref());
            let standing = standing.filter(|(standing, own)| standing.keeps_keys(own));
            let standing = standing.map_or(&[][..], |(standing, _)| &standing.keys);
            line.keys = keys::offered(standing, self.policy, self.policy.peer(self.side), self.random)?;
        }
        if keyings.has(Keying::DtlsSrtp) {
            line.dtls = self.handshake(line);
        }
        let values: Vec<_> = line.keys.iter().map(CryptoLine::value).collect();
        let crypto = values.iter().map(|value| ("crypto", value.as_str()));
        let handshake = line.dtls.as_ref().map(|dtls| rewrite::handshake(&dtls.own, dtls.setup, true));
        let handshake = handshake.iter().flatten().map(|(name, value)| (*name, value.as_str()));
        let attributes: Vec<_> = crypto.chain(handshake).collect();
        if !capabilities {
            return Ok(rewrite::put_keying(&mut line.media, &attributes)?);
        }
        let first = self.capability;
        self.capability += attributes.len() as u32;
        line.role = Role::Gateway(Form::Capabilities { first });
        let secure = RtpProfile::new(keyings.secured(), feedback);
        let list = match keyings.first {
            Keying::DtlsSrtp => {
                let demanded = attributes.iter().take_while(|(name, _)| *name != "tls-id").count();
                line.capabilities = [demanded, attributes.len()];
                whole(first, line.capabilities)
            }
            _ => numbers(first, attributes.len(), "|"),
        };
        put_configuration(&mut line.media, first, secure, &attributes, &list)
    }

    /// What is offered of a handshake.
    fn handshake(&mut self, line: &LocalLine) -> Option<OfferedDtls> {
        let media = line.own.as_ref()?;
        let own = dtls::Own {
            media,
            fingerprints: media.dtls.as_deref()?,
            policy: self.policy.peer(self.side),
            suites: self.policy.dtls_suites().collect(),
        };
        Some(dtls::offer(line.since.as_deref(), &own, self.random))
    }

    /// Puts in what checks are told.
    pub(super) fn check(
        &mut self,
        line: &mut LocalLine,
        addresses: &OwnAddresses,
    ) -> Result<(), NegotiationError> {
        let lite = self.policy.peer(self.side).ice.is_lite();
        let since = line.since.as_ref().zip(line.own.as_ref());
        let since = since.filter(|(standing, own)| standing.keeps_keys(own));
        let since = since.and_then(|(standing, _)| standing.ice.as_ref());
        let since = since.filter(|since| ice::goes_on(&since.own, addresses, lite));
        let apart = line.own.as_ref().is_some_and(|own| own.rtp != own.rtcp);
        let with_rtcp = apart && since.is_none_or(|since| ice::has_rtcp(&since.own));
        let standing = since.map(|since| &since.own);
        // Two lines for one medium have one transport.
        let own = match line.transport.and_then(|transport| self.said.get(&transport)) {
            Some(said) => said.clone(),
            None => ice::own(standing, addresses, lite, with_rtcp, self.random),
        };
        self.said.extend(line.transport.map(|transport| (transport, own.clone())));
        let controls = since.is_some_and(|since| since.controlling);
        let selected = if controls { addresses.selected.as_slice() } else { &[] };
        ice::write(&mut line.media, &own, selected)?;
        line.ice = Some(own);
        Ok(())
    }
}

/// Puts a potential configuration in with this list of its attributes (RFC 5939 section 3.5.1).
fn put_configuration(
    media: &mut Media,
    first: u32,
    secure: RtpProfile,
    attributes: &[(&str, &str)],
    list: &str,
) -> Result<(), NegotiationError> {
    // Transport capabilities have numbers of their own, which need not follow one another (RFC 5939 section 3.4.2).
    let transport = format!("{first} {secure}");
    let capability =
        |(number, (name, value)): (u32, &(&str, &str))| Zeroizing::new(format!("{number} {name}:{value}"));
    let capabilities: Vec<_> = (first..).zip(attributes).map(capability).collect();
    let configuration = format!("{CONFIGURATION} t={first} a={list}");
    let mut lines = vec![("tcap", transport.as_str())];
    lines.extend(capabilities.iter().map(|capability| ("acap", capability.as_str())));
    lines.push(("pcfg", &configuration));
    Ok(rewrite::put_keying(media, &lines)?)
}

/// So many numbers from the first on.
fn numbers(first: u32, count: usize, between: &str) -> String {
    (first..).take(count).map(|number| number.to_string()).collect::<Vec<_>>().join(between)
}

/// Attributes that are taken as a whole, of which the last ones may be left out: who does not know `a=tls-id` (RFC 8842)
/// may know handshakes all the same, and must refuse a configuration that demands it (RFC 5939 section 3.5.1).
fn whole(first: u32, [demanded, all]: [usize; 2]) -> String {
    let list = numbers(first, demanded, ",");
    let optional = numbers(first + demanded as u32, all - demanded, ",");
    if optional.is_empty() { list } else { format!("{list},[{optional}]") }
}
