//! Lines stay where they are; what contradicts itself is refused.

use sluice_keying::negotiation::Direction;
use sluice_keying::sdp::{Connection, Line, Media, OriginLine, RtpProfile, Sdp, SdpError, Secured};

use crate::CALL;

fn call() -> Sdp {
    Sdp::parse(CALL).unwrap()
}

fn refused(text: &str) -> SdpError {
    Sdp::parse(text).unwrap_err()
}

/// The least that a description has, and lines after it.
fn with(lines: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n{lines}")
}

#[test]
fn what_is_not_changed_is_written_as_it_was_read() {
    assert_eq!(call().write().as_str(), CALL);
}

#[test]
fn line_ends_may_be_line_feeds_alone_and_the_last_may_be_missing_or_repeated() {
    let bare = CALL.replace("\r\n", "\n");
    for text in [bare.as_str(), bare.trim_end(), &format!("{CALL}\r\n\r\n"), &format!("{CALL}\n\n")] {
        assert_eq!(Sdp::parse(text).unwrap().write().as_str(), CALL);
    }
}

#[test]
fn a_session_may_have_no_media() {
    let sdp = Sdp::parse(&with("t=0 0\r\n")).unwrap();
    assert!(sdp.media().is_empty());
    assert_eq!(sdp.origin().session_id, "1");
}

#[test]
fn media_lines_are_read() {
    let sdp = call();
    let [audio, plain, video] = sdp.media() else { panic!("three") };
    assert_eq!(
        (audio.kind(), audio.port(), audio.port_count(), audio.proto()),
        ("audio", 49170, 1, "RTP/SAVP")
    );
    assert_eq!(audio.profile(), Some(RtpProfile::new(Secured::Srtp, false)));
    assert_eq!(audio.formats().collect::<Vec<_>>(), ["0", "96"]);
    assert_eq!(plain.payload_types(), [0]);
    assert_eq!((video.port(), video.port_count()), (51372, 2));
    assert_eq!(video.profile(), Some(RtpProfile::new(Secured::Plain, true)));
}

#[test]
fn formats_that_are_no_payload_types_are_none() {
    let sdp = Sdp::parse(&with(
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nm=audio 9 RTP/AVP 127 128 x\r\n",
    ));
    let sdp = sdp.unwrap();
    assert_eq!(sdp.media()[0].profile(), None);
    assert!(sdp.media()[0].payload_types().is_empty());
    assert_eq!(sdp.media()[1].payload_types(), [127]);
}

#[test]
fn fields_may_be_further_apart_than_by_one_space() {
    let sdp = Sdp::parse(&with("c=IN  IP4 192.0.2.7 \r\nm=audio  5004  RTP/AVP  0 8 \r\n")).unwrap();
    assert_eq!(sdp.connection(0).unwrap().ip(), Some("192.0.2.7".parse().unwrap()));
    assert_eq!(sdp.media()[0].payload_types(), [0, 8]);
}

#[test]
fn values_of_the_session_hold_where_media_have_none_of_their_own() {
    let sdp = call();
    assert_eq!(sdp.connection(0).unwrap().address, "198.51.100.1");
    assert_eq!(sdp.connection(2).unwrap().address, "2001:db8::2");
    assert_eq!(sdp.inherited(0, "x-session"), Some("kept"));
    assert_eq!(sdp.direction(0), Direction::SendRecv);
    assert_eq!(sdp.direction(1), Direction::SendRecv, "the default");
    assert_eq!(sdp.direction(2), Direction::RecvOnly);
}

#[test]
fn changes_touch_their_line_and_no_other() {
    let mut sdp = call();
    let audio = &mut sdp.media_mut()[0];
    audio.set_port(6000);
    audio.set_profile(RtpProfile::new(Secured::Plain, true));
    audio.set_formats(["96"]).unwrap();
    audio.set_connection(&Connection::of("192.0.2.9".parse().unwrap(), "192.0.2.9")).unwrap();
    audio.set_direction(Direction::Inactive).unwrap();
    let expected = CALL
        .replace("m=audio 49170 RTP/SAVP 0 96\r\n", "m=audio 6000 RTP/AVPF 96\r\nc=IN IP4 192.0.2.9\r\n")
        .replace("a=sendrecv", "a=inactive");
    assert_eq!(sdp.write().as_str(), expected);
}

#[test]
fn a_changed_port_is_one_port() {
    let mut sdp = call();
    sdp.media_mut()[2].set_port(0);
    assert!(sdp.write().contains("m=video 0 RTP/AVPF 99\r\n"));
}

#[test]
fn attributes_are_replaced_in_place_and_added_last() {
    let mut sdp = Sdp::parse(&with("m=audio 1 RTP/AVP 0\r\na=x:1\r\na=y\r\na=x:2\r\na=z\r\n")).unwrap();
    let media = &mut sdp.media_mut()[0];
    media.set_attribute("x", Some("3")).unwrap();
    media.set_attribute("new", None).unwrap();
    media.replace_attributes("y", ["a", "b"]).unwrap();
    media.replace_attributes("crypto", ["1", "2"]).unwrap();
    assert_eq!(media.remove_attributes("z"), 1);
    assert!(sdp.write().ends_with("\r\na=x:3\r\na=y:a\r\na=y:b\r\na=new\r\na=crypto:1\r\na=crypto:2\r\n"));
}

#[test]
fn names_of_attributes_are_whole_and_their_case_counts() {
    let sdp = Sdp::parse(&with("a=rtcp-mux\r\na=rtcp:9\r\na=Mid:1\r\n")).unwrap();
    assert_eq!(sdp.session().value("rtcp"), Some("9"));
    assert!(!sdp.session().has("mid"));
}

#[test]
fn lines_are_put_where_they_belong() {
    let mut sdp = Sdp::parse(&with("t=0 0\r\na=x\r\nm=audio 1 RTP/AVP 0\r\na=y\r\n")).unwrap();
    let connection = Connection { net_type: "IN", addr_type: "IP4", address: "192.0.2.1" };
    sdp.session_mut().set_connection(&connection).unwrap();
    sdp.media_mut()[0].set_connection(&connection).unwrap();
    sdp.media_mut()[0].insert(0, Line::new('b', "AS:64").unwrap()).unwrap();
    let expected = "c=IN IP4 192.0.2.1\r\nt=0 0\r\na=x\r\n\
                    m=audio 1 RTP/AVP 0\r\nb=AS:64\r\nc=IN IP4 192.0.2.1\r\na=y\r\n";
    assert!(sdp.write().ends_with(expected), "{}", sdp.write().as_str());
}

#[test]
fn media_lines_are_put_in_and_taken_out() {
    let mut sdp = call();
    let line = Media::new("audio", 9, "RTP/AVP", ["0"]).unwrap();
    sdp.insert_media(1, line.clone()).unwrap();
    assert_eq!(sdp.media()[1], line);
    assert_eq!(sdp.remove_media(1), Some(line));
    assert_eq!(sdp.write().as_str(), CALL);
    assert_eq!(sdp.remove_media(3), None);
}

#[test]
fn the_origin_is_replaced_whole() {
    let mut sdp = call();
    let origin = OriginLine { username: "-", version: "7", address: "192.0.2.3", ..sdp.origin() };
    let id = origin.session_id.to_owned();
    let origin = OriginLine { session_id: &id, net_type: "IN", addr_type: "IP4", ..origin };
    let text = format!("o=- {id} 7 IN IP4 192.0.2.3\r\n");
    let mut changed = sdp.clone();
    changed.set_origin(&origin).unwrap();
    assert!(changed.write().contains(&text));
    assert_eq!(changed.origin().version, "7");
    let spaced = OriginLine { username: "a b", ..origin };
    assert!(matches!(sdp.clone().set_origin(&spaced), Err(SdpError::Malformed { kind: 'o', .. })));
    sdp.session_mut().remove_kind('i');
    assert!(!sdp.write().contains("i=SDP"));
}

#[test]
fn no_value_can_smuggle_a_line_in() {
    let mut sdp = call();
    let media = &mut sdp.media_mut()[0];
    for evil in ["1\r\na=evil", "1\nm=audio 1 RTP/AVP 0", "\0"] {
        assert_eq!(media.set_attribute("mid", Some(evil)), Err(SdpError::Control { line: 0 }));
        assert_eq!(media.set_attribute(evil, None), Err(SdpError::Control { line: 0 }));
        assert_eq!(media.set('i', evil), Err(SdpError::Control { line: 0 }));
        assert!(media.set_proto(evil).is_err());
        assert!(media.set_formats([evil]).is_err());
        assert!(Media::new(evil, 1, "RTP/AVP", ["0"]).is_err());
    }
    assert!(matches!(media.set('m', "audio 1 RTP/AVP 0"), Err(SdpError::Misplaced { .. })));
    let line = Line::new('m', "audio 1 RTP/AVP 0").unwrap();
    assert!(matches!(media.insert(9, line), Err(SdpError::Misplaced { .. })));
    assert_eq!(media.remove_kind('m'), 0);
    let connection = Connection { net_type: "IN", addr_type: "IP4", address: "1 2" };
    assert!(media.set_connection(&connection).is_err());
    assert!(media.set_formats([]).is_err());
    assert!(media.set_proto("RTP/AVP 0").is_err());
    assert_eq!(sdp.write().as_str(), CALL);
}

#[test]
fn what_must_come_first_comes_first() {
    let expected = |line, kind| SdpError::Expected { line, kind };
    assert_eq!(refused("m=audio 1 RTP/AVP 0\r\n"), expected(1, 'v'));
    assert_eq!(refused("v=0\r\n"), expected(2, 'o'));
    assert_eq!(refused("v=0\r\ns=-\r\n"), expected(2, 'o'));
    assert_eq!(refused("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nt=0 0\r\n"), expected(3, 's'));
    assert_eq!(refused(""), SdpError::NotALine { line: 1 });
}

#[test]
fn lines_that_contradict_each_other_are_refused_by_number() {
    let repeated = |line, kind, first| SdpError::Repeated { line, kind, first };
    let connection = "c=IN IP4 192.0.2.1\r\n";
    assert_eq!(refused(&with(&format!("{connection}{connection}"))), repeated(5, 'c', 4));
    assert_eq!(
        refused("v=0\no=- 1 1 IN IP4 192.0.2.1\no=- 2 2 IN IP4 192.0.2.1\ns=-\n"),
        repeated(3, 'o', 2)
    );
    assert_eq!(refused(&with("v=0\r\n")), repeated(4, 'v', 1));
    let media = "m=audio 1 RTP/AVP 0\r\n";
    assert!(Sdp::parse(&with(&format!("{connection}{media}{connection}{media}{connection}"))).is_ok());
    assert_eq!(refused(&with(&format!("{media}{connection}a=x\r\n{connection}"))), repeated(7, 'c', 5));
    for kind in ['v', 'o', 's', 't'] {
        let text = with(&format!("{media}{kind}=0\r\n"));
        assert_eq!(refused(&text), SdpError::Misplaced { line: 5, kind });
    }
}

#[test]
fn lines_that_are_none_are_refused_by_number() {
    for line in ["x", "=", "a", "a:x", "ab=c", " a=x", "", "1=2", "\u{e9}=x"] {
        let error = refused(&with(&format!("{line}\r\nt=0 0\r\n")));
        assert_eq!(error, SdpError::NotALine { line: 4 }, "{line:?}");
    }
    assert_eq!(refused(&with("y=1\r\n")), SdpError::UnknownType { line: 4, kind: 'y' });
    assert_eq!(refused(&with("a=x\ry\r\n")), SdpError::Control { line: 4 });
    assert_eq!(refused(&with("a=x\0\r\n")), SdpError::Control { line: 4 });
}

#[test]
fn values_that_matter_must_be_right() {
    let malformed = |text: &str, at, of| matches!(refused(text), SdpError::Malformed { line, kind, .. } if (line, kind) == (at, of));
    assert!(malformed("v=1\r\n", 1, 'v'));
    for origin in ["", "- 1 1 IN IP4", "- a 1 IN IP4 x", "- 1 -1 IN IP4 x", "- 1 1 IN IP4 x y"] {
        assert!(malformed(&format!("v=0\r\no={origin}\r\ns=-\r\n"), 2, 'o'), "{origin:?}");
    }
    for connection in ["", "IN IP4", "IN IP4 a b", "IN IP4 2001:db8::1", "IN IP6 192.0.2.1", "IN IP4 /127"] {
        assert!(malformed(&with(&format!("c={connection}\r\n")), 4, 'c'), "{connection:?}");
    }
    let media = [
        "",
        "audio",
        "audio 1",
        "audio 1 RTP/AVP",
        "audio 65536 RTP/AVP 0",
        "audio -1 RTP/AVP 0",
        "audio +1 RTP/AVP 0",
        "audio 1/0 RTP/AVP 0",
        "audio 1/ RTP/AVP 0",
        "au(dio 1 RTP/AVP 0",
        "audio 1 RTP//AVP 0",
        "audio x RTP/AVP 0",
    ];
    for media in media {
        assert!(malformed(&with(&format!("m={media}\r\n")), 4, 'm'), "{media:?}");
    }
}

#[test]
fn addresses_may_be_names_or_multicast_and_are_then_no_unicast_address() {
    for address in ["IP4 host.example.com", "IP4 224.2.1.1/127/3", "IP6 FF15::101/3", "X x"] {
        let sdp = Sdp::parse(&with(&format!("c=IN {address}\r\nm=audio 1 RTP/AVP 0\r\n"))).unwrap();
        assert_eq!(sdp.connection(0).unwrap().ip(), None, "{address}");
    }
}

#[test]
fn nothing_of_a_value_is_shown() {
    let sdp = Sdp::parse(&with("k=clear:secret\r\nm=audio 1 RTP/SAVP 0\r\na=crypto:1 X inline:secret\r\n"))
        .unwrap();
    let shown = format!("{sdp:?} {:?}", sdp.media()[0].attribute("crypto"));
    assert!(shown.contains("crypto") && !shown.contains("secret"), "{shown}");
    let error = refused(&with("k=clear:secret\r\nk=clear:secret\r\n")).to_string();
    assert!(error.contains("line 5") && !error.contains("secret"), "{error}");
}

#[test]
fn profiles_have_their_names() {
    for secured in [Secured::Plain, Secured::Srtp, Secured::DtlsSrtp] {
        for feedback in [false, true] {
            let profile = RtpProfile::new(secured, feedback);
            assert_eq!(profile.name().parse(), Ok(profile));
        }
    }
    assert!("TCP/RTP/AVP".parse::<RtpProfile>().is_err());
}
