//! What a media line leaves to choose from: profiles and keys, the best first.

use std::sync::Arc;

use super::Fault;
use super::capabilities::{Capabilities, Configuration};
use crate::policy::{Keying, Policy, Side};
use crate::sdes::{CryptoLine, crypto_lines};
use crate::sdp::{RtpProfile, Sdp, Secured};

/// One way to take a media line that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The profile of the answer.
    pub profile: RtpProfile,
    /// The crypto line that is accepted; none: plain RTP.
    pub(super) crypto: Option<Arc<CryptoLine>>,
    /// The potential configuration that it is of, if it is of one.
    pub(super) configuration: Option<Arc<Configuration>>,
}

impl Choice {
    /// Whether media is SRTP.
    pub fn is_secure(&self) -> bool {
        self.crypto.is_some()
    }

    /// The crypto line that is accepted.
    pub fn crypto(&self) -> Option<&CryptoLine> {
        self.crypto.as_deref()
    }

    /// Whether it is a potential configuration (RFC 5939).
    pub fn is_potential(&self) -> bool {
        self.configuration.is_some()
    }

    /// How good it is: SRTP before SRTP that leaves out a part, and that before plain RTP (R-BEST-SECURE). What is
    /// equal stays in the offerer's order.
    fn rank(&self) -> u8 {
        match &self.crypto {
            Some(line) if !is_weakened(line) => 0,
            Some(_) => 1,
            None => 2,
        }
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
        capabilities: &Capabilities,
        policy: &Policy,
        side: Side,
    ) -> Result<Self, Fault> {
        let media = &sdp.media()[line];
        let own: Vec<_> = crypto_lines(media)?.into_iter().flatten().map(Arc::new).collect();
        let mut chooser = Chooser { policy, side, own, ranked: Vec::new(), fault: None };
        for configuration in capabilities.configurations() {
            chooser.take_configuration(media.profile(), configuration);
        }
        // "The actual configuration is by default the least-preferred" (RFC 5939 section 3.6.1).
        if let Some(profile) = media.profile() {
            let written = media.has("crypto");
            chooser.take(profile, &chooser.own.clone(), None, written);
        }
        chooser.ranked.sort_by_key(Choice::rank);
        chooser.pass_over_invalid();
        Ok(Self { ranked: chooser.ranked, fault: chooser.fault })
    }
}

struct Chooser<'a> {
    policy: &'a Policy,
    side: Side,
    /// The line's own crypto lines that can be read.
    own: Vec<Arc<CryptoLine>>,
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
        let written = !lines.is_empty();
        self.take(profile, &lines, Some(Arc::new(configuration)), written);
    }

    /// Takes all that a profile with these crypto lines leaves to choose. `written`: there are some, if none can be
    /// read.
    fn take(
        &mut self,
        profile: RtpProfile,
        lines: &[Arc<CryptoLine>],
        configuration: Option<Arc<Configuration>>,
        written: bool,
    ) {
        if profile.secured == Secured::DtlsSrtp {
            return self.refuse(Fault::ForeignKeying { keying: Keying::DtlsSrtp });
        }
        let refused =
            self.policy.refuses_srtp(self.side).or_else(|| self.policy.refuses_keying(Keying::Sdes));
        match refused {
            Some(violation) if profile.secured == Secured::Srtp => return self.refuse(violation.into()),
            Some(_) => {}
            None if !written && profile.secured == Secured::Srtp => {
                return self.refuse(Fault::NoKeys { profile: profile.to_string() });
            }
            None => self.take_secure(profile, lines, configuration.as_ref()),
        }
        if profile.secured == Secured::Plain {
            match self.policy.refuses_plain(self.side) {
                None => self.ranked.push(Choice { profile, crypto: None, configuration }),
                Some(violation) => self.refuse(violation.into()),
            }
        }
    }

    /// Takes crypto lines by the policy's order of suites; RFC 4568 section 5.1.2 leaves it to "security policies".
    fn take_secure(
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
            crypto: Some(line.clone()),
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
            let Some(line) = &choice.crypto else { break };
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
