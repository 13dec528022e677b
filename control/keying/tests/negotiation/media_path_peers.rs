//! SDP of peers that key themselves in the media path, as they wrote it (`tests/vectors/sdp`), and what RFCs have for
//! examples.

use sluice_keying::dtls_srtp::Role;
use sluice_keying::negotiation::Agreed;
use sluice_keying::policy::{Handling, IceUse, Keying, Security, Side};
use sluice_keying::sdp::Sdp;

use super::support::{Call, Peer, at, captured, lines};

/// What a peer on the caller's side gets for its offer, and what is agreed on with it.
fn answered(name: &str) -> (Call, String, Vec<Option<Agreed>>) {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let exchange = call.exchange(Side::Caller, &captured(name), Peer::Plain).expect(name);
    let (text, agreed) = (exchange.made.sdp().to_owned(), exchange.made.agreed());
    (call, text, agreed)
}

/// What a peer on the callee's side answers to an offer of the same media.
fn answers(name: &str, ice: IceUse) -> (Vec<Option<Agreed>>, Call) {
    let text = captured(name);
    let mut call = Call::new(Security::BestEffort, Security::Required).in_media_path();
    call.policy.callee.keyings = Some(vec![Keying::DtlsSrtp]);
    call.policy.callee.ice = ice;
    (call.policy.caller.bundle, call.policy.callee.bundle) = (Handling::Pass, Handling::Pass);
    // The same formats under plain RTP are the caller's offer.
    let offered = Sdp::parse(&text).expect("SDP");
    let mut plain = text.replace("UDP/TLS/RTP/SAVPF", "RTP/AVPF").replace(" 0.0.0.0\r\n", " 192.0.2.10\r\n");
    let private = ["a=ice", "a=candidate", "a=fingerprint", "a=setup", "a=rtcp:"];
    plain = plain
        .split_inclusive("\r\n")
        .filter(|line| private.iter().all(|private| !line.starts_with(private)))
        .collect();
    plain = plain.replace("m=video 9 ", "m=video 4002 ");
    let (remote, local) = call.offer(Side::Caller, &plain).expect(name);
    let (read, _) = call.answer(&remote, &local, &text).expect(name);
    assert_eq!(
        read.agreed().iter().flatten().count(),
        if offered.media().len() > 1 { 1 } else { read.agreed().len() }
    );
    (read.agreed(), call)
}

#[test]
fn chromium_is_answered_by_a_handshake_behind_checks() {
    let (mut call, text, agreed) = answered("chromium-audio-offer.sdp");
    let one = at(&agreed, 0).clone();
    let (dtls, ice) = (one.dtls.clone().expect("a handshake"), one.ice.clone().expect("checks"));
    assert_eq!((dtls.role, dtls.peer.tls_id), (Role::Client, None));
    assert!(!lines(&text, "a=setup:active").is_empty() && !text.contains("tls-id"), "{text}");
    assert!(one.rtcp_mux && ice.own.lite && !ice.controlling && ice.peer.more);
    assert_eq!(ice.peer.candidates.len(), 2, "TCP is passed over");
    assert_eq!(lines(&text, "a=group"), ["a=group:BUNDLE 0"]);
    assert_eq!(lines(&text, "m=").len(), 1);
    assert_eq!(one.ssrcs, [3_197_724_152]);
    assert_eq!(lines(&text, "a=candidate").len(), 1, "RTCP has RTP's");
    // A restart of checks alone: other credentials on both ends, and the same association.
    let again = call
        .exchange(Side::Caller, &captured("chromium-audio-restart-offer.sdp"), Peer::Plain)
        .expect("a restart");
    let again = at(&again.made.agreed(), 0).clone();
    assert!(again.dtls.unwrap().continues(one.dtls.as_ref().unwrap()));
    let restarted = again.ice.expect("checks");
    assert_ne!(restarted.own.credentials, ice.own.credentials);
    assert_ne!(restarted.peer.credentials, ice.peer.credentials);
}

#[test]
fn chromiums_media_are_taken_apart_or_pass_together() {
    for name in ["chromium-video-offer.sdp", "chromium-unbundled-offer.sdp", "chromium-simulcast-offer.sdp"] {
        let (_, text, agreed) = answered(name);
        assert_eq!(agreed.iter().flatten().count(), 2, "{name}");
        assert!(agreed.iter().flatten().all(|one| one.dtls.is_some() && one.ice.is_some()));
        assert_eq!(
            (lines(&text, "a=fingerprint").len(), lines(&text, "a=ice-ufrag").len()),
            (2, 2),
            "{name}"
        );
        let mut call = Call::new(Security::Required, Security::Required).in_media_path();
        (call.policy.caller.bundle, call.policy.callee.bundle) = (Handling::Pass, Handling::Pass);
        let (offer, local) = call.offer(Side::Caller, &captured(name)).expect(name);
        assert_eq!(offer.transports(), 1, "{name}");
        let offered = captured(name);
        for kept in ["a=rid:", "a=simulcast", "a=ssrc", "a=extmap", "a=rtpmap", "a=rtcp-fb", "a=msid"] {
            assert_eq!(lines(local.sdp(), kept), lines(&offered, kept), "{name}: {kept}");
        }
    }
}

#[test]
fn chromium_answers_as_one_transport() {
    let (agreed, _) = answers("chromium-video-answer.sdp", IceUse::Lite);
    let one = at(&agreed, 0);
    assert_eq!(one.dtls.as_ref().unwrap().role, Role::Server);
    assert!(one.ice.is_some() && one.rtcp_mux);
    assert!(one.payload_types.contains(&111) && one.payload_types.contains(&96));
    let (agreed, _) = answers("chromium-audio-answer.sdp", IceUse::Full);
    assert!(at(&agreed, 0).ice.as_ref().unwrap().controlling);
}

#[test]
fn aiortc_has_three_hash_functions() {
    let (_, text, agreed) = answered("aiortc-audio-offer.sdp");
    let one = at(&agreed, 0);
    let fingerprints = &one.dtls.as_ref().unwrap().peer.fingerprints;
    let hashes: Vec<_> = fingerprints.iter().map(|fingerprint| fingerprint.hash().name()).collect();
    assert_eq!(hashes, ["sha-256", "sha-384", "sha-512"]);
    let ice = one.ice.as_ref().expect("checks");
    assert!(!ice.peer.more && ice.peer.candidates.len() == 2);
    assert!(text.contains("a=setup:active"), "{text}");
    let (agreed, _) = answers("aiortc-audio-answer.sdp", IceUse::Lite);
    assert!(at(&agreed, 0).dtls.is_some() && at(&agreed, 0).ice.is_some());
}

#[test]
fn baresip_says_it_for_the_session_and_has_no_mux() {
    let (_, text, agreed) = answered("baresip-dtls-offer.sdp");
    let one = at(&agreed, 0);
    assert!(!one.rtcp_mux && one.ice.is_none());
    assert_eq!(one.dtls.as_ref().unwrap().role, Role::Client);
    assert_eq!(one.remote, Some("192.0.2.2:20002".parse().unwrap()));
    assert!(!text.contains("rtcp-mux") && !text.contains("a=ice"), "{text}");
    let (_, text, agreed) = answered("baresip-dtls-ice-offer.sdp");
    let ice = at(&agreed, 0).ice.as_ref().expect("checks");
    assert_eq!((&*ice.peer.credentials.ufrag, ice.peer.candidates.len()), ("9yAYGMj", 4));
    assert_eq!(lines(&text, "a=candidate").len(), 2, "RTCP has its own");
    for name in ["baresip-dtls-answer.sdp", "baresip-dtls-ice-answer.sdp"] {
        let (agreed, _) = answers(name, IceUse::Lite);
        assert_eq!(at(&agreed, 0).dtls.as_ref().unwrap().role, Role::Server, "{name}");
        // The second one was captured with `a=ice-mismatch`: "ICE processing MUST be terminated" (RFC 8839 section 4.2.5).
        assert_eq!(at(&agreed, 0).ice, None, "{name}");
    }
}

/// In the manner of Firefox: what holds for all lines is the session's, and the second line is a data channel.
const FIREFOX: &str = "v=0\r\no=mozilla...THIS_IS_SDPARTA-99.0 5190394837482375936 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
    a=fingerprint:sha-256 \
    D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\na=group:BUNDLE 0 1\r\n\
    a=ice-options:trickle\r\na=msid-semantic:WMS *\r\nm=audio 9 UDP/TLS/RTP/SAVPF 109 101\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\n\
    a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=fmtp:109 \
    maxplaybackrate=48000;stereo=1;useinbandfec=1\r\na=fmtp:101 0-15\r\na=ice-pwd:f2c8ae08d3bfe41b9b5eb3ecbdf6b9a2\r\n\
    a=ice-ufrag:6ee1a9e5\r\na=mid:0\r\na=msid:{a} {b}\r\na=rtcp-mux\r\na=rtpmap:109 opus/48000/2\r\na=rtpmap:101 \
    telephone-event/8000\r\na=setup:actpass\r\na=ssrc:1190813571 cname:{c}\r\nm=application 9 UDP/DTLS/SCTP \
    webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\na=ice-pwd:f2c8ae08d3bfe41b9b5eb3ecbdf6b9a2\r\n\
    a=ice-ufrag:6ee1a9e5\r\na=mid:1\r\na=setup:actpass\r\na=sctp-port:5000\r\na=max-message-size:1073741823\r\n";

#[test]
fn firefox_says_it_for_the_session_and_has_no_address_yet() {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let exchange = call.exchange(Side::Caller, FIREFOX, Peer::Plain).expect("audio");
    let agreed = exchange.made.agreed();
    let one = at(&agreed, 0);
    assert_eq!((one.remote, one.dtls.is_some()), (None, true));
    let ice = one.ice.as_ref().expect("checks");
    assert!(ice.peer.more && ice.peer.candidates.is_empty());
    assert_eq!(lines(exchange.made.sdp(), "m=")[1], "m=application 0 UDP/DTLS/SCTP webrtc-datachannel");
}

/// In the manner of GStreamer's webrtcbin.
const GSTREAMER: &str = "v=0\r\no=- 6018474038373546391 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-options:trickle\r\n\
    a=group:BUNDLE audio0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\n\
    a=ice-ufrag:Wbs/ePBBGcQZ0bIpJ8UJ8kK1Gv6WgAPf\r\na=ice-pwd:Hq1YI4eZvMq4ByR9QGfnJv5gZsxJZ0Vw\r\na=rtcp-mux\r\n\
    a=rtcp-rsize\r\na=sendrecv\r\na=rtpmap:96 OPUS/48000/2\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 transport-cc\r\na=fmtp:96 \
    sprop-maxcapturerate=48000;sprop-stereo=0\r\na=ssrc:2862103498 msid:user1@host webrtctransceiver0\r\n\
    a=ssrc:2862103498 cname:user1@host\r\na=mid:audio0\r\na=fingerprint:sha-256 \
    D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n";

#[test]
fn gstreamer_bundles_one_line() {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let exchange = call.exchange(Side::Caller, GSTREAMER, Peer::Plain).expect("audio");
    assert_eq!(lines(exchange.made.sdp(), "a=group"), ["a=group:BUNDLE audio0"]);
    assert!(at(&exchange.made.agreed(), 0).ice.is_some());
}

/// RFC 5763 section 7.1, Alice's offer but for its hash function, which was SHA-1, and its addresses, which were names.
const RFC5763: &str = "v=0\r\no=- 1181923068 1181923196 IN IP4 ua1.example.com\r\ns=example1\r\nc=IN IP4 192.0.2.1\r\n\
    a=setup:actpass\r\na=fingerprint:sha-256 \
    D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\nt=0 0\r\nm=audio 6056 \
    RTP/AVP 0\r\na=sendrecv\r\na=tcap:1 UDP/TLS/RTP/SAVP RTP/AVP\r\na=pcfg:1 t=1\r\n";

#[test]
fn the_offer_of_rfc_5763_is_answered_by_its_potential_configuration() {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let exchange = call.exchange(Side::Caller, RFC5763, Peer::Plain).expect("DTLS-SRTP");
    let text = exchange.made.sdp();
    assert_eq!(lines(text, "m="), ["m=audio 10000 UDP/TLS/RTP/SAVP 0"], "as Bob answers in section 7.1");
    assert_eq!(lines(text, "a=acfg"), ["a=acfg:1 t=1"]);
    assert_eq!(lines(text, "a=setup"), ["a=setup:active"]);
}

#[test]
fn what_browsers_get_they_would_understand_from_another_gateway() {
    for name in ["chromium-audio-offer.sdp", "aiortc-audio-offer.sdp", "baresip-dtls-ice-offer.sdp"] {
        // One gateway's offer by handshake is another one's, with and without a group.
        let mut one = Call::new(Security::Required, Security::Required).in_media_path();
        one.policy.callee.keyings = Some(vec![Keying::DtlsSrtp]);
        one.policy.callee.ice = IceUse::Full;
        let (remote, local) = one.offer(Side::Caller, &captured(name)).expect(name);
        let mut two = Call::new(Security::Required, Security::Plain).in_media_path();
        let exchange = two.exchange(Side::Caller, local.sdp(), Peer::Plain).expect(name);
        let (read, made) = one.answer(&remote, &local, exchange.made.sdp()).expect(name);
        let (theirs, ours) = (read.agreed(), exchange.made.agreed());
        let (theirs, ours) = (at(&theirs, 0), at(&ours, 0));
        let (a, b) = (theirs.dtls.as_ref().unwrap(), ours.dtls.as_ref().unwrap());
        assert_ne!(a.role, b.role);
        assert_eq!(
            (&a.own.tls_id, &b.own.tls_id),
            (b.peer.tls_id.as_ref().unwrap(), a.peer.tls_id.as_ref().unwrap())
        );
        let (a, b) = (theirs.ice.as_ref().unwrap(), ours.ice.as_ref().unwrap());
        assert_eq!((&a.own.credentials, a.own.lite), (&b.peer.credentials, b.peer.lite));
        assert_eq!((&b.own.credentials, b.own.lite), (&a.peer.credentials, a.peer.lite));
        assert!(a.controlling && !b.controlling);
        assert!(at(&made.agreed(), 0).dtls.is_some());
    }
}
