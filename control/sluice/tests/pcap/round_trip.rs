//! Protect, then unprotect: the file is what it was.

use sluice_srtp::Suite;

use crate::capture::{Datagram, FORMS, Form, file, read};
use crate::media::{Bench, key, payload, rtcp, rtp, stream};

/// Hundreds of streams, interleaved, over both families; RTCP of every fourth on a port of its own,
/// of the others with RTP. Between them datagrams that are no media.
fn many() -> Vec<Datagram> {
    let mut datagrams = Vec::new();
    for round in 0..4_u16 {
        for number in 0..300_u32 {
            let ssrc = 0x1000_0000 + number * 7919;
            let (from, to) = match number % 2 {
                0 => (format!("198.51.100.{}", number % 200), "192.0.2.9".to_owned()),
                _ => (format!("[2001:db8::{number}]"), "[2001:db8:1::9]".to_owned()),
            };
            let at = |port| {
                Datagram::new(
                    &format!("{from}:{}", 20_000 + port),
                    &format!("{to}:{}", 30_000 + port),
                    vec![],
                )
            };
            let sequence = (number as u16).wrapping_mul(211).wrapping_add(round);
            let media = &payload(ssrc, sequence)[..(20 + number as usize % 140)];
            datagrams.push(Datagram { payload: rtp(ssrc, sequence, media), ..at(0) });
            if round % 2 == 1 {
                let port = u16::from(number % 4 == 0);
                datagrams.push(Datagram { payload: rtcp(ssrc, round.into()), ..at(port) });
            }
        }
        datagrams.push(Datagram::new("192.0.2.1:53", "192.0.2.2:53", b"no media at all".to_vec()));
    }
    datagrams
}

#[test]
fn every_suite_in_both_forms_and_families_with_and_without_mki() {
    let bench = Bench::new();
    let datagrams = many();
    let media = datagrams.iter().filter(|datagram| datagram.payload[0] & 0xc0 == 0x80).count();
    for (index, suite) in Suite::ALL.into_iter().enumerate() {
        let (form, mki) = (FORMS[index % 2], ["", "a1b2c3d4"][index / 2 % 2]);
        let forms = if suite == Suite::AeadAes256Gcm { &FORMS[..] } else { &[form] };
        for &form in forms {
            bench.capture("clear", form, &datagrams);
            let key = key(suite, 1);
            let mut options = vec!["--json", "--key", &key, "--suite", suite.name()];
            if !mki.is_empty() {
                options.extend(["--mki", mki]);
            }
            let summary = bench.convert("protect", "clear", "secret", &options).succeeded().json();
            assert_eq!(summary["operation"], "protect");
            assert_eq!(summary["packets"], datagrams.len());
            assert_eq!(summary["packets_written"], datagrams.len());
            assert_eq!((&summary["converted"], &summary["media_packets"]), (&media.into(), &media.into()));
            assert_hidden(&datagrams, &read(&bench.path("secret")), suite, mki.len() / 2);
            let summary = bench.convert("unprotect", "secret", "back", &options).succeeded().json();
            assert_eq!((&summary["converted"], &summary["left_out"]), (&media.into(), &0.into()));
            assert_eq!(summary["streams"].as_array().map(Vec::len), Some(300 + 75), "{suite}");
            let same =
                std::fs::read(bench.path("clear")).unwrap() == std::fs::read(bench.path("back")).unwrap();
            assert!(same, "{suite} {form:?}: not the octets that were protected");
        }
    }
}

/// Addresses and RTP headers are as they were, no payload is, and the lengths are what the suite says.
fn assert_hidden(clear: &[Datagram], secret: &[Datagram], suite: Suite, mki: usize) {
    assert_eq!(clear.len(), secret.len());
    for (clear, secret) in clear.iter().zip(secret) {
        assert_eq!((clear.source, clear.destination), (secret.source, secret.destination));
        let (plain, cipher) = (&clear.payload, &secret.payload);
        if plain[0] & 0xc0 != 0x80 {
            assert_eq!(plain, cipher, "what is no media passes");
            continue;
        }
        let is_rtcp = (200..=204).contains(&plain[1]);
        let growth = mki + if is_rtcp { suite.rtcp_overhead() } else { suite.rtp_overhead() };
        assert_eq!(cipher.len(), plain.len() + growth, "{suite}");
        assert_eq!(plain[..8], cipher[..8]);
        let hidden = plain[plain.len() - 16..] != cipher[plain.len() - 16..plain.len()];
        assert_eq!(hidden, suite.encrypts(), "{suite}");
    }
}

#[test]
fn every_option_of_a_key_and_there_and_back() {
    let bench = Bench::new();
    let mut datagrams = stream(7, 1, 20);
    datagrams.retain(|datagram| datagram.payload[0] == 0x80);
    for datagram in &mut datagrams {
        // A header extension with one element, 3.
        datagram.payload[0] |= 0x10;
        datagram.payload.splice(12..12, [0xbe, 0xde, 0, 1, 0x31, 9, 9, 0]);
    }
    bench.capture("clear", FORMS[0], &datagrams);
    let (cm, gcm) = ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM");
    for (suite, flags, growth, same) in [
        (cm, &["--kdr", "4"][..], 10, 12..20),
        (cm, &["--unencrypted-rtp"], 10, 12..60),
        (cm, &["--unauthenticated-rtp"], 0, 12..20),
        (gcm, &["--encrypted-extensions", "3"], 16, 12..17),
        (gcm, &["--cryptex", "required"], 16, 14..16),
        (cm, &["--rcc", "2:1"], 14, 12..20),
        (gcm, &["--rcc", "3:1"], 20, 12..20),
    ] {
        let key = key(suite.parse().unwrap(), 1);
        let options = [&["--key", &key, "--suite", suite][..], flags].concat();
        bench.convert("protect", "clear", "secret", &options).succeeded();
        for (clear, secret) in datagrams.iter().zip(read(&bench.path("secret"))) {
            assert_eq!(secret.payload.len(), clear.payload.len() + growth, "{flags:?}");
            assert_eq!(secret.payload[same.clone()], clear.payload[same.clone()], "{flags:?}");
        }
        bench.convert("unprotect", "secret", "back", &options).succeeded();
        let octets = |name| std::fs::read(bench.path(name)).ok();
        assert!(octets("clear") == octets("back"), "{flags:?}");
        // Without the option it is another thing, or nothing.
        let plain = bench.convert("unprotect", "secret", "other", &options[..4]);
        assert!(octets("clear") != octets("other"), "{flags:?}: {}", plain.output());
    }
    let key = key(cm.parse().unwrap(), 1);
    let refused = bench.convert("protect", "clear", "secret", &["--key", &key, "--rcc", "1"]);
    assert!(refused.output().contains("MODE:RATE"), "{}", refused.output());
}

#[test]
fn snapshot_lengths_make_room_for_tags() {
    let bench = Bench::new();
    for (form, at) in [(Form::Pcap, 16), (Form::PcapNg, 28 + 12)] {
        let clear = file(form, &stream(1, 1, 3), 200);
        std::fs::write(bench.path("clear"), &clear).unwrap();
        let key = key(Suite::AeadAes128Gcm, 2);
        bench.convert("protect", "clear", "secret", &["--key", &key]).succeeded();
        let secret = std::fs::read(bench.path("secret")).unwrap();
        let snaplen = u32::from_le_bytes(*secret[at..].first_chunk().unwrap());
        assert!(snaplen >= 200 + 16, "{form:?}: packets longer than the snapshot length {snaplen}");
    }
}

#[test]
fn keys_come_from_files_the_environment_and_pipes_and_never_appear() {
    let bench = Bench::new();
    let clear = stream(7, 100, 20);
    bench.capture("clear", Form::Pcap, &clear);
    let key = key(Suite::AesCm128HmacSha1_80, 3);
    std::fs::write(bench.path("keys"), format!("# whose\n\n 0x00000007={key}\n")).unwrap();
    let run = bench.convert("protect", "clear", "secret", &["--key-file", "keys"]).succeeded();
    assert!(!run.output().contains(&key));
    assert!(
        run.stdout.contains("20 packets encrypted") && run.stdout.contains("0x00000007"),
        "{}",
        run.stdout
    );
    let mut by_environment = crate::support::command(["pcap", "unprotect", "-", "-"]);
    by_environment.env("SLUICE_PCAP_KEY", &key).current_dir(bench.directory());
    by_environment.stdin(std::fs::File::open(bench.path("secret")).unwrap());
    let done = by_environment.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.contains("20 packets decrypted"), "{said}");
    assert!(done.stdout == std::fs::read(bench.path("clear")).unwrap(), "the packets went to the pipe");
    let mut by_pipe = crate::support::command(["pcap", "unprotect", "secret", "back", "--key-file", "-"]);
    let run = crate::support::run_with_input(by_pipe.current_dir(bench.directory()), key.as_bytes());
    run.succeeded();
    assert_eq!(read(&bench.path("back")), clear);
}

#[test]
fn one_key_for_each_ssrc_and_only_the_ssrcs_that_are_named() {
    let bench = Bench::new();
    let clear: Vec<_> = [stream(1, 1, 5), stream(2, 1, 5), stream(3, 1, 5)].concat();
    bench.capture("clear", Form::PcapNg, &clear);
    let (one, two) = (key(Suite::AeadAes128Gcm, 1), key(Suite::AeadAes256Gcm, 2));
    let keys = ["--key", &format!("1={one}"), "--key", &format!("0x2={two}"), "--json"];
    let summary = bench.convert("protect", "clear", "secret", &keys).succeeded().json();
    assert_eq!(summary["converted"], 10);
    assert_eq!(summary["streams"][0]["suite"], "AEAD_AES_128_GCM");
    assert_eq!(summary["streams"][1]["suite"], "AEAD_AES_256_GCM");
    assert_eq!(summary["streams"][2]["not_converted"]["no key for this SSRC"], 5);
    let only = [&keys[..], &["--ssrc", "2"]].concat();
    let summary = bench.convert("unprotect", "secret", "back", &only).succeeded().json();
    assert_eq!((&summary["converted"], &summary["packets_written"]), (&5.into(), &15.into()));
    let (secret, back) = (read(&bench.path("secret")), read(&bench.path("back")));
    assert_eq!(back[..5], secret[..5]);
    assert_eq!(back[5..], clear[5..]);
}

#[test]
fn rollover_within_the_capture_and_before_it() {
    let bench = Bench::new();
    let clear = stream(9, 65_500, 200);
    bench.capture("clear", Form::Pcap, &clear);
    let key = key(Suite::AesCm128HmacSha1_80, 4);
    for (roc, told, found) in [("0", None, 0), ("3", None, 3), ("3", Some("3"), 3), ("70", Some("9=70"), 70)]
    {
        bench.convert("protect", "clear", "secret", &["--key", &key, "--roc", roc]).succeeded();
        let mut options = vec!["--key", &key, "--json"];
        options.extend(told.iter().flat_map(|roc| ["--roc", roc]));
        let summary = bench.convert("unprotect", "secret", "back", &options).succeeded().json();
        assert_eq!(summary["converted"], 200, "ROC {roc}");
        assert_eq!(summary["streams"][0]["initial_roc"], found);
        assert_eq!(read(&bench.path("back")), clear);
    }
    // A capture that begins after the rollover: what was before is not needed.
    let late = read(&bench.path("secret")).split_off(100);
    bench.capture("late", Form::Pcap, &late);
    let summary = bench.convert("unprotect", "late", "back", &["--key", &key, "--roc", "71", "--json"]);
    assert_eq!(summary.succeeded().json()["converted"], 100);
    let run = bench.convert("unprotect", "late", "none", &["--key", &key, "--roc", "70"]);
    run.failed(1, &["none of the 100 media packets authenticated"]);
    for (options, found) in [
        (["--roc", "70", "--roc-trials", "1"].as_slice(), true),
        (&["--roc", "60", "--roc-trials", "10"], false),
        (&["--roc", "60", "--roc-trials", "11"], true),
        (&["--roc-trials", "70"], false),
        (&["--roc-trials", "71"], true),
    ] {
        let options = [&["--key", &*key, "--json"], options].concat();
        let run = bench.convert("unprotect", "late", if found { "back" } else { "none" }, &options);
        if found {
            assert_eq!(run.succeeded().json()["streams"][0]["initial_roc"], 71, "{options:?}");
        } else {
            run.failed(1, &["--roc-trials"]);
        }
    }
    bench.convert("unprotect", "late", "none", &["--key", &key]).failed(1, &["--roc"]);
    assert!(!bench.path("none").exists());
}
