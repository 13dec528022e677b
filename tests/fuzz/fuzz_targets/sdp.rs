//! Any text as a session description: what is read is written, what is written is read as the same, all that looks
//! into it holds, and changes touch what they are to change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_keying::negotiation::Direction;
use sluice_keying::sdp::{
    Connection, MAX_MEDIA, MAX_SECTION_LINES, MAX_SIZE, RtpProfile, Sdp, Section, Secured,
};

fuzz_target!(|text: &str| {
    let Ok(sdp) = Sdp::parse(text) else { return };
    assert!(text.len() <= MAX_SIZE && sdp.media().len() <= MAX_MEDIA);
    let written = sdp.write();
    let lines = text.trim_end_matches(['\r', '\n']).split('\n');
    assert!(
        lines.map(|line| line.strip_suffix('\r').unwrap_or(line)).eq(written.split_terminator("\r\n")),
        "every line is kept in its place"
    );
    assert!(Sdp::parse(&written).as_ref() == Ok(&sdp));
    look(&sdp);
    change(&sdp);
});

fn look(sdp: &Sdp) {
    assert!(!sdp.origin().session_id.is_empty());
    let _ = sdp.bundles();
    if let Ok(transports) = sdp.transports() {
        assert_eq!(transports.len(), sdp.media().len());
    }
    look_at(sdp.session());
    for (index, media) in sdp.media().iter().enumerate() {
        assert!(!media.kind().is_empty() && !media.proto().is_empty());
        assert!(media.port_count() > 0 && media.formats().next().is_some());
        assert!(media.payload_types().iter().all(|payload_type| *payload_type < 128));
        let _ = (media.profile(), sdp.direction(index), sdp.inherited(index, "setup"));
        let _ = sdp.connection(index).and_then(|connection| connection.ip());
        look_at(media);
    }
}

fn look_at(section: &Section) {
    assert!(section.lines().count() <= MAX_SECTION_LINES);
    let _ = (section.rtcp(), section.ssrcs(), section.setup(), format!("{section:?}"));
    section.rtpmaps().flatten().for_each(|map| assert!(map.payload_type < 128));
    section.fmtps().flatten().for_each(|fmtp| assert!(!fmtp.format.is_empty()));
    section.fingerprints().flatten().for_each(|fingerprint| assert!(fingerprint.value.len() >= 2));
    section.candidates().flatten().for_each(|candidate| assert!(!candidate.kind.is_empty()));
    section.zrtp_hashes().flatten().for_each(|hash| assert!(!hash.version.is_empty()));
}

fn change(sdp: &Sdp) {
    let mut changed = sdp.clone();
    for media in changed.media_mut() {
        media.set_port(9);
        media.set_profile(RtpProfile::new(Secured::Srtp, true));
        let connection = Connection { net_type: "IN", addr_type: "IP4", address: "192.0.2.1" };
        let _ = (media.set_connection(&connection), media.set_direction(Direction::Inactive));
        media.remove_attributes("crypto");
        let _ = media.replace_attributes("x", ["1", "2"]);
        assert_eq!((media.port(), media.proto()), (9, "RTP/SAVPF"));
        assert!(!media.has("crypto"));
    }
    // Adding may have made it larger than what is read.
    let written = changed.write();
    assert!(written.len() > MAX_SIZE || Sdp::parse(&written).as_ref() == Ok(&changed));
}
