//! BUNDLE groups as browsers have them, keyed by one handshake (RFC 8843, RFC 8842 section 4).

use sluice_keying::negotiation::Treatment;
use sluice_keying::policy::{ForeignKeying, Handling, IceUse, Keying, Security, Side};

use super::dtls::{TLS_ID, fingerprint};
use super::support::{Call, Peer, at, attributes, lines, sdp};

/// A caller with a browser on its side, and a callee.
fn call(bundle: Handling) -> Call {
    let mut call = Call::new(Security::Required, Security::Required).in_media_path();
    call.policy.callee.keyings = Some(vec![Keying::DtlsSrtp]);
    (call.policy.caller.bundle, call.policy.callee.bundle) = (bundle, bundle);
    call.policy.callee.ice = IceUse::Lite;
    call
}

fn transport() -> Vec<String> {
    let texts = ["setup:actpass", &fingerprint(b'p'), TLS_ID, "ice-options:trickle"];
    let ice = ["ice-ufrag:8hhY", "ice-pwd:asd88fgpdd777uzjYhagZg", "rtcp-mux"];
    attributes(&[&texts[..], &ice[..]].concat())
}

/// Lines in a group, each with what it says; the first of a browser's under `max-bundle` says all.
fn grouped(media: &[(&str, Vec<String>)]) -> String {
    let named: Vec<_> = media
        .iter()
        .enumerate()
        .map(|(mid, (m, rest))| (*m, [&[format!("mid:{mid}")], &rest[..]].concat()))
        .collect();
    let mids: Vec<_> = (0..media.len()).map(|mid| mid.to_string()).collect();
    sdp("192.0.2.10", &named).replace("t=0 0\r\n", &format!("t=0 0\r\na=group:BUNDLE {}\r\n", mids.join(" ")))
}

/// Audio and video that cannot be taken apart, and what is sent in them.
fn max_bundle() -> String {
    let audio = [transport(), attributes(&["ssrc:11 cname:x"])].concat();
    let video = attributes(&[
        "rtcp-mux",
        "bundle-only",
        "extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        "rtpmap:96 VP8/90000",
        "rtpmap:97 rtx/90000",
        "fmtp:97 apt=96",
        "rid:h send",
        "rid:f send",
        "simulcast:send h;f",
        "ssrc-group:FID 22 33",
        "ssrc:22 cname:x",
        "ssrc:33 cname:x",
    ]);
    grouped(&[("audio 9 UDP/TLS/RTP/SAVPF 111", audio), ("video 0 UDP/TLS/RTP/SAVPF 96 97", video)])
}

/// What a peer that bundles answers: all lines, by the first one's transport.
fn bundling_answer() -> String {
    let mut first = transport();
    "setup:active".clone_into(&mut first[0]);
    first.push("ssrc:44 cname:y".to_owned());
    let second = attributes(&["rtcp-mux", "rtpmap:96 VP8/90000", "rtpmap:97 rtx/90000", "fmtp:97 apt=96"]);
    grouped(&[("audio 9 UDP/TLS/RTP/SAVPF 111", first), ("video 9 UDP/TLS/RTP/SAVPF 96 97", second)])
        .replace("192.0.2.10", "192.0.2.20")
}

#[test]
fn a_group_that_cannot_be_taken_apart_passes_as_one_transport() {
    let mut call = call(Handling::Terminate);
    let (offer, local) = call.offer(Side::Caller, &max_bundle()).expect("an offer");
    assert_eq!(offer.transports(), 1);
    let text = local.sdp();
    assert_eq!(lines(text, "a=group"), ["a=group:BUNDLE 0 1"]);
    assert_eq!(lines(text, "m=")[1], "m=video 0 UDP/TLS/RTP/SAVPF 96 97");
    for once in ["a=fingerprint", "a=setup", "a=tls-id", "a=ice-ufrag", "a=ice-pwd", "a=ice-options"] {
        assert_eq!(
            lines(text, once).len(),
            1,
            "{once} is the tagged line's (RFC 8843 section 7.1.3): {text}"
        );
    }
    let kept = ["a=rid:h send", "a=simulcast:send h;f", "a=ssrc-group:FID 22 33", "a=extmap:4 urn:ietf"];
    assert!(kept.iter().all(|kept| lines(text, kept).len() == 1), "{text}");
    let (answer, made) = call.answer(&offer, &local, &bundling_answer()).expect("an answer");
    let (ours, theirs) = (made.agreed(), answer.agreed());
    let (ours, theirs) = (at(&ours, 0), at(&theirs, 0));
    assert_eq!((&ours.ssrcs[..], &ours.payload_types[..]), (&[11, 22, 33][..], &[111, 96, 97][..]));
    assert_eq!(theirs.ssrcs, [44]);
    for agreed in [ours, theirs] {
        assert!(agreed.rtcp_mux && agreed.dtls.is_some() && agreed.ice.is_some());
    }
    let text = made.sdp();
    assert_eq!(lines(text, "a=group"), ["a=group:BUNDLE 0 1"]);
    assert_eq!(lines(text, "m=").len(), 2);
    assert!(lines(text, "m=").iter().all(|m| m.contains(" 10000 UDP/TLS/RTP/SAVPF ")), "{text}");
    assert_eq!((lines(text, "a=fingerprint").len(), lines(text, "a=ice-ufrag").len()), (1, 1));
    assert_eq!(lines(text, "a=rtcp-mux").len(), 2);
    // From then on lines have one address, and still are one transport.
    let again = max_bundle().replace("a=bundle-only\r\n", "").replace("video 0", "video 9");
    let (offer, local) = call.offer(Side::Caller, &again).expect("a re-offer");
    assert_eq!(offer.transports(), 1);
    let (answer, made) = call.answer(&offer, &local, &bundling_answer()).expect("an answer");
    assert!(at(&made.agreed(), 0).dtls.as_ref().unwrap().continues(ours.dtls.as_ref().unwrap()));
    assert_eq!(at(&answer.agreed(), 0).ice, theirs.ice);
}

#[test]
fn a_group_of_lines_with_addresses_is_taken_apart_unless_it_passes() {
    let video = [transport(), attributes(&["ssrc:22 cname:x"])].concat();
    let text = grouped(&[
        ("audio 4000 UDP/TLS/RTP/SAVPF 111", transport()),
        ("video 4002 UDP/TLS/RTP/SAVPF 96", video),
    ]);
    let mut apart = call(Handling::Terminate);
    let (offer, local) = apart.offer(Side::Caller, &text).expect("an offer");
    assert_eq!((offer.transports(), lines(local.sdp(), "a=fingerprint").len()), (2, 2));
    assert!(!local.sdp().contains("BUNDLE"), "{}", local.sdp());
    let mut passing = call(Handling::Pass);
    let (offer, local) = passing.offer(Side::Caller, &text).expect("an offer");
    assert_eq!((offer.transports(), lines(local.sdp(), "a=fingerprint").len()), (1, 1));
}

#[test]
fn a_group_of_one_line_is_answered_as_one() {
    // Under `max-bundle` an answer without a group is refused, whatever is in it.
    let text = grouped(&[("audio 9 UDP/TLS/RTP/SAVPF 111", transport())]);
    let mut call = call(Handling::Terminate);
    call.policy.callee.keyings = None;
    let exchange = call.exchange(Side::Caller, &text, Peer::Sdes).expect("an exchange");
    assert_eq!(lines(exchange.made.sdp(), "a=group"), ["a=group:BUNDLE 0"]);
    assert_eq!(lines(exchange.made.sdp(), "a=mid"), ["a=mid:0"]);
}

#[test]
fn a_peer_that_bundles_nothing_leaves_the_first_line() {
    let mut call = call(Handling::Terminate);
    call.policy.callee.keyings = None;
    let exchange = call.exchange(Side::Caller, &max_bundle(), Peer::Sdes).expect("an exchange");
    assert_eq!(lines(exchange.made.sdp(), "a=group"), ["a=group:BUNDLE 0"]);
    assert_eq!(lines(exchange.made.sdp(), "m=")[1], "m=video 0 UDP/TLS/RTP/SAVPF 96 97");
}

#[test]
fn a_data_channel_is_refused_and_the_rest_of_its_group_is_not() {
    let data = attributes(&["sctp-port:5000", "bundle-only"]);
    let channel = ("application 0 UDP/DTLS/SCTP webrtc-datachannel", data);
    let text = grouped(&[("audio 9 UDP/TLS/RTP/SAVPF 111", transport()), channel]);
    for foreign in [ForeignKeying::Remove, ForeignKeying::Pass, ForeignKeying::Refuse] {
        let mut call = call(Handling::Terminate);
        (call.policy.foreign_keying, call.policy.callee.keyings) = (foreign, None);
        let exchange = call.exchange(Side::Caller, &text, Peer::Sdes).expect("audio");
        assert!(matches!(exchange.offer.media()[1].treatment, Treatment::Refused(_)));
        assert_eq!(lines(exchange.local.sdp(), "m=").len(), 1);
        let answered = lines(exchange.made.sdp(), "m=");
        assert_eq!(answered[1], "m=application 0 UDP/DTLS/SCTP webrtc-datachannel");
        assert_eq!(lines(exchange.made.sdp(), "a=group"), ["a=group:BUNDLE 0"]);
        assert!(at(&exchange.made.agreed(), 0).dtls.is_some());
    }
}

#[test]
fn a_data_channel_that_comes_first_still_says_where_the_rest_is() {
    let data = [transport(), attributes(&["sctp-port:5000"])].concat();
    let audio = attributes(&["rtcp-mux", "bundle-only"]);
    let text = grouped(&[
        ("application 4000 UDP/DTLS/SCTP webrtc-datachannel", data),
        ("audio 0 UDP/TLS/RTP/SAVPF 111", audio),
    ]);
    let mut call = call(Handling::Terminate);
    call.policy.callee.keyings = None;
    let exchange = call.exchange(Side::Caller, &text, Peer::Sdes).expect("audio");
    let answered = lines(exchange.made.sdp(), "m=");
    assert_eq!(answered[0], "m=application 0 UDP/DTLS/SCTP webrtc-datachannel");
    assert_eq!(answered[1], "m=audio 10000 UDP/TLS/RTP/SAVPF 111");
    assert_eq!(lines(exchange.made.sdp(), "a=group"), ["a=group:BUNDLE 1"]);
    let agreed = exchange.made.agreed();
    let agreed = at(&agreed, 0);
    assert!(agreed.dtls.is_some() && agreed.ice.is_some());
    assert_eq!(agreed.remote, Some("192.0.2.10:4000".parse().unwrap()));
}

#[test]
fn groups_of_crypto_lines_end_at_the_gateway_as_before() {
    let key = format!("crypto:{}", super::support::crypto(1, super::support::CM80, b'a'));
    let text = grouped(&[
        ("audio 4000 RTP/SAVPF 111", attributes(&[&key])),
        ("video 0 RTP/SAVPF 96", attributes(&["bundle-only"])),
    ]);
    let mut call = Call::new(Security::Required, Security::Required).in_media_path();
    let exchange = call.exchange(Side::Caller, &text, Peer::Sdes).expect("an exchange");
    assert!(!exchange.made.sdp().contains("BUNDLE") && !exchange.local.sdp().contains("BUNDLE"));
    assert_eq!(exchange.offer.media()[1].treatment, Treatment::Unused);
}
