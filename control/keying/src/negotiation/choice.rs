//! What a media line leaves to choose from: profiles and keys, the best first.

use std::sync::Arc;

use super::capabilities::{Capabilities, Configuration};
use super::levels::Levels;
use super::{Fault, dtls};
use crate::policy::{Keying, Policy, Side};
use crate::sdes::{CryptoLine, crypto_lines};
use crate::sdp::{RtpProfile, Sdp, Secured, Setup};

/// One way to take a media line that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The profile of the answer.
    pub profile: RtpProfile,
    /// What keys it.
    pub(super) keyed: Keyed,
    /// The potential configuration that it is of, if it is of one.
    pub(super) configuration: Option<Arc<Configuration>>,
}

/// What keys a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keyed {
    /// Nothing: plain RTP.
    Not,
    /// The crypto line that is accepted.
    Sdes(Arc<CryptoLine>),
    /// A handshake.
    Dtls(Arc<dtls::Said>),
}

impl Choice {
    /// What keys the media.
    pub fn keying(&self) -> Keying {
        match self.keyed {
            Keyed::Not => Keying::None,
            Keyed::Sdes(_) => Keying::Sdes,
            Keyed::Dtls(_) => Keying::DtlsSrtp,
        }
    }

    /// Whether media is SRTP.
    pub fn is_secure(&self) -> bool {
        self.keyed != Keyed::Not
    }

    /// The crypto line that is accepted, if one is.
    pub fn crypto(&self) -> Option<&CryptoLine> {
        match &self.keyed {
            Keyed::Sdes(line) => Some(line),
            _ => None,
        }
    }

    /// Whether it is a potential configuration (RFC 5939).
    pub fn is_potential(&self) -> bool {
        self.configuration.is_some()
    }

    /// How good it is: SRTP before SRTP that leaves out a part, and that before plain RTP (R-BEST-SECURE); of SRTP by the
    /// policy's order of keyings. What is equal stays in the offerer's order.
    fn rank(&self, keyings: &[Keying]) -> (u8, usize) {
        let class = match &self.keyed {
            Keyed::Sdes(line) if is_weakened(line) => 1,
            Keyed::Sdes(_) | Keyed::Dtls(_) => 0,
            Keyed::Not => 2,
        };
        let place = keyings.iter().position(|keying| *keying == self.keying());
        (class, place.unwrap_or(keyings.len()))
    }
}

/// A media line's choices.
pub(super) struct Choices {
    /// The best first.
    pub(super) ranked: Vec<Choice>,
    /// Why there are none, if there are none.
    pub(super) fault: Option<Fault>,
}

impl Choices {
    /// What the policy lets take of a line of this profile.
    pub(super) fn read(
        sdp: &Sdp,
        line: usize,
        levels: &Levels<'_>,
        capabilities: &Capabilities,
        policy: &Policy,
        side: Side,
    ) -> Result<Self, Fault> {
        let media = &sdp.media()[line];
        let own: Vec<_> = crypto_lines(media)?.into_iter().flatten().map(Arc::new).collect();
        let mut chooser = Chooser { policy, side, own, levels, ranked: Vec::new(), fault: None };
        for configuration in capabilities.configurations() {
            chooser.take_configuration(media.profile(), configuration);
        }
        // "The actual configuration is by default the least-preferred" (RFC 5939 section 3.6.1).
        if let Some(profile) = media.profile() {
            let offered = Offered {
                lines: chooser.own.clone(),
                has_crypto: media.has("crypto"),
                dtls: dtls::Said::read(levels, Setup::Active),
            };
            chooser.take(profile, offered, None);
        }
        let keyings = policy.keyings_of(side);
        chooser.ranked.sort_by_key(|choice| choice.rank(keyings));
        chooser.pass_over_invalid();
        Ok(Self { ranked: chooser.ranked, fault: chooser.fault })
    }
}

/// What a configuration has of keys.
struct Offered {
    /// Crypto lines that can be read.
    lines: Vec<Arc<CryptoLine>>,
    /// Whether there are some, if none can be read.
    has_crypto: bool,
    /// What there is of a handshake.
    dtls: Result<Option<dtls::Said>, Fault>,
}

struct Chooser<'a> {
    policy: &'a Policy,
    side: Side,
    /// The line's own crypto lines that can be read.
    own: Vec<Arc<CryptoLine>>,
    levels: &'a Levels<'a>,
    ranked: Vec<Choice>,
    fault: Option<Fault>,
}

impl Chooser<'_> {
    fn take_configuration(&mut self, actual: Option<RtpProfile>, configuration: Configuration) {
        let proto = configuration.proto.as_deref();
        let Some(profile) = proto.map_or(actual, |proto| proto.parse().ok()) else { return };
        let added = configuration.attributes.iter().filter(|attribute| attribute.name == "crypto");
        let mut lines: Vec<Arc<CryptoLine>> = Vec::new();
        for line in added {
            // "support implies that the attribute … can (and will) be negotiated successfully"
            match line.value.as_deref().map(CryptoLine::parse) {
                Some(Ok(line)) if lines.iter().all(|other| other.tag() != line.tag()) => {
                    lines.push(Arc::new(line));
                }
                _ => return,
            }
        }
        if !configuration.without_media {
            let own = self.own.iter().filter(|own| lines.iter().all(|line| line.tag() != own.tag()));
            let own: Vec<_> = own.cloned().collect();
            lines.extend(own);
        }
        let dtls = dtls::Said::read(&self.levels.configured(&configuration), Setup::Active);
        let offered = Offered { has_crypto: !lines.is_empty(), lines, dtls };
        self.take(profile, offered, Some(Arc::new(configuration)));
    }

    /// Takes all that a profile with these keys leaves to choose.
    fn take(&mut self, profile: RtpProfile, offered: Offered, configuration: Option<Arc<Configuration>>) {
        match self.policy.refuses_srtp(self.side) {
            Some(violation) if profile.secured != Secured::Plain => self.refuse(violation.into()),
            Some(_) => {}
            None => self.take_secure(profile, offered, configuration.as_ref()),
        }
        if profile.secured == Secured::Plain {
            match self.policy.refuses_plain(self.side) {
                None => self.ranked.push(Choice { profile, keyed: Keyed::Not, configuration }),
                Some(violation) => self.refuse(violation.into()),
            }
        }
    }

    /// Crypto lines are taken under RTP/SAVP(F) and RTP/AVP(F), fingerprints under these too, as older endpoints offer
    /// them (RFC 8643 of the latter).
    fn take_secure(
        &mut self,
        profile: RtpProfile,
        offered: Offered,
        configuration: Option<&Arc<Configuration>>,
    ) {
        let Offered { lines, has_crypto, dtls } = offered;
        let sdes = has_crypto && profile.secured != Secured::DtlsSrtp;
        let has_dtls = !matches!(dtls, Ok(None));
        if sdes {
            match self.policy.refuses_keying(self.side, Keying::Sdes) {
                None => self.take_sdes(profile, &lines, configuration),
                // Of a line that may be plain RTP it is for that to say what it is refused by.
                Some(_) if profile.secured == Secured::Plain => {}
                Some(violation) => self.refuse(violation.into()),
            }
        }
        match (dtls, self.policy.refuses_dtls(self.side)) {
            (Ok(None), _) if profile.secured == Secured::DtlsSrtp => {
                self.refuse(Fault::NoFingerprint { profile: profile.to_string() });
            }
            (Ok(None), _) => {}
            (_, Some(_)) if profile.secured == Secured::Plain => {}
            (_, Some(violation)) => self.refuse(violation.into()),
            (Err(fault), None) => self.refuse(fault),
            (Ok(Some(said)), None) => self.ranked.push(Choice {
                profile,
                keyed: Keyed::Dtls(Arc::new(said)),
                configuration: configuration.cloned(),
            }),
        }
        if profile.secured == Secured::Srtp && !sdes && !has_dtls {
            let refused = self.policy.refuses_keys(self.side).map(Fault::from);
            self.refuse(refused.unwrap_or_else(|| Fault::NoKeys { profile: profile.to_string() }));
        }
    }

    /// Takes crypto lines by the policy's order of suites; RFC 4568 section 5.1.2 leaves it to "security policies".
    fn take_sdes(
        &mut self,
        profile: RtpProfile,
        lines: &[Arc<CryptoLine>],
        configuration: Option<&Arc<Configuration>>,
    ) {
        let order: Vec<_> = self.policy.usable_suites().collect();
        let mut usable = Vec::new();
        for line in lines {
            match self.usable(line) {
                Ok(suite) => usable.push((order.iter().position(|one| *one == suite), line)),
                Err(fault) => self.refuse(fault),
            }
        }
        usable.sort_by_key(|(place, _)| *place);
        self.ranked.extend(usable.into_iter().map(|(_, line)| Choice {
            profile,
            keyed: Keyed::Sdes(line.clone()),
            configuration: configuration.cloned(),
        }));
    }

    fn usable(&self, line: &CryptoLine) -> Result<sluice_srtp::Suite, Fault> {
        let suite = line.check()?;
        if let Some(violation) = self.policy.refuses_suite(suite) {
            return Err(violation.into());
        }
        // What is neither secret nor authentic is taken where plain RTP is.
        match self.policy.refuses_plain(self.side) {
            Some(violation) if is_weakened(line) => Err(violation.into()),
            _ => Ok(suite),
        }
    }

    /// Takes choices away until the best one's keys can be decoded: "only crypto attributes that are valid can be
    /// accepted" (RFC 4568 section 5.1.2), and those behind it need no look.
    fn pass_over_invalid(&mut self) {
        let mut invalid = 0;
        for choice in &self.ranked {
            let Keyed::Sdes(line) = &choice.keyed else { break };
            let Err(error) = line.keys() else { break };
            self.fault.get_or_insert(error.into());
            invalid += 1;
        }
        self.ranked.drain(..invalid);
    }

    /// The first fault is what is told, if nothing is left to choose.
    fn refuse(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// Whether RTP packets go without encryption or without authentication.
fn is_weakened(line: &CryptoLine) -> bool {
    let omit = line.omit();
    omit.rtp_encryption || omit.rtp_authentication
}
