//! What cannot be converted is refused in words, and leaves no file.

use sluice_srtp::Suite;

use crate::capture::{Datagram, FORMS, Form, block, file, read, words};
use crate::media::{Bench, key, stream};
use crate::support::{SLUICE, run};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

#[test]
fn a_wrong_key_is_named_and_leaves_no_file() {
    let bench = Bench::new();
    bench.capture("clear", Form::Pcap, &stream(1, 1, 30));
    let (right, wrong) = (key(SUITE, 1), key(SUITE, 2));
    bench.convert("protect", "clear", "secret", &["--key", &right]).succeeded();
    std::fs::write(bench.path("kept"), "what was there").unwrap();
    for output in ["none", "kept"] {
        let run = bench.convert("unprotect", "secret", output, &["--key", &wrong]);
        let run = run.failed(1, &["secret: none of the 30 media packets authenticated: wrong key"]);
        assert!(!run.output().contains(&wrong) && !run.output().contains(&right));
    }
    let run = bench.convert("unprotect", "secret", "none", &["--key", &wrong, "--json"]);
    let summary = run.failed(1, &["wrong key"]).json();
    assert_eq!((&summary["converted"], &summary["output"]), (&0.into(), &serde_json::Value::Null));
    assert!(summary["error"].as_str().is_some_and(|error| error.contains("wrong key")), "{summary}");
    let run = bench.convert("unprotect", "secret", "none", &["--key", &right, "--mki", "01"]);
    run.failed(1, &["MKI"]);
    let run = bench.convert("unprotect", "secret", "none", &["--key", &format!("77={right}")]);
    run.failed(1, &["no key for any of their SSRCs"]);
    assert_eq!(std::fs::read(bench.path("kept")).unwrap(), b"what was there");
    let mut left: Vec<_> =
        std::fs::read_dir(bench.directory()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["clear", "kept", "secret"], "no temporary file either");
}

#[test]
fn forged_packets_are_left_out_and_counted() {
    let bench = Bench::new();
    let clear = stream(1, 1, 30);
    bench.capture("clear", Form::PcapNg, &clear);
    let key = key(Suite::AeadAes256Gcm, 1);
    bench.convert("protect", "clear", "secret", &["--key", &key]).succeeded();
    let mut secret = read(&bench.path("secret"));
    secret[10].payload[40] ^= 1;
    secret.insert(20, secret[3].clone());
    bench.capture("forged", Form::PcapNg, &secret);
    let summary = bench.convert("unprotect", "forged", "back", &["--key", &key, "--json"]).succeeded().json();
    assert_eq!((&summary["converted"], &summary["left_out"]), (&29.into(), &2.into()));
    let reasons = summary["streams"][0]["not_converted"].as_object().unwrap();
    assert_eq!(
        reasons.values().map(|count| count.as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 1],
        "{summary}"
    );
    let expected: Vec<_> = [&clear[..10], &clear[11..]].concat();
    assert_eq!(read(&bench.path("back")), expected);
}

#[test]
fn of_a_file_cut_off_there_is_what_was_readable() {
    let bench = Bench::new();
    let key = key(SUITE, 1);
    let clear = stream(1, 1, 30);
    for form in FORMS {
        bench.capture("clear", form, &clear);
        bench.convert("protect", "clear", "secret", &["--key", &key]).succeeded();
        let whole = std::fs::read(bench.path("secret")).unwrap();
        // Within the last packet, within the last record's header, one octet short.
        let record = match form {
            Form::Pcap => 16 + 28 + 172 + 10,
            Form::PcapNg => 32 + 28 + 182 + 2 + 12,
        };
        for missing in [1, 40, record - 3] {
            std::fs::write(bench.path("cut"), &whole[..whole.len() - missing]).unwrap();
            let run = bench.convert("unprotect", "cut", "back", &["--key", &key, "--json"]);
            assert_eq!(run.status, Some(3), "{}", run.output());
            let summary = run.json();
            assert!(summary["damage"].as_str().is_some_and(|text| text.contains("cut off")), "{summary}");
            assert_eq!(read(&bench.path("back")), clear[..29], "{form:?} without {missing} octets");
            let text = bench.convert("unprotect", "cut", "back", &["--key", &key]);
            text.failed(3, &["cut off", "at byte"]);
        }
    }
}

#[test]
fn what_is_no_capture_is_refused() {
    let bench = Bench::new();
    let key = key(SUITE, 1);
    std::fs::create_dir(bench.path("folder")).unwrap();
    let no_media = Datagram::new("192.0.2.1:1", "192.0.2.2:2", b"hello".to_vec());
    let inputs: [(&str, &[u8], &str); 8] = [
        ("empty", b"", "empty"),
        ("garbage", b"this is no capture at all, only text", "not a pcap or pcapng file"),
        ("short", &[0xd4, 0xc3], "ends within its header"),
        ("header", &file(Form::Pcap, &[], 0)[..20], "ends within its header"),
        ("zipped", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "gzip"),
        ("no-packets", &file(Form::PcapNg, &[], 0), "no packets"),
        ("no-media", &file(Form::Pcap, &[no_media], 0), "its only packet is not RTP"),
        ("odd-link", &odd_link(), "link type"),
    ];
    for (name, bytes, _) in inputs {
        std::fs::write(bench.path(name), bytes).unwrap();
    }
    let others = [("folder", "is a directory"), ("nowhere", "nowhere"), ("nowhere/x", "nowhere/x")];
    for (name, word) in inputs.iter().map(|(name, _, word)| (*name, *word)).chain(others) {
        for operation in ["unprotect", "protect"] {
            let run = bench.convert(operation, name, "none", &["--key", &key]);
            run.failed(1, &["sluice: ", name, word]);
            assert!(!bench.path("none").exists(), "{name}");
        }
    }
}

/// A capture of link type 147, which is for private use.
fn odd_link() -> Vec<u8> {
    let mut capture = file(Form::Pcap, &stream(1, 1, 2), 0);
    capture[20] = 147;
    capture
}

#[test]
fn outputs_that_cannot_be_are_refused_and_inputs_never_overwritten() {
    let bench = Bench::new();
    let key = key(SUITE, 1);
    let before = bench.capture("clear", Form::Pcap, &stream(1, 1, 5));
    let before = std::fs::read(before).unwrap();
    std::fs::create_dir(bench.path("folder")).unwrap();
    std::os::unix::fs::symlink("clear", bench.path("link")).unwrap();
    for (output, word) in [
        ("clear", "is the input as well"),
        ("./folder/../clear", "is the input as well"),
        ("link", "is the input as well"),
        ("folder", "cannot create folder"),
        ("nowhere/secret", "cannot create nowhere/secret"),
    ] {
        bench.convert("protect", "clear", output, &["--key", &key]).failed(1, &[word]);
        assert_eq!(std::fs::read(bench.path("clear")).unwrap(), before, "{output}");
    }
    let run = bench.convert("protect", "-", "none", &["--key-file", "-"]);
    run.failed(1, &["standard input", "--key-file"]);
}

#[test]
fn keys_that_cannot_be_are_refused_without_repeating_them() {
    let bench = Bench::new();
    bench.capture("clear", Form::Pcap, &stream(1, 1, 5));
    let good = key(SUITE, 1);
    let short = good[..58].to_owned();
    std::fs::write(bench.path("no-keys"), "# nothing here\n").unwrap();
    let aead = key(Suite::AeadAes128Gcm, 1);
    let cases: [(&[&str], &[&str]); 11] = [
        (&["--key", &aead, "--short-rtcp-tags"], &["--short-rtcp-tags", "AEAD_AES_128_GCM", "HMAC"]),
        (&["--key", &good, "--roc-trials", "3"], &["--roc-trials", "--roc"]),
        (&[], &["no key", "--key-file", "SLUICE_PCAP_KEY"]),
        (&["--key", &short], &["29 bytes", "30 for AES_CM_128_HMAC_SHA1_80"]),
        (&["--key", "s3cr3t-s3cr3t!"], &["neither hex nor base64"]),
        (&["--key-file", "nowhere"], &["cannot read the key from nowhere"]),
        (&["--key-file", "no-keys"], &["no-keys holds no key"]),
        (&["--key", &good, "--suite", "AEAD_AES_256_GCM"], &["AEAD_AES_256_GCM"]),
        (&["--key", &good, "--mki", "xyz"], &["MKI", "not hex"]),
        (&["--key", &good, "--roc", "many"], &["not a rollover counter"]),
        (&["--key", &good, "--key", &good], &["two keys for all streams"]),
    ];
    for (options, words) in cases {
        let run = bench.convert("protect", "clear", "none", options).failed(1, words);
        for secret in [&*good, &*short, "s3cr3t"] {
            assert!(!run.output().contains(secret), "{}", run.output());
        }
        assert!(!bench.path("none").exists(), "{options:?}");
    }
    // What clap refuses has its own status.
    bench.convert("protect", "clear", "none", &["--key", &good, "--suite", "ROT13"]).failed(2, &["ROT13"]);
}

/// Lengths in the file that would need gigabytes: refused with what memory there is.
#[test]
fn hostile_lengths_take_no_memory() {
    let bench = Bench::new();
    let key = key(SUITE, 1);
    bench.capture("clear", Form::PcapNg, &stream(1, 1, 3));
    bench.convert("protect", "clear", "ng", &["--key", &key]).succeeded();
    bench.capture("clear", Form::Pcap, &stream(1, 1, 3));
    bench.convert("protect", "clear", "pcap", &["--key", &key]).succeeded();
    let enhanced = |captured: u32| block(6, &words(&[0, 0, 0, captured, captured, 0x4500_0000, 0, 0]));
    let hostile: [(&str, Vec<u8>); 10] = [
        ("ng", words(&[6, 0xffff_fffc])),
        ("ng", words(&[0xbad, 0xffff_fffc, 0, 0])),
        ("ng", words(&[6, 0, 0])),
        ("ng", words(&[6, 13, 0, 13])),
        ("ng", words(&[0x0a0d_0d0a, 0xffff_fffc, 0x1a2b_3c4d, 1])),
        ("ng", enhanced(0xffff_fff0)),
        ("ng", enhanced(0x7fff_ffff)),
        ("ng", [words(&[6, 0x0100_0000]), vec![0; 64]].concat()),
        ("pcap", words(&[0, 0, u32::MAX, u32::MAX])),
        ("pcap", [words(&[0, 0, 0x4_0000, 0x4_0000]), vec![0; 64]].concat()),
    ];
    for (index, (start, record)) in hostile.into_iter().enumerate() {
        let good = std::fs::read(bench.path(start)).unwrap();
        std::fs::write(bench.path("hostile"), [good, record].concat()).unwrap();
        // 512 MiB of address space: mostly threads' stacks.
        let mut limited = std::process::Command::new("sh");
        limited.args([
            "-c",
            "ulimit -v 524288 && exec \"$0\" \"$@\"",
            SLUICE,
            "pcap",
            "unprotect",
            "hostile",
        ]);
        limited.args(["back", "--json", "--key", &key]).env("RAYON_NUM_THREADS", "2");
        let run = run(limited.env("MALLOC_ARENA_MAX", "2").current_dir(bench.directory()));
        assert_eq!(run.status, Some(3), "{index}: {}", run.output());
        let summary = run.json();
        assert_eq!(summary["converted"], 3, "{index}");
        assert!(
            summary["damage"].as_str().is_some_and(|text| text.contains("at byte")),
            "{index}: {summary}"
        );
        assert_eq!(read(&bench.path("back")).len(), 3, "{index}");
    }
}
