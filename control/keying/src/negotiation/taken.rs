//! Which keying of an offer its answer takes.

use super::configuration::{Actual, Alternative, Potential};
use super::dtls::{self, Place};
use super::form::{Form, Keyings};
use super::levels::Levels;
use super::local_offer::{CONFIGURATION, LocalLine};
use super::{Fault, Protected, keys};
use crate::dtls_srtp::AgreedDtls;
use crate::policy::{Keying, PeerPolicy, Policy, Side};
use crate::sdes::{CryptoLine, SdesError, answered_line, match_answer};
use crate::sdp::{Media, RtpProfile, Secured, Setup};

/// Who it is held against.
pub(super) struct Taking<'a> {
    pub(super) policy: &'a Policy,
    pub(super) side: Side,
}

impl Taking<'_> {
    /// What the answer takes of the keying that was offered.
    pub(super) fn read(
        &self,
        media: &Media,
        offered: &LocalLine,
        form: Form,
        levels: &Levels<'_>,
        place: Place,
    ) -> Result<Taken, Fault> {
        let potential = takes_configuration(media, offered, form)?;
        let secure = potential || matches!(form, Form::Secure | Form::Osrtp);
        let crypto = answered_line(media)?;
        if crypto.is_some() && !(secure && offers(offered, Keying::Sdes)) {
            return Err(Fault::CryptoNotOffered);
        }
        let handshake = match &offered.dtls {
            // An unusable fingerprint beside a crypto line is not needed.
            Some(dtls) if secure && (crypto.is_none() || prefers_dtls(offered)) => {
                dtls::Said::read(levels, Setup::Passive)?.map(|said| (dtls, said))
            }
            _ => None,
        };
        match (crypto, handshake) {
            (_, Some((dtls, said))) => {
                if potential {
                    check_configuration(media, offered, form, None)?;
                }
                let since = offered.since.as_deref();
                Ok(Taken::Dtls(dtls::answered(dtls, since, &said, place)?))
            }
            (Some(answered), None) => {
                let accepted = match_answer(&offered.keys, &answered)?;
                if potential {
                    check_configuration(media, offered, form, Some(accepted))?;
                }
                let accepted = accepted.clone();
                Ok(Taken::Sdes(Box::new((answered, accepted))))
            }
            // "an accepted media stream in the answer that does not include a crypto line. In that case, the security
            // negotiation defined here MUST fail" (RFC 4568 section 5.3).
            (None, None) if potential || form == Form::Secure => {
                let profile = media.proto().to_owned();
                let dtls = !offers(offered, Keying::Sdes);
                Err(if dtls { Fault::NoFingerprint { profile } } else { Fault::NoKeys { profile } })
            }
            (None, None) => match self.policy.refuses_plain(self.side) {
                Some(violation) => Err(violation.into()),
                None => Ok(Taken::Plain),
            },
        }
    }
}

/// What a peer takes of the keying that it was offered.
pub(super) enum Taken {
    Plain,
    /// Its crypto line, and the gateway's that it accepts.
    Sdes(Box<(CryptoLine, CryptoLine)>),
    /// A handshake; none of it for now.
    Dtls(Option<AgreedDtls>),
}

impl Taken {
    pub(super) fn keying(&self) -> Keying {
        match self {
            Self::Plain => Keying::None,
            Self::Sdes(_) => Keying::Sdes,
            Self::Dtls(_) => Keying::DtlsSrtp,
        }
    }

    pub(super) fn protects(
        &self,
        which: impl Fn(&(CryptoLine, CryptoLine)) -> &CryptoLine,
        peer: &PeerPolicy,
    ) -> Result<Protected, SdesError> {
        match self {
            Self::Plain => Ok(Protected::Plain),
            Self::Sdes(lines) => keys::protected(which(lines), peer),
            Self::Dtls(_) => Ok(Protected::InMediaPath),
        }
    }

    pub(super) fn dtls(&self) -> Option<&AgreedDtls> {
        match self {
            Self::Dtls(agreed) => agreed.as_ref(),
            _ => None,
        }
    }

    pub(super) fn crypto(self) -> Option<(CryptoLine, CryptoLine)> {
        match self {
            Self::Sdes(lines) => Some(*lines),
            _ => None,
        }
    }
}

fn offers(offered: &LocalLine, keying: Keying) -> bool {
    offered.keyings.is_some_and(|keyings| keyings.has(keying))
}

fn prefers_dtls(offered: &LocalLine) -> bool {
    offered.keyings.is_some_and(|keyings| keyings.first == Keying::DtlsSrtp)
}

/// Whether the profile is that of the potential configuration; it must be that, or the one of the media line.
fn takes_configuration(media: &Media, offered: &LocalLine, form: Form) -> Result<bool, Fault> {
    let (want, got) = (offered.media.profile(), media.profile());
    if want.is_some() && want == got {
        return if media.has("acfg") { Err(Fault::ConfigurationNotOffered) } else { Ok(false) };
    }
    let secured = offered.keyings.map_or(Secured::Srtp, Keyings::secured);
    let secured = want.map(|want| RtpProfile::new(secured, want.feedback));
    match form {
        Form::Capabilities { .. } if got.is_some() && got == secured => Ok(true),
        _ => {
            let got = media.proto().chars().take(64).collect();
            Err(Fault::ProfileNotOffered { want: offered.media.proto().to_owned(), got })
        }
    }
}

/// Looks whether `a=acfg` names the configuration with the crypto line that was accepted, or with what the handshake takes.
fn check_configuration(
    media: &Media,
    offered: &LocalLine,
    form: Form,
    accepted: Option<&CryptoLine>,
) -> Result<(), Fault> {
    let Form::Capabilities { first } = form else { return Err(Fault::ConfigurationNotOffered) };
    let value = media
        .value("acfg")
        .ok_or_else(|| Fault::NoActualConfiguration { profile: media.proto().to_owned() })?;
    let numbers = |count: usize| (first..).take(count).collect::<Vec<u32>>();
    let taken: Vec<Vec<u32>> = match accepted {
        // "the known and supported parameters" (RFC 5939 section 3.5.2): with what may be left out, or without.
        None => offered.capabilities.map(numbers).into(),
        Some(accepted) => {
            let named = (first..).zip(&offered.keys).filter(|(_, line)| line.tag() == accepted.tag());
            named.map(|(number, _)| vec![number]).take(1).collect()
        }
    };
    let is_taken = |actual: Actual| {
        let Actual { number, transport, attributes } = actual;
        (number, transport) == (CONFIGURATION, Some(first))
            && !attributes.is_empty()
            && taken.contains(&attributes)
    };
    let named = Actual::parse(value).is_some_and(is_taken) || is_echo(value, first, offered);
    named.then_some(()).ok_or(Fault::ConfigurationNotOffered)
}

/// Whether `a=acfg` repeats `a=pcfg` with all its alternatives, as Linphone does: it says which configuration was taken, and
/// the tag of the crypto line says by which alternative.
fn is_echo(value: &str, first: u32, offered: &LocalLine) -> bool {
    let alternative = |number| Alternative { mandatory: vec![number], optional: Vec::new() };
    let offered = Potential {
        number: CONFIGURATION,
        transports: vec![first],
        delete: "",
        attributes: (first..).take(offered.keys.len()).map(alternative).collect(),
    };
    Potential::parse(value).is_some_and(|repeated| repeated == offered)
}
