//! Calls of user agents that others wrote, through a real daemon: their SDP goes in, what comes out goes to the other one,
//! and what the receiver decoded is the judge.
//!
//! baresip, pjsua2 and linphone call each other through the small SIP relay of `sluice_tests::sip`; ffmpeg has its SDP in
//! files. Each test has namespaces and a daemon of its own.

mod calls;
mod capabilities;
mod dual;
mod ffmpeg;
mod forking;
mod hold;
mod linphone;
mod pjsua;
mod python;

use std::time::Duration;

use anyhow::Result;
use sluice_proto::v1::{MediaSecurity, PeerPolicy, SessionPolicy};
use sluice_tests::baresip;
use sluice_tests::sip::{Plan, Relay, Target};
use sluice_tests::site::Site;

/// How long a call may take to be set up.
const SETUP: Duration = Duration::from_secs(10);
/// The port of the SIP relay.
const RELAY: u16 = 5060;

/// A relay among the peers of a site.
fn relay(site: &Site, targets: Vec<Target>, policy: SessionPolicy) -> Result<Relay> {
    let socket = site.world.peers.udp(site.world.peers_at(RELAY))?;
    Relay::start(socket, &site.socket(), Plan { targets, policy })
}

/// The only callee of a call.
fn only(phone: &baresip::Phone, user: &str) -> Vec<Target> {
    vec![Target { branch: "main".to_owned(), user: user.to_owned(), at: phone.at }]
}

/// A policy of suites, and of what is wanted of caller and callee.
fn policy(suites: &[&str], caller: MediaSecurity, callee: MediaSecurity) -> SessionPolicy {
    let side = |security: MediaSecurity| PeerPolicy { security: security as i32, ..Default::default() };
    SessionPolicy {
        suites: suites.iter().map(|suite| (*suite).to_owned()).collect(),
        caller: Some(side(caller)),
        callee: Some(side(callee)),
        ..Default::default()
    }
}

/// The suites of the crypto lines of an SDP, in order.
fn suites(sdp: &str) -> Vec<&str> {
    cryptos(sdp).map(|line| line.split(' ').nth(1).unwrap_or_default()).collect()
}

/// The keys of the crypto lines of an SDP.
fn keys(sdp: &str) -> Vec<&str> {
    cryptos(sdp)
        .filter_map(|line| {
            let rest = line.split("inline:").nth(1)?;
            rest.split(['|', ' ']).next()
        })
        .collect()
}

fn cryptos(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:"))
}
