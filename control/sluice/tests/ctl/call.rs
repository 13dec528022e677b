//! A call from its beginning to its end.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::support::Run;

/// Each byte of the key is different, and none is a small number.
fn key(len: u8) -> Vec<u8> {
    (0..len).map(|i| 0xd3_u8.wrapping_sub(i * 3)).collect()
}

/// The ways in which a key could be written.
fn spellings(key: &[u8]) -> Vec<String> {
    let hex = hex::encode(key);
    // Also a part of it: no output has reason to hold even that.
    let part = |text: &str| text[8..24].to_owned();
    let list = format!("{:?}", &key[4..10]);
    vec![
        part(&hex),
        part(&hex.to_uppercase()),
        part(&BASE64.encode(key)),
        list.trim_matches(['[', ']']).to_owned(),
        list.replace(' ', "").trim_matches(['[', ']']).to_owned(),
    ]
}

/// Keeps what was said, to look for keys in it.
struct Heard<'a> {
    daemon: &'a Daemon,
    said: String,
}

impl Heard<'_> {
    #[track_caller]
    fn ctl(&mut self, words: &str, input: &[u8]) -> Run {
        let run = self.daemon.ctl_with_input(words, input).succeeded();
        self.said += &run.output();
        run
    }

    /// What people are told: it must contain all of these.
    #[track_caller]
    fn table(&mut self, words: &str, expected: &[&str]) {
        let run = self.ctl(words, b"");
        for word in expected {
            assert!(run.stdout.contains(word), "ctl {words}: no {word:?} in:\n{}", run.stdout);
        }
    }

    #[track_caller]
    fn json(&mut self, words: &str) -> Value {
        self.ctl(&format!("{words} --json"), b"").json()
    }
}

#[test]
fn a_call_from_beginning_to_end_in_tables_and_json() {
    let mut daemon = Daemon::start();
    let (key_a, key_b) = (key(30), key(44));
    std::fs::write(daemon.path("key"), hex::encode(&key_a) + "\n").unwrap();
    let key_file = daemon.path("key").display().to_string();
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener_at = listener.local_addr().unwrap();
    let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut table_watch = daemon.ctl_process("watch-table", "watch s1");
    let mut json_watch = daemon.ctl_process("watch-json", "--json watch");
    let mut heard = Heard { daemon: &daemon, said: String::new() };

    let info = heard.json("info");
    assert_eq!((&info["version"], &info["path"]), (&env!("CARGO_PKG_VERSION").into(), &"io_uring".into()));
    assert_eq!(info["workers"][0]["alive"], true, "{info}");
    heard.table("info", &["sluice 0.", "path io_uring", "worker"]);
    heard.table("sessions list", &["no sessions"]);
    heard.table("legs list", &["no legs"]);
    heard.table("routes list", &["no routes"]);

    // The same again is the same: a client may repeat a call whose answer it missed.
    for _ in 0..2 {
        heard.table("sessions create s1 --label who=alice --label why=test", &["s1", "who=alice why=test"]);
    }
    let from = caller.local_addr().unwrap();
    let mut local = Vec::new();
    for _ in 0..2 {
        let words = format!("legs create s1 a --inbound plain --outbound srtp --rtcp-mux --remote {from}");
        let leg = heard.json(&words);
        assert_eq!((&leg["session"], &leg["id"]), (&"s1".into(), &"a".into()));
        assert_eq!(leg["config"]["inbound"], "PROTECTION_PLAIN");
        local.push(leg["local_rtp"].as_str().expect("an address").to_owned());
        let words =
            format!("legs create s1 b --inbound srtp --outbound srtp --rtcp-mux --remote {listener_at}");
        heard.table(&words, &["s1", "b", "srtp", "127.0.0.1:"]);
        heard.table("routes create s1 r --from a --to b", &["s1", "r", "a", "b", "refuse"]);
    }
    assert_eq!(local[0], local[1], "no other port");
    assert!(local[0].starts_with("127.0.0.1:"), "{local:?}");

    let install = "keys install s1 b k1 --direction outbound --suite AES_CM_128_HMAC_SHA1_80";
    heard.table(&format!("{install} --key-file {key_file}"), &["k1", "outbound", "in use"]);
    let install = "--json keys install s1 b k2 --direction inbound --suite AEAD_AES_256_GCM --mki a1b2";
    let keys = heard.ctl(&format!("{install} --key-file -"), BASE64.encode(&key_b).as_bytes()).json();
    assert_eq!((&keys["keys"][0]["id"], &keys["keys"][0]["mki_length"]), (&"k2".into(), &2.into()), "{keys}");
    let keys = heard.json("keys list s1 b");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(2), "{keys}");
    heard.table("keys list s1", &["k1", "AES_CM_128_HMAC_SHA1_80", "k2", "AEAD_AES_256_GCM", "2 bytes"]);
    heard.table("legs show s1 b", &["k1 outbound", "k2 inbound"]);
    let session = heard.json("sessions show s1");
    assert_eq!(
        (&session["legs"], &session["routes"]),
        (&serde_json::json!(["a", "b"]), &serde_json::json!(["r"]))
    );

    // Media until both watchers have told of it. They may have begun late: each round is a stream of
    // its own, of as many packets as it takes to be believed.
    let deadline = Instant::now() + Duration::from_secs(10);
    let told = |watch: &str, word: &str| std::fs::read_to_string(daemon.path(watch)).unwrap().contains(word);
    for ssrc in 0xfeed_0000_u32.. {
        for sequence in 1..=3 {
            let rtp = [&[0x80, 0, 0, sequence, 0, 0, 0, 1][..], &ssrc.to_be_bytes(), &[0x55; 160]].concat();
            caller.send_to(&rtp, &*local[0]).unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
        if told("watch-table.log", "started") && told("watch-json.log", "stream_started") {
            break;
        }
        assert!(Instant::now() < deadline, "no event of media:\n{}", daemon.ctl("stats").output());
    }
    let mut buffer = [0; 2048];
    listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (len, _) = listener.recv_from(&mut buffer).expect("media arrives");
    assert_eq!(len, 12 + 160 + 10, "with its tag");
    for watch in [&mut table_watch, &mut json_watch] {
        watch.stop(Signal::INT, Duration::from_secs(1));
        heard.said += &watch.output();
    }
    let line = table_watch.output().lines().next().expect("an event").to_owned();
    assert!(line.contains("Z  s1/a  ") && line.contains("0xfeed"), "{line}");
    for line in json_watch.output().lines() {
        let event: Value = serde_json::from_str(line).expect("an event a line");
        assert_eq!(event["session"], "s1", "{event}");
    }

    let stats = heard.json("stats");
    let legs = stats["legs"].as_array().expect("legs");
    let leg = |id: &str| legs.iter().find(|leg| leg["leg"] == id).expect("it has statistics");
    // Protocol buffers write 64-bit numbers as text.
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number");
    assert!(number(&leg("a")["received_rtp_packets"]) > 0, "{stats}");
    assert!(number(&leg("b")["sent_rtp_packets"]) > 0, "{stats}");
    heard.table("stats s1", &["worker", "RTP in", "s1", "io_uring"]);

    // Where the streams stand goes out, and comes in again, here as it would elsewhere.
    let positions = heard.ctl("legs export s1 b", b"");
    let streams = positions.json()["streams"].as_array().expect("streams").clone();
    assert_eq!(streams[0]["direction"], "DIRECTION_OUTBOUND", "{streams:?}");
    assert_eq!(streams[0]["rtp_index"], "3", "{streams:?}");
    let carried = heard.ctl("legs import s1 b", positions.stdout.as_bytes());
    assert!(carried.stdout.contains(&format!("{} streams carry on", streams.len())), "{}", carried.stdout);
    heard.table("legs roc s1 b 0xabcdef01 7", &["SSRC 0xabcdef01 begins at rollover counter 7"]);

    let rekey = "keys rekey s1 b k3 --direction outbound --suite AEAD_AES_256_GCM --key-salt";
    let third = hex::encode(key_b.iter().rev().copied().collect::<Vec<_>>());
    heard.table(&format!("{rekey} {third}"), &["k3", "outbound"]);
    heard.table("keys retire s1 b k2 --direction inbound", &["key gone"]);
    heard.table("keys retire s1 b k2 --direction inbound", &["key did not exist"]);
    let update = heard.json("legs update s1 b --remote 127.0.0.1:9 --dscp 46");
    assert_eq!(update["config"]["dscp"], 46, "{update}");
    heard.table("routes delete s1 r", &["route gone"]);
    heard.table("routes delete s1 r", &["route did not exist"]);
    assert_eq!(heard.json("legs delete s1 a")["existed"], true);
    heard.table("sessions delete s1", &["session gone"]);
    assert_eq!(heard.json("sessions delete s1")["existed"], false);

    let said = std::mem::take(&mut heard.said);
    daemon.stop();
    let log = daemon.log();
    assert!(log.contains("TRACE"), "the daemon logged all it could");
    for spelling in [spellings(&key_a), spellings(&key_b)].concat() {
        assert!(!said.contains(&spelling), "a key in what ctl said");
        assert!(!log.contains(&spelling), "a key in the log");
    }
    assert!(!said.contains(&third[..20]) && !log.contains(&third[..20]));
    assert!(!daemon.path("sluice.sock").exists(), "the socket goes with the daemon");
}

#[test]
fn lists_are_whole_however_long_and_one_json_document_a_line() {
    let daemon = Daemon::start();
    for index in 0..5 {
        daemon.ctl(&format!("sessions create s{index}")).succeeded();
    }
    let list = daemon.ctl("--json sessions list").succeeded();
    let ids: Vec<String> = list
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    assert_eq!(ids, ["s0", "s1", "s2", "s3", "s4"]);
}

#[test]
fn a_leg_for_a_local_application_needs_no_address_and_shows_its_token_once() {
    let daemon = Daemon::start();
    daemon.ctl("sessions create room").succeeded();
    let created = daemon.ctl("legs create room app --ring --json").succeeded().json();
    let token = created["ring_token"].as_str().expect("a token").to_owned();
    assert_eq!(token.len(), 32);
    let table = daemon.ctl("legs create room app --ring").succeeded().stdout;
    assert!(table.contains(&token) && table.contains("ring"), "{table}");
    let list = daemon.ctl("legs list room").succeeded().stdout;
    assert!(list.contains("ring") && !list.contains(&token), "{list}");
    let stats = daemon.ctl("stats room --json").succeeded().json();
    assert_ne!(stats["legs"][0]["ring"], Value::Null);
    assert_ne!(stats["legs"][0]["ring"]["attached"], Value::Bool(true));
    let refused = daemon.ctl("legs create room other --ring --inbound srtp");
    assert!(refused.output().contains("say PROTECTION_PLAIN"), "{}", refused.output());
    let refused = daemon.ctl("legs create room other");
    assert!(refused.output().contains("--inbound"), "{}", refused.output());
}
