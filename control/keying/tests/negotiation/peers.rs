//! Descriptions in the manner of known endpoints, written from what they are known to send.

use sluice_keying::negotiation::{Direction, Treatment};
use sluice_keying::policy::{BestEffortForm, ForeignKeying, Keying, Security, Side};
use sluice_srtp::Suite;

use super::support::{Call, Peer, lines};

const KEY_A: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const KEY_B: &str = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

/// In the manner of baresip with `mediaenc=srtp`: crypto lines beside RTP/AVP.
const BARESIP: &str = "v=0\r\no=- 2938475610 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
    a=tool:baresip 1.0.0\r\nm=audio 10242 RTP/AVP 96 0 8 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 \
    stereo=1;sprop-stereo=1\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 \
    telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:10243\r\na=crypto:1 AES_CM_128_HMAC_SHA1_32 \
    inline:KEYA\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:KEYB\r\na=ssrc:2345678901 cname:sip:a@example.com\r\n\
    a=sendrecv\r\na=label:1\r\na=rtcp-rsize\r\na=ptime:20\r\n";

/// In the manner of Linphone with SRTP offered beside RTP by AVPF and capabilities.
const LINPHONE: &str = "v=0\r\no=alice 1024 3345 IN IP4 192.0.2.10\r\ns=Talk\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
    a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics\r\na=record:off\r\na=tcap:1 \
    RTP/SAVP RTP/SAVPF\r\nm=audio 7078 RTP/AVPF 96 97 0 8\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 \
    useinbandfec=1\r\na=rtpmap:97 speex/16000\r\na=fmtp:97 vbr=on\r\na=rtcp-fb:* trr-int 1000\r\na=rtcp-fb:* ccm \
    tmmbr\r\na=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEYA\r\na=acap:2 crypto:2 AES_CM_128_HMAC_SHA1_32 \
    inline:KEYB\r\na=pcfg:1 t=2 a=1|2\r\na=pcfg:2 t=1 a=1|2\r\n";

/// In the manner of Asterisk with `media_encryption=sdes`.
const ASTERISK: &str = "v=0\r\no=- 1711035 1711035 IN IP4 192.0.2.10\r\ns=Asterisk\r\nc=IN IP4 192.0.2.10\r\nt=0 \
    0\r\nm=audio 12844 RTP/SAVP 0 8 101\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEYA\r\na=rtpmap:0 \
    PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n\
    a=maxptime:150\r\na=sendrecv\r\n";

/// In the manner of pjsua with SRTP optional: two lines, and a re-offer with a hold.
const PJSIP: &str = "v=0\r\no=- 3910000000 3910000001 IN IP4 192.0.2.10\r\ns=pjmedia\r\nb=AS:84\r\nt=0 0\r\na=X-nat:0\r\n\
    m=audio 4000 RTP/SAVP 98 0 8 96\r\nc=IN IP4 192.0.2.10\r\nb=TIAS:64000\r\na=rtcp:4001 IN IP4 192.0.2.10\r\n\
    a=sendonly\r\na=rtpmap:98 speex/16000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 \
    telephone-event/8000\r\na=fmtp:96 0-16\r\na=ssrc:1234567890 cname:2a3b4c5d6e7f\r\na=crypto:1 AES_256_CM_HMAC_SHA1_80 \
    inline:EUyAMGmlRwi+WQdWY4ZWTHkLQVuFmpB0r2dWRtZCqZHC0lBR3cbDVKUsKlnTwQ==\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 \
    inline:KEYB\r\n";

/// In the manner of Chromium.
const CHROMIUM: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    a=extmap-allow-mixed\r\na=msid-semantic: WMS stream\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 \
    0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 \
    D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\na=setup:actpass\r\n\
    a=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\na=msid:stream track\r\na=rtcp-mux\r\n\
    a=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
    a=ssrc:3570614608 cname:4TOk42mSjXCkVIa6\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 \
    0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=fingerprint:sha-256 \
    D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\na=setup:actpass\r\n\
    a=mid:1\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\n\
    a=fmtp:97 apt=96\r\na=ssrc-group:FID 2231627014 632943048\r\na=ssrc:2231627014 cname:x\r\na=ssrc:632943048 cname:x\r\n";

fn keyed(text: &str) -> String {
    text.replace("KEYA", KEY_A).replace("KEYB", KEY_B)
}

#[test]
fn baresip_to_asterisk() {
    let mut call = Call::new(Security::BestEffort, Security::Required);
    let exchange = call.exchange(Side::Caller, &keyed(BARESIP), Peer::Sdes).expect("SRTP");
    assert_eq!(exchange.secure(), (Some(true), Some(true)));
    let answer = exchange.made.sdp();
    assert_eq!(lines(answer, "m="), ["m=audio 10000 RTP/AVP 96 0 8 101"]);
    assert_eq!(
        lines(answer, "a=crypto:2 AES_CM_128_HMAC_SHA1_80").len(),
        1,
        "the policy's order decides: {answer}"
    );
    assert_eq!(exchange.made.agreed()[0].clone().unwrap().ssrcs, [2_345_678_901]);
    let offered = exchange.local.sdp();
    assert_eq!(lines(offered, "m="), ["m=audio 20000 RTP/SAVP 96 0 8 101"]);
    for kept in ["a=tool:baresip 1.0.0", "a=fmtp:96 stereo=1;sprop-stereo=1", "a=label:1", "a=rtcp-rsize"] {
        assert_eq!(lines(offered, kept).len(), 1, "{kept}");
    }
}

#[test]
fn linphone_by_its_best_configuration() {
    let mut call = Call::new(Security::BestEffort, Security::Plain);
    let exchange = call.exchange(Side::Caller, &keyed(LINPHONE), Peer::Plain).expect("SRTP");
    let answer = exchange.made.sdp();
    assert_eq!(lines(answer, "m="), ["m=audio 10000 RTP/SAVPF 96 97 0 8"]);
    assert_eq!(lines(answer, "a=acfg"), ["a=acfg:1 t=2 a=1"]);
    let offered = exchange.local.sdp();
    assert_eq!(lines(offered, "m="), ["m=audio 20000 RTP/AVPF 96 97 0 8"]);
    assert!(
        !offered.contains("cap:") && !offered.contains("pcfg") && !offered.contains("crypto"),
        "{offered}"
    );
    assert_eq!(lines(offered, "a=rtcp-fb").len(), 2);
}

#[test]
fn asterisk_to_linphone() {
    let mut call = Call::new(Security::Required, Security::BestEffort);
    call.policy.callee.best_effort = BestEffortForm::Capabilities;
    let exchange = call.exchange(Side::Caller, &keyed(ASTERISK), Peer::Capabilities).expect("SRTP");
    assert_eq!(exchange.secure(), (Some(true), Some(true)));
    assert_eq!(lines(exchange.made.sdp(), "m="), ["m=audio 10000 RTP/SAVP 0 8 101"]);
}

#[test]
fn pjsip_on_hold_with_aes_256() {
    let mut call = Call::new(Security::Required, Security::BestEffort);
    call.policy.suites = vec![Suite::AesCm256HmacSha1_80, Suite::AesCm128HmacSha1_80];
    let (offer, local) = call.offer(Side::Caller, &keyed(PJSIP)).expect("an offer");
    assert_eq!(offer.media()[0].direction, Direction::SendOnly);
    assert_eq!(lines(local.sdp(), "c="), ["c=IN IP4 203.0.113.1", "c=IN IP4 203.0.113.1"]);
    assert_eq!(lines(local.sdp(), "a=rtcp:"), Vec::<&str>::new());
    let (_, made) = call.answer(&offer, &local, &Peer::Osrtp.answer(local.sdp())).expect("an answer");
    assert_eq!(lines(made.sdp(), "a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:").len(), 1);
    assert_eq!(lines(made.sdp(), "a=recvonly").len(), 1);
}

#[test]
fn chromium_is_refused_by_its_keying_or_goes_by_the_gateway() {
    let mut call = Call::new(Security::Required, Security::Required);
    call.policy.keyings = vec![Keying::Sdes];
    let error = call.offer(Side::Caller, CHROMIUM).expect_err("DTLS-SRTP");
    let told = error.to_string();
    assert!(told.starts_with("media line 0 (audio): policy.keyings refuses it: dtls-srtp"), "{told}");
    call.policy.foreign_keying = ForeignKeying::Pass;
    let (offer, local) = call.offer(Side::Caller, CHROMIUM).expect("it passes");
    assert!(offer.media().iter().all(|media| media.treatment == Treatment::Around));
    assert_eq!(offer.transports(), 0);
    let but_origin =
        |text: &str| text.lines().filter(|line| !line.starts_with("o=")).collect::<Vec<_>>().join("\n");
    assert_eq!(but_origin(local.sdp()), but_origin(CHROMIUM), "all but o= is as it was");
}
