//! Programs that were built for libsrtp run on this library unchanged: GStreamer's elements and pylibsrtp.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Random, library};

/// Whether a program is there; continuous integration has them all.
fn have(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "{program} {arguments:?} is missing");
    if !found {
        eprintln!("SKIP: {program} {arguments:?} is missing");
    }
    found
}

/// Runs a pipeline on libsrtp, or on this library.
fn gst_launch(dir: &Path, sluice: bool, pipeline: &str) {
    let mut launch = Command::new("gst-launch-1.0");
    launch.arg("-q").args(pipeline.split_whitespace()).current_dir(dir);
    if sluice {
        launch.env("LD_PRELOAD", library());
        // Proof, of the dynamic linker's own hand, of whose functions are called.
        launch.env("LD_DEBUG", "bindings").env("LD_DEBUG_OUTPUT", dir.join("bindings"));
    }
    let output = launch.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !told.contains("ERROR"), "{pipeline}\n{told}");
    if sluice {
        let mut bound = 0;
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("bindings") {
                let bindings = fs::read_to_string(entry.path()).unwrap_or_default();
                for line in bindings.lines().filter(|line| line.contains("libgstsrtp.so [0] to ")) {
                    assert!(!line.contains("libsrtp2.so"), "{line}");
                    bound += usize::from(line.contains("libsluice_srtp2.so") && line.contains("protect"));
                }
                fs::remove_file(entry.path()).unwrap();
            }
        }
        assert!(bound > 0, "the elements did not call libsluice_srtp2: {pipeline}");
    }
}

/// RFC 4571 frames, as rtpstreampay writes them.
fn frames(packets: &[Vec<u8>]) -> Vec<u8> {
    packets.iter().flat_map(|packet| [&(packet.len() as u16).to_be_bytes()[..], packet].concat()).collect()
}

#[test]
fn gstreamers_elements_run_on_either_library_at_either_end() {
    if !have("gst-inspect-1.0", &["srtpenc"]) || !have("gst-inspect-1.0", &["rtpstreampay"]) {
        return;
    }
    let ssrc = 1_356_955_624;
    let mut random = Random(11);
    let rtp: Vec<_> = (65_500..65_560_u32).map(|sequence| random.rtp(ssrc, sequence as u16)).collect();
    let rtcp: Vec<_> = (0..5).map(|_| random.rtcp(ssrc)).collect();
    let suites = [
        ("aes-128-icm", "hmac-sha1-80", "hmac-sha1-80", 30),
        ("aes-128-icm", "hmac-sha1-32", "hmac-sha1-80", 30),
        ("aes-128-icm", "hmac-sha1-32", "hmac-sha1-32", 30),
        ("aes-256-icm", "hmac-sha1-80", "hmac-sha1-80", 46),
        ("aes-128-gcm", "null", "null", 28),
        ("aes-256-gcm", "null", "null", 44),
    ];
    for (cipher, rtp_auth, rtcp_auth, octets) in suites {
        for mki in [None, Some("0a0b0c0d")] {
            let key: String = "0123456789".chars().cycle().take(2 * octets).collect();
            for (kind, packets) in [("rtp", &rtp), ("rtcp", &rtcp)] {
                let plain = frames(packets);
                let mut wire = Vec::new();
                for [sender, receiver] in [[false, true], [true, false], [true, true]] {
                    let what = format!("{kind} {cipher} {rtp_auth} {rtcp_auth} {mki:?} {sender} {receiver}");
                    let dir = tempfile::tempdir().unwrap();
                    fs::write(dir.path().join("plain"), &plain).unwrap();
                    let of_mki = mki.map(|mki| format!("mki={mki}")).unwrap_or_default();
                    let caps =
                        format!("ssrc=(uint){ssrc},media=audio,payload=96,clock-rate=8000,encoding-name=X-A");
                    gst_launch(
                        dir.path(),
                        sender,
                        &format!(
                            "srtpenc name=e key={key} {of_mki} rtp-cipher={cipher} rtp-auth={rtp_auth} \
                             rtcp-cipher={cipher} rtcp-auth={rtcp_auth} \
                             filesrc location=plain ! application/x-{kind}-stream,{caps} ! rtpstreamdepay \
                             ! e.{kind}_sink_0 e.{kind}_src_0 ! rtpstreampay ! filesink location=wire"
                        ),
                    );
                    let sent = fs::read(dir.path().join("wire")).unwrap();
                    assert!(sent.len() > plain.len(), "{what}");
                    wire.push(sent);
                    let of_mki = mki.map(|mki| format!(",mki=(buffer){mki}")).unwrap_or_default();
                    let keys = format!(
                        "{caps},srtp-key=(buffer){key}{of_mki},srtp-cipher={cipher},srtp-auth={rtp_auth},\
                         srtcp-cipher={cipher},srtcp-auth={rtcp_auth}"
                    );
                    gst_launch(
                        dir.path(),
                        receiver,
                        &format!(
                            "srtpdec name=d filesrc location=wire ! application/x-s{kind}-stream,{keys} \
                             ! rtpstreamdepay ! d.{kind}_sink d.{kind}_src ! rtpstreampay \
                             ! filesink location=back"
                        ),
                    );
                    // libsrtp 2.5 does not find the MKI of SRTCP where its tag is longer than that of SRTP.
                    if kind == "rtp" || mki.is_none() || rtp_auth == rtcp_auth || receiver {
                        assert!(fs::read(dir.path().join("back")).unwrap() == plain, "{what}");
                    }
                }
                assert!(
                    wire.windows(2).all(|pair| pair[0] == pair[1]),
                    "{kind} {cipher} {mki:?} on the wire"
                );
            }
        }
    }
}
