//! `sluice pcap` on captures of what ffmpeg and GStreamer (libsrtp) encrypted, on made ones of every suite,
//! and on broken ones.

mod support;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sluice_demo::gateway::Key;
use sluice_demo::media::{Speech, ffmpeg_sender, gstreamer_sender};
use sluice_demo::process::Process;
use sluice_demo::world::Place;
use sluice_srtp::Suite;
use support::{Datagram, datagrams, expect, path, pcap, pcapng, sluice};
use tempfile::tempdir;

fn key(suite: Suite) -> (Key, String) {
    let key = Key::random(suite).expect("random numbers");
    let hex = hex::encode(&key.material);
    (key, hex)
}

/// What a program sends to a socket of ours, until it ends.
fn record(directory: &Path, sender: impl Fn(SocketAddr, SocketAddr) -> Command) -> Vec<Datagram> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let to = socket.local_addr().expect("bound");
    let from = {
        // An even port, with the one above for RTCP, that is free now.
        let free = |port: &u16| [0, 1].iter().all(|up| UdpSocket::bind(("127.0.0.1", port + up)).is_ok());
        let mut random = [0; 2];
        sluice_demo::gateway::random(&mut random).expect("random numbers");
        let first = 33_000 + u16::from_le_bytes(random) % 12_000 * 2;
        let port = (first..first + 2000).step_by(2).find(free).expect("free ports");
        SocketAddr::from(([127, 0, 0, 1], port))
    };
    let mut process = Process::spawn("sender", sender(from, to), directory).expect("the sender starts");
    // Where RTCP goes by default must not answer with an error.
    let _rtcp = UdpSocket::bind(("127.0.0.1", to.port() + 1));
    let mut seen = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => seen.push(Datagram { from, to, payload: buffer[..len].to_vec() }),
            Err(_) if process.finished().expect("waiting").is_some() => break,
            Err(_) => {}
        }
    }
    assert!(seen.len() > 20, "{} packets: {}", seen.len(), process.output());
    seen
}

/// Decrypts a capture in both formats; the payloads in a row, without what is not RTP.
fn decrypted_payload(directory: &Path, capture: &[Datagram], arguments: &[&str]) -> Vec<u8> {
    let mut results = Vec::new();
    for (name, file) in [("in.pcap", pcap(capture)), ("in.pcapng", pcapng(capture))] {
        let (input, output) = (directory.join(name), directory.join(format!("out-{name}")));
        fs::write(&input, file).expect("written");
        let mut command = vec!["pcap", "unprotect", path(&input), path(&output)];
        command.extend(arguments);
        expect(0, &sluice(&command));
        let plain = datagrams(&fs::read(&output).expect("the output"));
        assert_eq!(plain.len(), capture.len());
        let media = plain.iter().filter(|datagram| !(200..=204).contains(&datagram.payload[1]));
        results.push(media.flat_map(|datagram| datagram.payload[12..].to_vec()).collect::<Vec<u8>>());
    }
    assert_eq!(results[0], results[1], "pcap and pcapng");
    results.remove(0)
}

#[test]
fn what_ffmpeg_encrypted_is_decrypted_to_the_last_byte() {
    let directory = tempdir().unwrap();
    let speech = Speech::prepare(directory.path(), None, 2.0).unwrap();
    let (key, hex) = key(Suite::AesCm128HmacSha1_80);
    let capture = record(directory.path(), |from, to| {
        ffmpeg_sender(&Place::Here, &speech, &key.material, from, to).unwrap()
    });
    let payload = decrypted_payload(directory.path(), &capture, &["--key", &hex]);
    assert_eq!(payload, fs::read(&speech.mulaw).unwrap());
}

#[test]
fn what_libsrtp_encrypted_with_gcm_is_decrypted_to_the_last_byte() {
    let directory = tempdir().unwrap();
    let speech = Speech::prepare(directory.path(), None, 2.0).unwrap();
    let (key, hex) = key(Suite::AeadAes256Gcm);
    let capture = record(directory.path(), |from, to| {
        gstreamer_sender(&Place::Here, &speech, &key.material, 0x5eed, from, to).unwrap()
    });
    let file = directory.path().join("keys");
    fs::write(&file, format!("# one call\n0x5eed={hex}\n")).unwrap();
    let payload = decrypted_payload(directory.path(), &capture, &["--key-file", path(&file)]);
    assert_eq!(payload, fs::read(&speech.linear).unwrap());
}

/// RTP of `packets` packets from sequence number `first` on, and an RTCP report behind every tenth.
fn stream(ssrc: u32, first: u16, packets: u16, v6: bool) -> Vec<Datagram> {
    let address = |port: u16| -> SocketAddr {
        if v6 { ([0xfd00, 0, 0, 0, 0, 0, 0, 1], port).into() } else { ([192, 0, 2, 1], port).into() }
    };
    let (from, to) = (address(4000 + (ssrc % 1000) as u16 * 2), address(9000));
    let mut sent = Vec::new();
    for number in 0..packets {
        let mut payload = vec![0x80, 96];
        payload.extend(first.wrapping_add(number).to_be_bytes());
        payload.extend((u32::from(number) * 160).to_be_bytes());
        payload.extend(ssrc.to_be_bytes());
        payload.extend((0..20 + number % 50).map(|octet| (octet * 3) as u8 ^ ssrc as u8));
        sent.push(Datagram { from, to, payload });
        if number % 10 == 9 {
            let mut payload = vec![0x80, 200, 0, 6];
            payload.extend(ssrc.to_be_bytes());
            payload.extend([number as u8; 20]);
            sent.push(Datagram { from, to, payload });
        }
    }
    sent
}

#[test]
fn protect_and_unprotect_give_the_input_back_for_hundreds_of_streams_of_every_suite() {
    let directory = tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let streams: Vec<_> = (0..300_u32).map(|ssrc| stream(ssrc, 65_530, 20, ssrc % 2 == 0)).collect();
    // Interleaved, as streams are.
    let capture: Vec<_> =
        (0..22).flat_map(|at| streams.iter().map(move |stream| stream[at].clone())).collect();
    for suite in Suite::ALL {
        let (_, hex) = key(suite);
        for (form, bytes) in [("pcap", pcap(&capture)), ("pcapng", pcapng(&capture))] {
            let [plain, secret, back] =
                ["plain", "secret", "back"].map(|name| file(&format!("{name}.{form}")));
            fs::write(&plain, bytes).unwrap();
            let keys = ["--key", &hex, "--suite", suite.name(), "--mki", "c0ffee"];
            let run = sluice(&[&["pcap", "protect", path(&plain), path(&secret)], &keys[..]].concat());
            let (out, _) = expect(0, &run);
            let encrypted = datagrams(&fs::read(&secret).unwrap());
            assert_eq!(encrypted.len(), capture.len());
            for (encrypted, clear) in encrypted.iter().zip(&capture) {
                assert!(encrypted.payload.len() > clear.payload.len() + 3, "{suite}: tag and MKI\n{out}");
                assert_ne!(encrypted.payload[12..clear.payload.len()], clear.payload[12..], "{suite}");
            }
            expect(0, &sluice(&[&["pcap", "unprotect", path(&secret), path(&back)], &keys[..]].concat()));
            assert_eq!(datagrams(&fs::read(&back).unwrap()), capture, "{suite}, {form}");
        }
    }
}

#[test]
fn a_capture_may_begin_late_and_cross_a_rollover() {
    let directory = tempdir().unwrap();
    let [plain, secret, back] = ["plain", "secret", "back"].map(|name| directory.path().join(name));
    let (_, hex) = key(Suite::AesCm128HmacSha1_80);
    let capture = stream(7, 65_500, 100, false);
    fs::write(&plain, pcap(&capture)).unwrap();
    expect(0, &sluice(&["pcap", "protect", path(&plain), path(&secret), "--key", &hex, "--roc", "3"]));
    // Found by trial, …
    let run = sluice(&["pcap", "unprotect", path(&secret), path(&back), "--key", &hex, "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&expect(0, &run).0).unwrap();
    assert_eq!(summary["converted"], 110);
    assert_eq!(summary["streams"][0]["initial_roc"], 3);
    assert_eq!(datagrams(&fs::read(&back).unwrap()), capture);
    // … told rightly, and told wrongly.
    expect(0, &sluice(&["pcap", "unprotect", path(&secret), path(&back), "--key", &hex, "--roc", "7=3"]));
    let run =
        sluice(&["pcap", "unprotect", path(&secret), path(&back), "--key", &hex, "--roc", "2", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&expect(0, &run).0).unwrap();
    assert_eq!(summary["converted"], 10, "RTCP needs no ROC");
}

#[test]
fn a_wrong_key_is_reported_and_leaves_no_output() {
    let directory = tempdir().unwrap();
    let [plain, secret, back] = ["plain", "secret", "back"].map(|name| directory.path().join(name));
    fs::write(&plain, pcap(&stream(7, 1, 20, false))).unwrap();
    let ((_, right), (_, wrong)) = (key(Suite::AeadAes128Gcm), key(Suite::AeadAes128Gcm));
    expect(0, &sluice(&["pcap", "protect", path(&plain), path(&secret), "--key", &right]));
    let (out, err) = expect(1, &sluice(&["pcap", "unprotect", path(&secret), path(&back), "--key", &wrong]));
    assert!(err.contains("none of the 22 media packets authenticated"), "{err}");
    assert!(out.contains("authentication failed"), "{out}");
    assert!(!back.exists());
    assert!(!(out + &err).contains(&wrong), "the key is told");
}

#[test]
fn a_file_that_is_cut_off_is_converted_as_far_as_it_goes() {
    let directory = tempdir().unwrap();
    let [plain, secret, back] = ["plain", "secret", "back"].map(|name| directory.path().join(name));
    let (_, hex) = key(Suite::AesCm128HmacSha1_80);
    for bytes in [pcap(&stream(7, 1, 20, false)), pcapng(&stream(7, 1, 20, false))] {
        fs::write(&plain, bytes).unwrap();
        expect(0, &sluice(&["pcap", "protect", path(&plain), path(&secret), "--key", &hex]));
        let whole = fs::read(&secret).unwrap();
        fs::write(&secret, &whole[..whole.len() - 5]).unwrap();
        let (_, err) = expect(3, &sluice(&["pcap", "unprotect", path(&secret), path(&back), "--key", &hex]));
        assert!(err.contains("cut"), "{err}");
        assert_eq!(datagrams(&fs::read(&back).unwrap()).len(), 21, "all but the last");
    }
}

#[test]
fn what_is_no_capture_is_refused_with_a_reason() {
    let directory = tempdir().unwrap();
    let (_, hex) = key(Suite::AesCm128HmacSha1_80);
    let [input, output] = ["in", "out"].map(|name| directory.path().join(name));
    let refused = |input: &Path, output: &Path, word: &str| {
        let (_, err) = expect(1, &sluice(&["pcap", "unprotect", path(input), path(output), "--key", &hex]));
        assert!(err.contains(word), "{word}: {err}");
    };
    refused(&input, &output, "cannot open");
    refused(directory.path(), &output, "directory");
    for (bytes, word) in
        [(&b""[..], "in"), (b"#!/bin/sh\nexit 0\n# not a capture, but long enough to be", "pcap")]
    {
        fs::write(&input, bytes).unwrap();
        refused(&input, &output, word);
    }
    fs::write(&input, pcap(&stream(7, 1, 2, false))).unwrap();
    refused(&input, &input, "input as well");
    assert!(!output.exists());
    let (_, err) = expect(1, &sluice(&["pcap", "unprotect", path(&input), path(&output), "--key", "abcd"]));
    assert!(err.contains("30 for AES_CM_128_HMAC_SHA1_80"), "{err}");
    let (_, err) = expect(1, &sluice(&["pcap", "protect", path(&input), path(&output)]));
    assert!(err.contains("no key"), "{err}");
}

#[test]
fn lying_lengths_take_no_memory() {
    let directory = tempdir().unwrap();
    let (_, hex) = key(Suite::AesCm128HmacSha1_80);
    let [input, output] = ["in", "out"].map(|name| directory.path().join(name));
    let mut ng = pcapng(&stream(7, 1, 3, false));
    // The first packet block: after a section header of 28 octets and an interface of 20.
    ng[48 + 4..48 + 8].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    let mut old = pcap(&stream(7, 1, 3, false));
    old[24 + 8..24 + 12].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    for bytes in [ng, old] {
        fs::write(&input, bytes).unwrap();
        let limited = format!(
            "ulimit -v 4000000; exec {} pcap unprotect {} {} --key {hex}",
            env!("CARGO_BIN_EXE_sluice"),
            path(&input),
            path(&output)
        );
        let run = Command::new("bash").args(["-c", &limited]).output().unwrap();
        let (_, err) = expect(1, &run);
        assert!(!err.contains("panicked") && !err.contains("alloc"), "{err}");
    }
}
