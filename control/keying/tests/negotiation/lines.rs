//! What is done to each line on its way, and what is left as it is.

use sluice_keying::negotiation::{OwnMedia, Treatment};
use sluice_keying::policy::{ForeignKeying, Handling, Keying, Security, Side};

use super::support::{CM80, Call, Peer, attributes, audio, crypto, lines, sdp};

#[test]
fn what_is_not_understood_stays_in_place_and_order() {
    let text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=a\r\ni=b\r\nc=IN IP4 192.0.2.1\r\nb=AS:64\r\nt=0 0\r\nr=7d 1h 0 \
        25h\r\na=x-one:1\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=x-two\r\nm=audio 4000 RTP/AVP 0 \
        96\r\ni=mic\r\nb=TIAS:64000\r\nk=clear:secret\r\na=x-three:3\r\na=rtpmap:96 opus/48000/2\r\na=candidate:1 1 UDP \
        2130706431 192.0.2.1 4000 typ host\r\na=rtcp:4001\r\na=fmtp:96 useinbandfec=1\r\na=end-of-candidates\r\n\
        a=x-four:4 \u{e4}\r\na=ptime:20\r\n";
    let mut call = Call::new(Security::BestEffort, Security::Plain);
    let (_, local) = call.offer(Side::Caller, text).expect("an offer");
    let want = "s=a\r\ni=b\r\nc=IN IP4 203.0.113.1\r\nb=AS:64\r\nt=0 0\r\nr=7d 1h 0 25h\r\na=x-one:1\r\na=x-two\r\nm=audio \
        20000 RTP/AVP 0 96\r\ni=mic\r\nb=TIAS:64000\r\na=x-three:3\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 \
        useinbandfec=1\r\na=x-four:4 \u{e4}\r\na=ptime:20\r\n";
    assert_eq!(local.sdp().split_once("\r\ns=").map(|(_, rest)| format!("s={rest}")).as_deref(), Some(want));
}

#[test]
fn crypto_lines_take_the_place_of_the_peers() {
    let key = format!("crypto:{}", crypto(1, CM80, b'a'));
    let text = audio("RTP/SAVP", &["x-before", &key, "x-after"]);
    let mut call = Call::new(Security::Required, Security::Required);
    let exchange = call.exchange(Side::Caller, &text, Peer::Sdes).expect("an exchange");
    let names = |text: &str| -> Vec<String> {
        lines(text, "a=")
            .iter()
            .map(|line| line.split([':', ' ']).next().unwrap_or_default().to_owned())
            .collect()
    };
    let want = ["a=x-before", "a=crypto", "a=crypto", "a=crypto", "a=crypto", "a=x-after"];
    assert_eq!(names(exchange.local.sdp()), want);
    let keys: std::collections::HashSet<_> =
        lines(exchange.local.sdp(), "a=crypto").iter().map(|line| line.split("inline:").nth(1)).collect();
    assert_eq!(keys.len(), 4, "each line has a key of its own");
}

#[test]
fn mki_and_lifetime_are_the_policys() {
    let mut call = Call::new(Security::BestEffort, Security::Required);
    (call.policy.callee.mki_length, call.policy.callee.lifetime) = (2, Some(31));
    let (_, local) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
    for line in lines(local.sdp(), "a=crypto") {
        assert!(line.contains("|2^31|") && line.ends_with(":2"), "{line}");
    }
}

#[test]
fn rtcp_is_where_it_is_said_to_be() {
    let mut call = Call::new(Security::Plain, Security::Plain);
    let (_, local) = call.offer(Side::Caller, &audio("RTP/AVP", &["rtcp:4010"])).expect("an offer");
    assert_eq!(lines(local.sdp(), "a=rtcp"), Vec::<&str>::new(), "RTCP is on the next port");
    call.own[1][0].rtcp.set_port(20_011);
    let (offer, local) = call.offer(Side::Caller, &audio("RTP/AVP", &["rtcp:4010"])).expect("an offer");
    assert_eq!(lines(local.sdp(), "a=rtcp"), ["a=rtcp:20011"]);
    let (_, made) = call.answer(&offer, &local, &Peer::Plain.answer(local.sdp())).expect("an answer");
    assert_eq!(made.agreed()[0].clone().unwrap().remote_rtcp, Some("192.0.2.10:4010".parse().unwrap()));
}

#[test]
fn rtcp_mux_ends_or_passes_as_the_policy_says() {
    let text = audio("RTP/AVP", &["rtcp-mux"]);
    let mut ends = Call::new(Security::Plain, Security::Plain);
    let exchange = ends.exchange(Side::Caller, &text, Peer::Plain).expect("an exchange");
    let mux = |agreed: Vec<Option<sluice_keying::negotiation::Agreed>>| agreed[0].clone().unwrap().rtcp_mux;
    assert_eq!((mux(exchange.made.agreed()), mux(exchange.answer.agreed())), (true, false));
    let passing = || {
        let mut call = Call::new(Security::Plain, Security::Plain);
        (call.policy.caller.rtcp_mux, call.policy.callee.rtcp_mux) = (Handling::Pass, Handling::Pass);
        call
    };
    let exchange = passing().exchange(Side::Caller, &text, Peer::Plain).expect("an exchange");
    assert_eq!((mux(exchange.made.agreed()), mux(exchange.answer.agreed())), (true, true));
    let mut call = passing();
    let (offer, local) = call.offer(Side::Caller, &text).expect("an offer");
    let declined = Peer::Plain.answer(local.sdp()).replace("a=rtcp-mux\r\n", "");
    let (answer, made) = call.answer(&offer, &local, &declined).expect("an answer");
    assert_eq!((mux(made.agreed()), mux(answer.agreed())), (false, false));
    assert!(!made.sdp().contains("rtcp-mux"));
    // Nobody who did not offer it gets it.
    let mut call = passing();
    let (offer, local) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
    let (answer, _) =
        call.answer(&offer, &local, &(Peer::Plain.answer(local.sdp()) + "a=rtcp-mux\r\n")).expect("one");
    assert!(!mux(answer.agreed()));
}

#[test]
fn a_gateway_with_one_port_offers_rtcp_mux() {
    let mut call = Call::new(Security::Plain, Security::Plain);
    let rtp = call.own[1][0].rtp;
    call.own[1][0] = OwnMedia::new(rtp, rtp);
    let (_, local) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
    assert_eq!(lines(local.sdp(), "a=rtcp"), ["a=rtcp-mux", "a=rtcp:20000"]);
}

#[test]
fn media_of_two_families_have_their_own_addresses() {
    let mut call = Call::new(Security::Plain, Security::Plain);
    call.own[1][1].rtp.set_ip("2001:db8::1".parse().unwrap());
    call.own[1][1].rtcp.set_ip("2001:db8::1".parse().unwrap());
    let text = sdp("2001:db8::10", &[("audio 4000 RTP/AVP 0", vec![]), ("video 4002 RTP/AVP 96", vec![])]);
    let exchange = call.exchange(Side::Caller, &text, Peer::Plain).expect("an exchange");
    assert_eq!(lines(exchange.local.sdp(), "c="), ["c=IN IP4 203.0.113.1", "c=IN IP6 2001:db8::1"]);
    assert_eq!(
        exchange.made.agreed()[0].clone().unwrap().remote,
        Some("[2001:db8::10]:4000".parse().unwrap())
    );
}

/// A fax line beside audio, and a data channel.
fn mixed() -> String {
    sdp(
        "192.0.2.10",
        &[
            ("audio 4000 RTP/AVP 0", vec![]),
            ("image 4002 udptl t38", attributes(&["T38FaxVersion:0"])),
            (
                "application 4004 UDP/DTLS/SCTP webrtc-datachannel",
                attributes(&["setup:actpass", "sctp-port:5000"]),
            ),
        ],
    )
    .replace("t=0 0\r\n", "t=0 0\r\na=fingerprint:sha-256 AA:BB\r\n")
}

#[test]
fn what_is_not_rtp_goes_by_the_gateway_or_is_refused() {
    let treated = |foreign| {
        let mut call = Call::new(Security::Plain, Security::Plain);
        call.policy.foreign_keying = foreign;
        call.policy.keyings = vec![Keying::Sdes, Keying::None];
        let (offer, local) = call.offer(Side::Caller, &mixed()).expect("an offer");
        let around = offer.media().iter().map(|media| media.treatment == Treatment::Around);
        (around.collect::<Vec<_>>(), offer.refusals().count(), local.sdp().to_owned())
    };
    let (around, refused, text) = treated(ForeignKeying::Pass);
    // The audio line inherits a fingerprint: its keying is not the gateway's either.
    assert_eq!((around, refused), (vec![true, true, true], 0));
    assert_eq!(
        text.split_once("s=").map(|(_, rest)| rest.to_owned()).as_deref(),
        {
            let text = mixed();
            let passed = text.split_once("s=").map(|(_, rest)| rest.replace("m=", "#m="));
            let with_address = passed.map(|rest| {
                let lines = rest.lines().map(|line| match line.strip_prefix('#') {
                    Some(m) => format!("{m}\r\nc=IN IP4 192.0.2.10\r\n"),
                    None => format!("{line}\r\n"),
                });
                lines.collect::<String>()
            });
            with_address.map(|want| {
                let fingerprint = "a=fingerprint:sha-256 AA:BB\r\n";
                want.replace("m=image", &format!("{fingerprint}m=image"))
                    .replace("m=application", &format!("{fingerprint}m=application"))
                    + fingerprint
            })
        }
        .as_deref()
    );
    let (around, refused, text) = treated(ForeignKeying::Remove);
    assert_eq!((around, refused), (vec![false, true, false], 1));
    assert_eq!(lines(&text, "m="), ["m=audio 20000 RTP/AVP 0", "m=image 4002 udptl t38"]);
    assert!(!text.contains("fingerprint") || text.contains("m=image"), "{text}");
}

#[test]
fn a_line_that_goes_by_the_gateway_is_answered_as_it_is() {
    let text = sdp(
        "192.0.2.10",
        &[
            (
                "audio 4000 UDP/TLS/RTP/SAVPF 0",
                attributes(&["setup:actpass", "fingerprint:sha-256 AA:BB", "mid:a"]),
            ),
            ("audio 4002 RTP/SAVP 8", vec![format!("crypto:{}", crypto(1, CM80, b'a'))]),
        ],
    );
    let mut call = Call::new(Security::Required, Security::Required);
    call.policy.foreign_keying = ForeignKeying::Pass;
    call.policy.keyings = vec![Keying::Sdes, Keying::None];
    let (offer, local) = call.offer(Side::Caller, &text).expect("an offer");
    assert_eq!(offer.transports(), 1);
    let around = "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 192.0.2.10\r\na=setup:actpass\r\n\
        a=fingerprint:sha-256 AA:BB\r\na=mid:a\r\n";
    assert!(local.sdp().contains(around), "{}", local.sdp());
    let suite = lines(local.sdp(), "a=crypto:1 ")[0].split(' ').nth(1).expect("a suite").to_owned();
    let answer = sdp(
        "192.0.2.20",
        &[
            (
                "audio 6000 UDP/TLS/RTP/SAVPF 0",
                attributes(&["setup:active", "fingerprint:sha-256 CC:DD", "mid:a"]),
            ),
            ("audio 6002 RTP/SAVP 8", vec![format!("crypto:{}", crypto(1, &suite, b'b'))]),
        ],
    );
    let (answer, made) = call.answer(&offer, &local, &answer).expect("an answer");
    assert_eq!((answer.agreed().len(), made.agreed().len()), (1, 1));
    let want = "m=audio 6000 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 192.0.2.20\r\na=setup:active\r\n\
        a=fingerprint:sha-256 CC:DD\r\na=mid:a\r\nm=audio 10000 RTP/SAVP 8\r\n";
    assert!(made.sdp().contains(want), "{}", made.sdp());
}

#[test]
fn formats_that_were_not_offered_do_not_come_back() {
    let text = audio("RTP/AVP", &["rtpmap:101 telephone-event/8000"]);
    let mut call = Call::new(Security::Plain, Security::Plain);
    let (offer, local) = call.offer(Side::Caller, &text).expect("an offer");
    let answer = sdp(
        "192.0.2.20",
        &[(
            "audio 6000 RTP/AVP 8 18 100",
            attributes(&["rtpmap:18 G729/8000", "rtpmap:100 telephone-event/8000"]),
        )],
    );
    let (answer, made) = call.answer(&offer, &local, &answer).expect("an answer");
    assert_eq!(lines(made.sdp(), "m="), ["m=audio 10000 RTP/AVP 8 100"]);
    assert_eq!(lines(made.sdp(), "a=rtpmap"), ["a=rtpmap:100 telephone-event/8000"]);
    assert_eq!(answer.agreed()[0].clone().unwrap().payload_types, [8, 101, 100]);
}
