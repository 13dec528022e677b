//! What is done to the lines of a description on its way through the gateway. `docs/sdp-lines.md` has the table.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{Direction, Fault, OwnMedia, capabilities};
use crate::dtls_srtp::OwnDtls;
use crate::sdp::{Connection, ICE_ATTRIBUTES, Line, Media, RtpProfile, Sdp, SdpError, Section, Setup};

/// Attributes of keying, the peers' own and that which the gateway does not speak (RFC 4568, 4567, 8122, 4145, 8842,
/// 6189, 8827).
const KEYING: [&str; 7] = ["crypto", "key-mgmt", "fingerprint", "setup", "tls-id", "zrtp-hash", "identity"];

/// What ends at the gateway beside that: where RTCP goes, and how a transport is shared.
const TRANSPORT: [&str; 3] = ["rtcp", "rtcp-mux-only", "bundle-only"];

/// Attributes of the session that belong to media which go by the gateway (RFC 8839, 8122, 4567).
const INHERITED: [&str; 8] =
    ["ice-ufrag", "ice-pwd", "ice-options", "ice-lite", "fingerprint", "setup", "tls-id", "key-mgmt"];

/// Takes out what ends at the gateway, but for `a=crypto`, in whose place the gateway's own will be, and `a=rtcp-mux`.
pub(super) fn strip(section: &mut Section) {
    section.retain_attributes(|attribute| {
        let name = attribute.name;
        let ends = KEYING[1..].contains(&name)
            || TRANSPORT.contains(&name)
            || ICE_ATTRIBUTES.contains(&name)
            || capabilities::ATTRIBUTES.contains(&name);
        !ends
    });
    // A key in the clear; RFC 8866 section 5.12: "its use is NOT RECOMMENDED", and forbidden to be sent.
    section.remove_kind('k');
}

/// Puts the gateway's address on a media line. `session` is what the session's c= will say.
pub(super) fn set_own(
    media: &mut Media,
    own: &OwnMedia,
    session: Option<IpAddr>,
    mux: bool,
) -> Result<(), SdpError> {
    media.set_port(own.rtp.port());
    if media.connection().is_some() || session != Some(own.rtp.ip()) {
        set_connection(media, own.rtp.ip())?;
    }
    if mux {
        media.set_attribute("rtcp-mux", None)?;
    } else {
        media.remove_attributes("rtcp-mux");
    }
    match rtcp(own) {
        Some(value) => media.set_attribute("rtcp", Some(&value)),
        None => Ok(()),
    }
}

/// What "MUST only be used in media sessions for which the "AVPF" is specified" (RFC 4585 section 4.2; RFC 5506 section 5).
const FEEDBACK: [&str; 2] = ["rtcp-fb", "rtcp-rsize"];

/// Gives a media line its profile. Where that has no feedback, and the peer's had, what the peer says of it goes.
pub(super) fn set_profile(media: &mut Media, profile: RtpProfile) {
    let had = media.profile().is_some_and(|profile| profile.feedback);
    media.set_profile(profile);
    if had && !profile.feedback {
        media.retain_attributes(|attribute| !FEEDBACK.contains(&attribute.name));
    }
}

/// Gives a description other media lines.
pub(super) fn replace_media<'m>(
    sdp: &mut Sdp,
    media: impl Iterator<Item = &'m Media>,
) -> Result<(), SdpError> {
    for line in (0..sdp.media().len()).rev() {
        sdp.remove_media(line);
    }
    for line in media {
        sdp.insert_media(usize::MAX, line.clone())?;
    }
    Ok(())
}

/// Takes out of the session's section what ends at the gateway, and puts its address in.
pub(super) fn own_session(sdp: &mut Sdp, address: Option<IpAddr>) -> Result<(), SdpError> {
    let session = sdp.session_mut();
    strip(session);
    session.remove_attributes("crypto");
    session.remove_attributes("rtcp-mux");
    match address {
        Some(address) => set_connection(session, address),
        None => Ok(()),
    }
}

/// Says the direction where it is not said already.
pub(super) fn set_direction(
    media: &mut Media,
    session: &Section,
    direction: Direction,
) -> Result<(), SdpError> {
    if media.direction().or_else(|| session.direction()).unwrap_or_default() == direction {
        return Ok(());
    }
    media.set_direction(direction)
}

pub(super) fn set_connection(section: &mut Section, ip: IpAddr) -> Result<(), SdpError> {
    section.set_connection(&Connection::of(ip, &ip.to_string()))
}

/// Puts lines where the first crypto line was, or last.
pub(super) fn put_keying(media: &mut Media, attributes: &[(&str, &str)]) -> Result<(), SdpError> {
    let at = media.position("crypto").unwrap_or_else(|| media.lines().count());
    media.remove_attributes("crypto");
    for (place, (name, value)) in (at..).zip(attributes) {
        media.insert(place, Line::attribute(name, Some(value))?)?;
    }
    Ok(())
}

/// What the gateway says of a handshake. Without its name to a peer that names nothing: "the answerer MUST NOT insert a
/// "tls-id" attribute" then (RFC 8842 section 5.3).
pub(super) fn handshake(own: &OwnDtls, setup: Setup, named: bool) -> Vec<(&'static str, String)> {
    let fingerprints = own.fingerprints.iter().map(|fingerprint| ("fingerprint", fingerprint.to_string()));
    let mut lines: Vec<_> = fingerprints.collect();
    lines.push(("setup", setup.name().to_owned()));
    if named {
        lines.push(("tls-id", own.tls_id.clone()));
    }
    lines
}

/// A media line that goes by the gateway: with all that the session says of it, since that will say something else.
pub(super) fn around(sdp: &Sdp, line: usize) -> Result<Media, Fault> {
    let mut media = sdp.media()[line].clone();
    if media.connection().is_none() {
        let connection = sdp.connection(line).ok_or(Fault::NoConnection)?;
        media.set_connection(&connection)?;
    }
    for name in INHERITED {
        if media.has(name) {
            continue;
        }
        for attribute in sdp.session().all(name) {
            media.push_attribute(name, attribute.value)?;
        }
    }
    Ok(media)
}

/// A media line that is refused or not used. It has no name, so that it is in no group.
pub(super) fn dead<'f>(
    kind: &str,
    proto: &str,
    formats: impl IntoIterator<Item = &'f str>,
) -> Result<Media, SdpError> {
    Media::new(kind, 0, proto, formats)
}

/// Takes names of media lines that are not there out of groups, and BUNDLE groups unless `bundle` lets one through.
pub(super) fn prune_groups(sdp: &mut Sdp, bundle: impl Fn(&[&str]) -> bool) -> Result<(), SdpError> {
    let mids: HashSet<&str> =
        sdp.media().iter().filter_map(|media| media.value("mid")).map(str::trim).collect();
    let mut groups = Vec::new();
    let mut changed = false;
    for group in sdp.session().all("group") {
        let mut words = group.text().split(' ').filter(|word| !word.is_empty());
        let Some(semantics) = words.next() else { continue };
        let named: Vec<&str> = words.collect();
        let kept: Vec<&str> = named.iter().copied().filter(|mid| mids.contains(mid)).collect();
        let ends = semantics.eq_ignore_ascii_case("BUNDLE") && !bundle(&kept);
        if ends || kept.is_empty() {
            changed = true;
            continue;
        }
        changed |= kept.len() != named.len();
        groups.push(format!("{semantics} {}", kept.join(" ")));
    }
    if changed {
        sdp.session_mut().replace_attributes("group", groups.iter().map(String::as_str))?;
    }
    Ok(())
}

/// Where the gateway receives RTCP, if it is not where it would be looked for (RFC 3605 section 2.1).
fn rtcp(own: &OwnMedia) -> Option<String> {
    let OwnMedia { rtp, rtcp, .. } = own;
    if rtcp.ip() != rtp.ip() {
        let family = if rtcp.is_ipv4() { "IP4" } else { "IP6" };
        return Some(format!("{} IN {family} {}", rtcp.port(), rtcp.ip()));
    }
    (rtp.port().checked_add(1) != Some(rtcp.port())).then(|| rtcp.port().to_string())
}
