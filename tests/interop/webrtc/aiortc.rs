//! aiortc: OpenSSL's DTLS 1.2 and libsrtp, with each of its profiles, and with certificates of ECDSA and of RSA.

use anyhow::{Context, Result, ensure};

use crate::chromium::{incoming, outgoing};
use crate::peer::tools;
use crate::{PLAIN, PROFILES, SDES, WEBRTC, site};

/// The policy allows everything: it is the peer that has only one.
fn suites() -> Vec<&'static str> {
    PROFILES.iter().rev().map(|profile| profile.suite).collect()
}

#[test]
fn aiortc_calls_a_phone_under_each_of_its_profiles_and_both_hear() -> Result<()> {
    let tools = tools!();
    for profile in PROFILES {
        let site = site(&suites(), WEBRTC, PLAIN)?;
        let mut aiortc = tools.aiortc(site.peers_namespace(), "aiortc", &["--profile", profile.openssl])?;
        let handshake = outgoing(&site, &mut aiortc, profile.suite, false).context(profile.suite)?;
        ensure!(handshake.srtp == profile.openssl && handshake.version == "1.2", "{handshake:?}");
    }
    Ok(())
}

#[test]
fn a_phone_calls_aiortc_under_each_of_its_profiles_and_both_hear() -> Result<()> {
    let tools = tools!();
    for profile in PROFILES {
        let site = site(&suites(), PLAIN, WEBRTC)?;
        let mut aiortc = tools.aiortc(site.peers_namespace(), "aiortc", &["--profile", profile.openssl])?;
        let handshake = incoming(&site, &mut aiortc, profile.suite, false).context(profile.suite)?;
        ensure!(handshake.srtp == profile.openssl && handshake.version == "1.2", "{handshake:?}");
    }
    Ok(())
}

#[test]
fn aiortc_with_a_certificate_of_rsa_is_heard_whoever_calls_and_whoever_begins_the_handshake() -> Result<()> {
    let tools = tools!();
    let suite = PROFILES[2].suite;
    for setup in ["", "dtls_setup = \"active\"\n", "dtls_setup = \"passive\"\n"] {
        let dtls = format!("{WEBRTC}{setup}");
        let there = site(&suites(), &dtls, SDES)?;
        let mut aiortc = tools.aiortc(there.peers_namespace(), "aiortc", &["--rsa"])?;
        outgoing(&there, &mut aiortc, suite, true).with_context(|| format!("aiortc calls; {setup}"))?;
        drop((aiortc, there));
        let back = site(&suites(), SDES, &dtls)?;
        let mut aiortc = tools.aiortc(back.peers_namespace(), "aiortc", &["--rsa"])?;
        incoming(&back, &mut aiortc, suite, true).with_context(|| format!("the phone calls; {setup}"))?;
    }
    Ok(())
}
