//! What the page shows of a call, as it gets it.

use serde::Serialize;
use sluice_proto::v1;

/// A call.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    session: String,
    /// Its robustness class: that of its weakest leg.
    robustness: String,
    /// The browser's legs, then the echo's.
    legs: Vec<Leg>,
}

/// One leg of it.
#[derive(Debug, Serialize)]
struct Leg {
    id: String,
    /// `caller` is the browser, `callee` the echo.
    side: &'static str,
    keying: String,
    robustness: String,
    robustness_explanation: String,
    local: String,
    remote: String,
    /// Of the media: a suite's name, or empty.
    suite: String,
    media_path: Option<MediaPath>,
    /// How packets come and go: `xdp` or `io_uring`.
    path: String,
    received_rtp: u64,
    received_rtcp: u64,
    sent_rtp: u64,
    sent_rtcp: u64,
    /// Datagrams that went to handshakes and checks.
    negotiation: u64,
    dropped: u64,
}

/// What checks and the handshake have come to.
#[derive(Debug, Serialize)]
struct MediaPath {
    ice: String,
    dtls: String,
    version: String,
    cipher: String,
    forward_secret: bool,
    resumed: bool,
    peer_fingerprint: String,
    /// Why there are no keys yet.
    explanation: String,
}

/// What is shown of `call`.
pub(super) fn of(call: &v1::Call, legs: &[v1::Leg], statistics: &[v1::LegStatistics]) -> Status {
    let of_leg = |id: &str| statistics.iter().find(|one| one.session == call.session && one.leg == id);
    let mut legs: Vec<Leg> = legs.iter().map(|leg| describe(leg, of_leg(&leg.id))).collect();
    legs.sort_by(|a, b| (a.side == "callee", &a.id).cmp(&(b.side == "callee", &b.id)));
    Status { session: call.session.clone(), robustness: class(call.robustness()), legs }
}

fn describe(leg: &v1::Leg, statistics: Option<&v1::LegStatistics>) -> Leg {
    let config = leg.config.clone().unwrap_or_default();
    let counters = statistics.cloned().unwrap_or_default();
    // A leg without either has nothing to tell.
    let media_path = leg.media_path.as_ref().filter(|path| path.dtls_state != 0 || path.ice_state != 0);
    let profile = media_path.map(|path| path.profile.clone()).filter(|profile| !profile.is_empty());
    Leg {
        id: leg.id.clone(),
        side: if leg.id.contains(".callee.") { "callee" } else { "caller" },
        keying: name(config.keying().as_str_name(), "KEYING_"),
        robustness: class(leg.robustness()),
        robustness_explanation: leg.robustness_explanation.clone(),
        local: leg.local_rtp.clone(),
        remote: leg.remote_in_use.clone(),
        suite: profile.or_else(|| leg.keys.first().map(|key| key.suite.clone())).unwrap_or_default(),
        media_path: media_path.map(|path| MediaPath {
            ice: name(path.ice_state().as_str_name(), "ICE_STATE_"),
            dtls: name(path.dtls_state().as_str_name(), "DTLS_STATE_"),
            version: path.dtls_version.clone(),
            cipher: path.cipher.clone(),
            forward_secret: path.forward_secret,
            resumed: path.resumed,
            peer_fingerprint: path.peer_fingerprint.clone(),
            explanation: path.explanation.clone(),
        }),
        path: counters.path,
        received_rtp: counters.received_rtp_packets,
        received_rtcp: counters.received_rtcp_packets,
        sent_rtp: counters.sent_rtp_packets,
        sent_rtcp: counters.sent_rtcp_packets,
        negotiation: counters.negotiation,
        dropped: counters.drops.iter().map(|drop| drop.packets).sum(),
    }
}

fn class(class: v1::RobustnessClass) -> String {
    name(class.as_str_name(), "ROBUSTNESS_CLASS_")
}

/// `KEYING_DTLS_SRTP` as `dtls-srtp`; what is not said as nothing.
fn name(constant: &str, prefix: &str) -> String {
    let name = constant.strip_prefix(prefix).unwrap_or(constant);
    if name == "UNSPECIFIED" { String::new() } else { name.to_lowercase().replace('_', "-") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browsers_leg_is_first_and_names_are_those_of_the_docs() {
        let path = v1::MediaPath {
            ice_state: v1::IceState::Connected.into(),
            dtls_state: v1::DtlsState::Established.into(),
            profile: "AEAD_AES_128_GCM".to_owned(),
            ..Default::default()
        };
        let leg = |id: &str, path| v1::Leg { id: id.to_owned(), media_path: path, ..Default::default() };
        let call = v1::Call {
            session: "browser-1".to_owned(),
            robustness: v1::RobustnessClass::NoSignalingPassiveMedia.into(),
            ..Default::default()
        };
        let counters = v1::LegStatistics {
            session: "browser-1".to_owned(),
            leg: "main.caller.0".to_owned(),
            received_rtp_packets: 7,
            ..Default::default()
        };
        let status = of(&call, &[leg("main.callee.0", None), leg("main.caller.0", Some(path))], &[counters]);
        assert_eq!(status.robustness, "no-signaling-passive-media");
        let [browser, echo] = &status.legs[..] else { panic!("two legs") };
        assert_eq!((browser.side, echo.side), ("caller", "callee"));
        assert_eq!((browser.received_rtp, &*browser.suite), (7, "AEAD_AES_128_GCM"));
        let path = browser.media_path.as_ref().unwrap();
        assert_eq!((&*path.ice, &*path.dtls), ("connected", "established"));
        assert_eq!(name("KEYING_DTLS_SRTP", "KEYING_"), "dtls-srtp");
    }
}
