//! Firefox (NSS, libsrtp) and a phone without handshakes, and what Firefox says of the keys that it got.

use anyhow::{Context, Result, ensure};

use crate::chromium::{incoming, outgoing};
use crate::peer::tools;
use crate::{PLAIN, PROFILES, SDES, WEBRTC, site, site_with};

#[test]
fn firefox_calls_a_phone_with_plain_rtp_under_each_profile_and_both_hear() -> Result<()> {
    let tools = tools!(firefox);
    for profile in PROFILES {
        let site = site(&[profile.suite], WEBRTC, PLAIN)?;
        let mut firefox = tools.firefox(site.peers_namespace(), "firefox")?;
        let handshake = outgoing(&site, &mut firefox, profile.suite, false).context(profile.suite)?;
        ensure!(handshake.srtp == profile.chromium, "{handshake:?}");
    }
    Ok(())
}

#[test]
fn a_phone_with_sdes_calls_firefox_and_both_hear() -> Result<()> {
    let tools = tools!(firefox);
    // The phone has counter mode alone.
    let [cm, profile, _] = PROFILES;
    let site = site(&[profile.suite, cm.suite], SDES, WEBRTC)?;
    let mut firefox = tools.firefox(site.peers_namespace(), "firefox")?;
    let handshake = incoming(&site, &mut firefox, profile.suite, true)?;
    ensure!(handshake.srtp == profile.chromium, "{handshake:?}");
    Ok(())
}

#[test]
fn firefox_s_handshake_is_of_the_version_that_the_gateway_has_whoever_begins_it() -> Result<()> {
    let tools = tools!(firefox);
    // Of those that dimpl offers in 1.3 the one that Firefox takes.
    let profile = PROFILES[1];
    for version in ["1.2", "1.3"] {
        for setup in ["active", "passive"] {
            let side = format!("{WEBRTC}dtls_setup = \"{setup}\"\n");
            let dtls = format!("[dtls]\nversions = [\"{version}\"]\n");
            let site = site_with(&[profile.suite], &side, PLAIN, &dtls)?;
            let mut firefox = tools.firefox(site.peers_namespace(), "firefox")?;
            let of = || format!("version {version}, {setup}");
            let handshake = outgoing(&site, &mut firefox, profile.suite, false).with_context(of)?;
            ensure!(handshake.version == version, "{}: {handshake:?}", of());
        }
    }
    Ok(())
}
