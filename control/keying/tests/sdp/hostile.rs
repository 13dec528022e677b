//! What attackers send: large, deep in nothing, and more than is taken.

use std::fmt::Write;

use sluice_keying::sdes::{self, SdesError};
use sluice_keying::sdp::{MAX_MEDIA, MAX_SECTION_LINES, MAX_SIZE, Sdp, SdpError};

const BEGINNING: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n";

/// A description of a size: what is repeated, and what is needed to be exact.
fn of_size(repeated: &str, size: usize) -> String {
    let mut text = BEGINNING.to_owned();
    text.push_str(&repeated.repeat((size - text.len()) / repeated.len()));
    let rest = size - text.len();
    text.push_str(&"\n".repeat(rest));
    text
}

#[test]
fn a_mebibyte_is_read_and_an_octet_more_is_not() {
    let long = format!("{BEGINNING}a=x:{}\r\n", "y".repeat(MAX_SIZE - BEGINNING.len() - 6));
    assert_eq!(long.len(), MAX_SIZE);
    assert_eq!(Sdp::parse(&long).unwrap().write().as_str(), long);
    assert_eq!(Sdp::parse(&format!("{long}\n")), Err(SdpError::TooLarge { got: MAX_SIZE + 1 }));
}

#[test]
fn ten_thousand_media_lines_are_too_many() {
    let media = |count| format!("{BEGINNING}{}", "m=audio 1 RTP/AVP 0\r\n".repeat(count));
    let error = Sdp::parse(&media(10_000)).unwrap_err();
    assert_eq!(error, SdpError::TooManyMedia { line: 3 + MAX_MEDIA as u32 + 1 });
    assert!(error.to_string().contains("1024"), "{error}");
    let mut most = Sdp::parse(&media(MAX_MEDIA)).unwrap();
    assert_eq!(most.media().len(), MAX_MEDIA);
    let line = most.media()[0].clone();
    assert_eq!(most.insert_media(0, line), Err(SdpError::TooManyMedia { line: 0 }));
}

#[test]
fn a_section_has_so_many_lines_and_no_more() {
    let lines = |count| format!("{BEGINNING}{}", "a=x\r\n".repeat(count));
    let mut full = Sdp::parse(&lines(MAX_SECTION_LINES - 3)).unwrap();
    let error = Sdp::parse(&lines(MAX_SECTION_LINES)).unwrap_err();
    assert_eq!(error, SdpError::TooManyLines { line: MAX_SECTION_LINES as u32 + 1 });
    let session = full.session_mut();
    assert_eq!(session.push_attribute("y", None), Err(SdpError::TooManyLines { line: 0 }));
    assert_eq!(session.replace_attributes("y", ["1"]), Err(SdpError::TooManyLines { line: 0 }));
    assert_eq!(session.replace_attributes("x", ["1"]), Ok(()), "there is room for what it replaces");
}

#[test]
fn a_mebibyte_of_anything_is_read_or_refused() {
    let some = [
        "a=\n",
        "a=x\r\n",
        "m=audio 1 RTP/AVP 0\r\n",
        "\n",
        "\r\n",
        "\r",
        "x=",
        "a=ssrc:1 x\n",
        "m=",
        "\u{1f600}",
        "c=IN IP4 192.0.2.1\n",
        "a=mid:1\n",
        "m=a 0 RTP/AVP 0\na=mid:1\n",
        "a=group:BUNDLE 1 2 3\n",
        " ",
        ":",
    ];
    for repeated in some {
        let text = of_size(repeated, MAX_SIZE);
        if let Ok(sdp) = Sdp::parse(&text) {
            assert_eq!(Sdp::parse(&sdp.write()), Ok(sdp));
        }
    }
}

#[test]
fn long_lists_in_one_line_are_read_in_one_pass() {
    let mut text = format!("{BEGINNING}a=group:BUNDLE");
    (0..50_000).for_each(|mid| write!(text, " {mid}").unwrap());
    text.push_str("\r\nm=audio 1 RTP/AVP");
    (0..50_000).for_each(|format| write!(text, " {format}").unwrap());
    let sdp = Sdp::parse(&text).unwrap();
    assert!(sdp.bundles().unwrap()[0].media.is_empty());
    assert_eq!(sdp.media()[0].payload_types().len(), 128);
}

#[test]
fn thousands_of_sources_are_listed() {
    let mut text = format!("{BEGINNING}m=video 1 RTP/SAVPF 96\r\n");
    (0..4000).for_each(|ssrc| write!(text, "a=ssrc:{ssrc} cname:x\r\n").unwrap());
    assert_eq!(Sdp::parse(&text).unwrap().media()[0].ssrcs().unwrap().len(), 4000);
}

#[test]
fn thousands_of_crypto_lines_are_read_and_one_of_a_mebibyte_is_refused() {
    let mut text = format!("{BEGINNING}m=audio 1 RTP/SAVP 0\r\n");
    (0..4000).for_each(|tag| {
        write!(text, "a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:not/checked/yet\r\n").unwrap();
    });
    let sdp = Sdp::parse(&text).unwrap();
    let lines = sdes::crypto_lines(&sdp.media()[0]).unwrap();
    assert_eq!(lines.iter().flatten().count(), 4000);
    for (repeated, error) in [(";inline:A|1:1", SdesError::RepeatedMki), (" X", SdesError::TooManyParameters)]
    {
        let line = format!("1 X inline:A|1:1{}", repeated.repeat(50_000));
        assert_eq!(sdes::CryptoLine::parse(&line), Err(error));
    }
    let line = format!("1 X {}", "; ".repeat(200_000));
    assert!(sdes::CryptoLine::parse(&line).is_err());
}
