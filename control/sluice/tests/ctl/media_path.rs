//! Handshakes and checks from the command line.

use std::net::UdpSocket;

use crate::daemon::Daemon;

#[test]
fn a_leg_says_in_words_why_it_has_no_keys_yet() {
    let daemon = Daemon::start();
    let folder = daemon.path("leg.json");
    let fingerprint = ["AB"; 32].join(":");
    let config = |dtls: &str, ice: &str| {
        let dtls =
            format!("\"dtls\":{{\"role\":\"{dtls}\",\"peer_fingerprints\":[\"sha-256 {fingerprint}\"]}}");
        std::fs::write(&folder, format!("{{{dtls}{ice}}}")).unwrap();
    };
    let create = |leg: &str| {
        let file = folder.display();
        format!("legs create s {leg} --inbound srtp --outbound srtp --rtcp-mux --media-path {file}")
    };
    daemon.ctl("sessions create s").succeeded();
    config(
        "DTLS_ROLE_SERVER",
        ",\"ice\":{\"own\":{\"ufrag\":\"8hhY\",\"password\":\"asd88fgpdd777uzjYhagZg\"}}",
    );
    daemon.ctl(&create("checked")).succeeded();
    let shown = daemon.ctl("legs show s checked").succeeded().stdout;
    for part in ["DTLS: waiting", "ICE: checking", "own candidate: ", "own certificate: sha-256 "] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    assert!(shown.contains("why there is no media yet: ICE: "), "{shown}");
    assert!(!shown.contains("asd88"), "{shown}");
    let info = daemon.ctl("info").succeeded().stdout;
    let own = shown.lines().find_map(|line| line.strip_prefix("own certificate: ")).unwrap();
    assert!(info.contains(own), "{info}");
    let candidate = "1 1 UDP 2130706431 127.0.0.1 5000 typ host";
    let request = ["legs", "candidates", "s", "checked", candidate, "--end"];
    daemon.ctl_words(&request).succeeded();
    daemon.ctl_words(&["legs", "candidates", "s", "checked", "nonsense"]).failed(1, &["candidates"]);
    config("DTLS_ROLE_SERVER", "");
    daemon.ctl(&create("without")).succeeded();
    let shown = daemon.ctl("legs show s without").succeeded().stdout;
    assert!(shown.contains("no ClientHello"), "{shown}");
    // Somebody who answers nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    config("DTLS_ROLE_CLIENT", "");
    let remote = silent.local_addr().unwrap();
    daemon.ctl(&format!("{} --remote {remote}", create("begins"))).succeeded();
    let shown = daemon.ctl("legs show s begins").succeeded().stdout;
    assert!(shown.contains("DTLS: handshake") && shown.contains("no answer to the ClientHello"), "{shown}");
    let stats = daemon.ctl("stats").succeeded().stdout;
    assert!(stats.contains("1 half open"), "{stats}");
    daemon.ctl(&create("wrong").replace("--rtcp-mux", "")).failed(1, &["rtcp_mux"]);
}
