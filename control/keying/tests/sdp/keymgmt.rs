//! `a=key-mgmt` (RFC 4567).

use sluice_keying::keymgmt::{KeyMgmt, KeyMgmtError, messages, messages_for};
use sluice_keying::sdp::Sdp;

const MIKEY: &str = "mikey AQAFgM0XflABAAAAAAAAAAAAAAsAyO==";

#[test]
fn a_message_is_a_protocol_and_base64() {
    let read = KeyMgmt::parse(MIKEY).unwrap();
    assert_eq!(read.protocol(), "mikey");
    assert_eq!(read.value().as_str(), MIKEY);
    assert_eq!(KeyMgmt::parse(&format!(" {MIKEY}")), Ok(read), "a space may come first");
    assert_eq!(KeyMgmt::parse("x AAEC").unwrap().message().unwrap().as_slice(), [0, 1, 2]);
    assert_eq!(KeyMgmt::parse("x AAECAw").unwrap().message().unwrap().as_slice(), [0, 1, 2, 3]);
    assert_eq!(KeyMgmt::parse("x A").unwrap().message(), Err(KeyMgmtError::Base64));
}

#[test]
fn what_is_no_message_is_refused() {
    for wrong in
        ["", "mikey", "mikey ", "  mikey AAAA", "mi-key AAAA", "mikey AA AA", "mikey A*", "mikey AAAA\t"]
    {
        assert_eq!(KeyMgmt::parse(wrong), Err(KeyMgmtError::Form { line: 0 }), "{wrong:?}");
    }
}

#[test]
fn messages_keep_their_order_and_those_of_a_medium_replace_those_of_the_session() {
    let text = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\na=key-mgmt:mikey AAAA\na=key-mgmt:other BBBB\n\
                m=audio 1 RTP/SAVP 0\na=key-mgmt:mikey CCCC\nm=video 2 RTP/SAVP 96\n";
    let sdp = Sdp::parse(text).unwrap();
    let values = |media| {
        let messages = messages_for(&sdp, media).unwrap();
        messages.iter().map(|message| message.value().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(values(0), ["mikey CCCC"]);
    assert_eq!(values(1), ["mikey AAAA", "other BBBB"]);
    let broken = Sdp::parse(&text.replace("other BBBB", "other")).unwrap();
    assert_eq!(messages(broken.session()), Err(KeyMgmtError::Form { line: 5 }));
    assert!(messages_for(&broken, 0).is_ok());
}

#[test]
fn nothing_of_a_message_is_shown() {
    let shown = format!("{:?}", KeyMgmt::parse(MIKEY));
    assert!(shown.contains("mikey") && !shown.contains("AQAF"), "{shown}");
}
