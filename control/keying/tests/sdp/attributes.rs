//! Attributes whose values are read, and BUNDLE.

use sluice_keying::sdp::{
    Candidate, Fingerprint, Fmtp, Media, Rtcp, Rtpmap, Sdp, SdpError, Setup, SsrcAttribute, ZrtpHash,
};

fn media(attributes: &[&str]) -> Media {
    let mut media = Media::new("audio", 1, "RTP/AVP", ["0"]).unwrap();
    for attribute in attributes {
        let (name, value) = attribute.split_once(':').unwrap();
        media.push_attribute(name, Some(value)).unwrap();
    }
    media
}

fn session(lines: &str) -> Sdp {
    Sdp::parse(&format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n{lines}")).unwrap()
}

#[test]
fn rfc3605_rtcp_has_a_port_and_may_have_an_address() {
    // The examples of RFC 3605 section 2.1.
    let rtcp =
        |value: &str| media(&[&format!("rtcp:{value}")]).rtcp().map(|rtcp| rtcp.map(|it| (it.port, it.ip())));
    assert_eq!(rtcp("53020"), Ok(Some((53020, None))));
    assert_eq!(rtcp("53020 IN IP4 126.16.64.4"), Ok(Some((53020, Some("126.16.64.4".parse().unwrap())))));
    let ip6 = "2001:2345:6789:ABCD:EF01:2345:6789:ABCD";
    assert_eq!(rtcp(&format!("53020 IN IP6 {ip6}")), Ok(Some((53020, Some(ip6.parse().unwrap())))));
    assert_eq!(media(&[]).rtcp(), Ok(None));
    assert_eq!(
        media(&["rtcp:1 IN IP4 host.example"]).rtcp(),
        Ok(Some(Rtcp { port: 1, address: Some("host.example") }))
    );
    for wrong in ["", "x", "65536", "1 IN", "1 IN IP4", "1 IN IP4 a b"] {
        assert!(rtcp(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn rfc5576_sources_are_listed_once_in_their_order() {
    let lines = ["ssrc:4294967295 cname:a@b:c", "ssrc:7 x", "ssrc:4294967295 msid:1 2", "ssrc:9"];
    let media = media(&lines);
    assert_eq!(media.ssrcs(), Ok(vec![u32::MAX, 7, 9]));
    let first = media.ssrc_attributes().next().unwrap();
    assert_eq!(first, Ok(SsrcAttribute { ssrc: u32::MAX, name: "cname", value: Some("a@b:c") }));
    let wrong = super::attributes::media(&["ssrc:4294967296 cname:x"]).ssrcs();
    assert!(matches!(wrong, Err(SdpError::Attribute { name: "ssrc", .. })));
}

#[test]
fn payload_types_have_encodings_and_parameters() {
    let media = media(&["rtpmap:96 opus/48000/2", "rtpmap:0 PCMU/8000", "fmtp:96 a=1;b=2"]);
    let maps: Vec<_> = media.rtpmaps().map(Result::unwrap).collect();
    let opus = Rtpmap { payload_type: 96, encoding: "opus", clock_rate: 48000, parameters: Some("2") };
    assert_eq!(
        maps,
        [opus, Rtpmap { payload_type: 0, encoding: "PCMU", clock_rate: 8000, parameters: None }]
    );
    assert_eq!(media.fmtps().next(), Some(Ok(Fmtp { format: "96", parameters: "a=1;b=2" })));
    for wrong in ["rtpmap:128 x/1", "rtpmap:1 x", "rtpmap:1", "rtpmap:x y/1", "rtpmap:1 /1"] {
        assert!(super::attributes::media(&[wrong]).rtpmaps().next().unwrap().is_err(), "{wrong}");
    }
}

#[test]
fn what_dtls_ice_and_zrtp_say_is_read() {
    let media = media(&[
        "setup:ActPass",
        "fingerprint:sha-256 AB:cd:01",
        "candidate:1 1 UDP 2130706431 203.0.113.141 8998 typ srflx raddr 10.0.1.1 rport 9",
        "zrtp-hash:1.10 fe30efd02423cb054e50efd0248742ac7a52c8f91bc2df881ae642c371ba46df",
    ]);
    assert_eq!(media.setup(), Ok(Some(Setup::ActPass)));
    assert_eq!(media.fingerprints().next(), Some(Ok(Fingerprint { hash: "sha-256", value: "AB:cd:01" })));
    let candidate = Candidate {
        foundation: "1",
        component: 1,
        transport: "UDP",
        priority: 2130706431,
        address: "203.0.113.141",
        port: 8998,
        kind: "srflx",
    };
    assert_eq!(media.candidates().next(), Some(Ok(candidate)));
    let hash = media.zrtp_hashes().next().unwrap().unwrap();
    assert!(matches!(hash, ZrtpHash { version: "1.10", hash } if hash.len() == 64));
    let wrong = super::attributes::media(&[
        "setup:later",
        "fingerprint:sha-256 A:B",
        "candidate:1 1 UDP 1 192.0.2.1 1 host",
        "zrtp-hash:1.10 xyz",
    ]);
    assert!(wrong.setup().is_err());
    assert!(wrong.fingerprints().next().unwrap().is_err());
    assert!(wrong.candidates().next().unwrap().is_err());
    assert!(wrong.zrtp_hashes().next().unwrap().is_err());
}

#[test]
fn bundled_lines_share_a_transport() {
    let sdp = session(
        "a=group:LS a b\r\na=group:BUNDLE c a gone\r\nm=audio 1 RTP/AVP 0\r\na=mid:a\r\nm=audio 2 RTP/AVP 0\r\n\
         a=mid:b\r\nm=video 3 RTP/AVP 96\r\na=mid:c\r\nm=audio 4 RTP/AVP 0\r\n",
    );
    let bundles = sdp.bundles().unwrap();
    assert_eq!(bundles.len(), 1);
    assert_eq!(bundles[0].media, [2, 0], "in the group's order");
    assert_eq!(sdp.transports(), Ok(vec![0, 1, 0, 2]));
}

#[test]
fn a_media_line_is_identified_and_bundled_once() {
    let lines = "m=audio 1 RTP/AVP 0\r\na=mid:a\r\nm=audio 2 RTP/AVP 0\r\na=mid:a\r\n";
    assert_eq!(session(lines).mids(), Err(SdpError::RepeatedMid { line: 7 }));
    let lines = "m=audio 1 RTP/AVP 0\r\na=mid:a\r\n";
    for group in ["a=group:BUNDLE a a\r\n", "a=group:BUNDLE a\r\na=group:BUNDLE a\r\n"] {
        let bundles = session(&format!("{group}{lines}")).bundles();
        assert!(matches!(bundles, Err(SdpError::RepeatedInBundle { .. })), "{group}");
    }
}
