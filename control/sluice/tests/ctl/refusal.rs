//! What the gateway refuses, in words: which field, why, and what to do.

use std::net::UdpSocket;
use std::os::unix::net::UnixListener;

use crate::daemon::Daemon;
use crate::support::{command, run};

#[test]
fn refusals_name_the_field_the_reason_and_a_remedy() {
    let daemon = Daemon::start();
    daemon.ctl("sessions create s1").succeeded();
    for leg in ["a", "b"] {
        daemon.ctl(&format!("legs create s1 {leg} --inbound srtp --outbound plain")).succeeded();
    }
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let other = "legs create s1 a --inbound srtp --outbound srtp";
    let in_use = format!("legs create s1 c --inbound plain --outbound plain --rtcp-mux --local {taken}");
    let cases: [(&str, &[&str]); 16] = [
        ("legs create s1 c --inbound srtp --outbound plain --roc-trials 17", &["roc_trials", "0 to 16"]),
        ("legs roc s1 nosuch 7 1", &["leg: ", "\"nosuch\" does not exist"]),
        ("sessions show nosuch", &["not found", "session: ", "\"nosuch\" does not exist", "create it first"]),
        ("legs list nosuch", &["session: ", "\"nosuch\" does not exist"]),
        ("legs show s1 nosuch", &["leg: ", "\"nosuch\" does not exist"]),
        ("stats nosuch", &["session: ", "\"nosuch\" does not exist"]),
        ("watch no/such", &["invalid: session: ", "no/such"]),
        ("keys list nosuch", &["session: ", "\"nosuch\" does not exist"]),
        ("keys retire s1 nosuch k --direction inbound", &["leg: ", "\"nosuch\" does not exist"]),
        (other, &["exists already", "\"a\"", "choose another id"]),
        ("sessions create s1 --label a=b", &["exists already", "labels"]),
        (&in_use, &["local", &taken.to_string(), "choose another port"]),
        ("legs create s1 c --inbound plain --outbound plain --dscp 64", &["dscp", "64", "0 to 63"]),
        ("legs update s1 a --remote [::1]:9", &["remote", "different families"]),
        ("routes create s1 r --from a --to nosuch", &["to: ", "\"nosuch\" does not exist"]),
        ("routes create s1 r --from a --to a", &["to: ", "the leg that the route comes from"]),
    ];
    for (words, expected) in cases {
        let run = daemon.ctl(words).failed(1, &["sluice: "]);
        for word in expected {
            assert!(run.stderr.contains(word), "ctl {words}: no {word:?} in:\n{}", run.stderr);
        }
        assert!(run.stdout.is_empty(), "ctl {words}: {}", run.stdout);
        assert_eq!(run.stderr.lines().count(), 1, "ctl {words}: {}", run.stderr);
    }
    // Nothing was made by what was refused.
    assert_eq!(daemon.ctl("--json legs list s1").succeeded().stdout.lines().count(), 2);
}

#[test]
fn keys_that_do_not_fit_are_refused_without_repeating_them() {
    let daemon = Daemon::start();
    daemon.ctl("sessions create s1").succeeded();
    daemon.ctl("legs create s1 a --inbound srtp --outbound plain").succeeded();
    let good = "5ec5e7".repeat(10);
    let (short, other) = (&good[..58], "5ec5e7a1".repeat(7));
    let install = "keys install s1 a k --direction inbound --suite";
    let cases = [
        (format!("{install} AEAD_AES_128_GCM --short-rtcp-tags --key-salt {other}"), "short_rtcp_tags: "),
        (format!("{install} AES_CM_128_HMAC_SHA1_80 --key-salt {short}"), "29 bytes"),
        (format!("{install} AES_CM_128_HMAC_SHA1_80 --key-salt {other}"), "key_salt: "),
        (format!("{install} AEAD_AES_256_GCM --key-salt {good}"), "key_salt: "),
        (format!("{install} AES_CM_128_HMAC_SHA1_80 --key-salt {}!", &good[1..]), "neither hex nor base64"),
        (format!("{install} AES_CM_128_HMAC_SHA1_80 --key-file /nonexistent/5ec5e7x"), "cannot read the key"),
        (format!("{install} ROT13 --key-salt {good}"), "suite: "),
        (format!("{install} AES_CM_128_HMAC_SHA1_80 --mki xyz --key-salt {good}"), "MKI"),
        (
            install.replace("inbound", "outbound") + &format!(" AES_CM_128_HMAC_SHA1_80 --key-salt {good}"),
            "direction",
        ),
    ];
    for (words, expected) in cases {
        let run = daemon.ctl(&words).failed(1, &[expected]);
        let said = run.output().replace("/nonexistent/5ec5e7x", "");
        assert!(!said.contains("5ec5e7"), "{said}");
    }
    let from_stdin = format!("{install} AES_CM_128_HMAC_SHA1_80 --key-file -");
    daemon.ctl_with_input(&from_stdin, b"").failed(1, &["bytes"]);
    daemon.ctl_with_input(&from_stdin, &[0xff, 0xfe]).failed(1, &["cannot read the key from standard input"]);
    daemon.ctl("keys list s1").succeeded();
    assert!(daemon.ctl("keys list s1").stdout.contains("no keys"));
    assert!(!daemon.log().contains("5ec5e7"), "nor does the log");
    // Both ways of giving a key, or none, is a question of usage.
    daemon.ctl(&format!("{install} AEAD_AES_128_GCM")).failed(2, &["--key-salt", "--key-file"]);
    daemon
        .ctl(&format!("{install} AEAD_AES_128_GCM --key-salt 00 --key-file x"))
        .failed(2, &["cannot be used"]);
}

#[test]
fn without_a_daemon_the_message_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let ctl = |socket: &std::path::Path| run(command(["ctl", "info", "--socket"]).arg(socket));
    let missing = folder.path().join("missing.sock");
    let run = ctl(&missing).failed(1, &["missing.sock does not exist", "is sluice running?", "--socket"]);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    let stale = folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    ctl(&stale).failed(1, &["nobody answers on", "start it again"]);
    let file = folder.path().join("file");
    std::fs::write(&file, "text").unwrap();
    ctl(&file).failed(1, &["file"]);
    ctl(&folder.path().join("x".repeat(200))).failed(1, &["xxx"]);
    // A daemon of something else: the connection ends, and that is said, too.
    let other = folder.path().join("other.sock");
    let listener = UnixListener::bind(&other).unwrap();
    std::thread::spawn(move || listener.incoming().take(8).for_each(drop));
    ctl(&other).failed(1, &["sluice: "]);
}

#[test]
fn a_watcher_is_told_that_the_gateway_has_ended() {
    let mut daemon = Daemon::start();
    let mut watch = daemon.ctl_process("watch", "watch");
    // There is no sign that it has begun but in the log.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !daemon.log().contains("WatchEvents") && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    daemon.kill();
    let status = watch.wait(std::time::Duration::from_secs(5)).unwrap().expect("it ends");
    assert_eq!(status.code(), Some(1), "{}", watch.output());
    assert!(watch.output().starts_with("sluice: "), "{}", watch.output());
}
