//! The RFCs' own test vectors, read from their text: `tests/vectors/RFC/SECTION.txt`.

use std::path::Path;
use std::sync::Arc;

use sluice_kernels::{
    CtrJob, CtrKey, GcmJob, GcmKey, Kernel, MacJob, MacKey, ctr, gcm_open, gcm_seal, hmac_sha1, selected,
};
use sluice_srtp::kdf::{Label, Prf};
use sluice_srtp::{
    Cryptex, Inbound, Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD, MasterKey, Omit, Outbound, Position,
    ReplayWindow, SessionKeys, SessionMaterial, Suite, protect, unprotect,
};

/// The text of one section.
struct Section(String);

impl Section {
    fn read(rfc: &str, section: &str) -> Self {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
        let path = vectors.join(rfc).join(format!("{section}.txt"));
        Self(std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    /// The octets after the first `label:`, on its line and on those that follow up to a blank one.
    fn octets(&self, label: &str) -> Vec<u8> {
        let mut lines = self.0.lines().map(str::trim);
        let first = lines
            .by_ref()
            .find_map(|line| line.strip_prefix(label)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("no {label:?} in the section"));
        let mut octets = leading_hex(first);
        let blank_first = octets.is_empty();
        for line in lines.skip_while(|line| line.is_empty() && blank_first) {
            let more = leading_hex(line);
            if more.is_empty() {
                break;
            }
            octets.extend(more);
        }
        assert!(!octets.is_empty(), "no octets after {label:?}");
        octets
    }

    /// Lines of two blocks: counter and keystream.
    fn keystream(&self) -> Vec<(u128, u128)> {
        let block = |text: &str| (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok())?;
        let pair = |line: &str| {
            let mut words = line.split_whitespace();
            Some((block(words.next()?)?, block(words.next()?)?))
        };
        self.0.lines().filter_map(pair).collect()
    }
}

fn leading_hex(line: &str) -> Vec<u8> {
    line.split_whitespace().map_while(hex).flatten().collect()
}

fn hex(word: &str) -> Option<Vec<u8>> {
    if !word.len().is_multiple_of(2) || !word.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    (0..word.len()).step_by(2).map(|i| u8::from_str_radix(&word[i..i + 2], 16).ok()).collect()
}

fn kernel() -> Kernel {
    selected().unwrap()
}

#[test]
fn vectors_of_rfc3711_b2_and_rfc6188_7_aes_counter_mode() {
    for (rfc, section, key_len) in [("rfc3711", "B.2", 16), ("rfc6188", "7.3", 24), ("rfc6188", "7.1", 32)] {
        let section = Section::read(rfc, section);
        let key = section.octets("Session Key");
        assert_eq!(key.len(), key_len);
        let iv: [u8; 16] = section.octets("Offset").try_into().unwrap();
        let mut stream = vec![0; 1_044_512];
        ctr(kernel(), &mut [CtrJob { key: &CtrKey::new(kernel(), &key).unwrap(), iv, data: &mut stream }]);
        let expected = section.keystream();
        assert_eq!(expected.len(), 6);
        for (counter, block) in expected {
            let at = (counter - u128::from_be_bytes(iv)) as usize * 16;
            assert_eq!(stream[at..at + 16], block.to_be_bytes(), "{rfc}: counter {counter:032x}");
        }
    }
}

#[test]
fn vectors_of_rfc3711_b3_and_rfc6188_7_key_derivation() {
    for (rfc, section, auth_len) in [("rfc3711", "B.3", 94), ("rfc6188", "7.4", 20), ("rfc6188", "7.2", 20)] {
        let section = Section::read(rfc, section);
        let salt = section.octets("master salt").try_into().unwrap();
        let prf = Prf::new(&section.octets("master key"), &salt).unwrap();
        let mut key = section.octets("cipher key");
        let mut salt = section.octets("cipher salt");
        // Each line of the table begins with a block of the key; RFC 3711 has no line with all of it.
        let table = section.0.split_once("input blocks\n").expect("the table of the auth key").1;
        let lines = table.trim_start().lines().take_while(|line| !line.trim().is_empty());
        let mut auth: Vec<u8> =
            lines.flat_map(|line| line.split_whitespace().next().and_then(hex).unwrap()).collect();
        assert_eq!((salt.len(), auth.len()), (14, auth_len));

        for (label, expected) in [
            (Label::RtpEncryption, &mut key),
            (Label::RtpSalt, &mut salt),
            (Label::RtpAuthentication, &mut auth),
        ] {
            let mut derived = vec![0xff; expected.len()];
            prf.derive(label, 0, &mut derived);
            assert_eq!(&derived, expected, "{rfc}: {label:?}");
        }
    }
}

/// Contexts whose session keys are the section's.
fn contexts(section: &Section, suite: Suite, kind: Kind, clear_rtcp: bool) -> (Outbound, Inbound) {
    let salt = section.octets("salt");
    let material = SessionMaterial::new(suite, &section.octets("Key"), &salt, [0; 20]).unwrap();
    let materials = [&material, &material];
    let omit = Omit { rtcp_encryption: clear_rtcp, ..Omit::default() };
    let options = KeyOptions { omit, ..KeyOptions::default() };
    let keys = SessionKeys::expand(KeyId(1), suite, materials, &options).unwrap();
    let keys = Arc::new(keys);
    let ssrc = if kind == Kind::Rtp { 0x5501_a0b2 } else { 0x4d61_7273 };
    // RFC 7714 §16: ROC 0. §17: SRTCP index 0x5d4.
    let position = Position { rtp: None, rtcp: Some(0x5d3) };
    let outbound = Outbound::resume(ssrc, keys.clone(), position, 0);
    (outbound, Inbound::new(ssrc, keys, ReplayWindow::default(), 0))
}

fn check_protect(outbound: &mut Outbound, kind: Kind, plain: &[u8], expected: &[u8]) {
    let mut buffer = [plain, &[0; MAX_OVERHEAD]].concat();
    let mut jobs = [Job::new(0, kind, &mut buffer, plain.len())];
    protect(std::slice::from_mut(outbound), &mut jobs);
    assert_eq!(jobs[0].result, Ok(()));
    let len = jobs[0].len;
    assert_eq!(buffer[..len], *expected);
}

fn check_unprotect(inbound: &mut Inbound, kind: Kind, packet: &[u8], expected: &[u8]) {
    let mut buffer = packet.to_vec();
    let mut jobs = [Job::new(0, kind, &mut buffer, packet.len())];
    unprotect(std::slice::from_mut(inbound), &mut jobs);
    assert_eq!(jobs[0].result, Ok(()));
    let len = jobs[0].len;
    assert_eq!(buffer[..len], *expected);
}

#[test]
fn vectors_of_rfc7714_16_srtp_gcm_encryption_and_decryption() {
    for (suite, encryption, decryption) in
        [(Suite::AeadAes128Gcm, "16.1.1", "16.1.2"), (Suite::AeadAes256Gcm, "16.2.1", "16.2.2")]
    {
        let section = Section::read("rfc7714", encryption);
        let plain = section.octets("Encrypting the following packet");
        let protected = section.octets("Encrypted and tagged packet");
        let (mut outbound, _) = contexts(&section, suite, Kind::Rtp, false);
        check_protect(&mut outbound, Kind::Rtp, &plain, &protected);

        let section = Section::read("rfc7714", decryption);
        let protected = section.octets("Decrypting the following packet");
        // The RFC shows the payload only.
        let plain = [section.octets("AAD"), section.octets("Verified and tagged packet")].concat();
        let (_, mut inbound) = contexts(&section, suite, Kind::Rtp, false);
        check_unprotect(&mut inbound, Kind::Rtp, &protected, &plain);
    }
}

/// SRTP has no tagging only; the sections exercise the kernel.
#[test]
fn vectors_of_rfc7714_16_gcm_tagging_and_verification() {
    for number in ["16.1.3", "16.1.4", "16.2.3", "16.2.4"] {
        let section = Section::read("rfc7714", number);
        let key = GcmKey::new(kernel(), &section.octets("Key")).unwrap();
        let iv = section.octets("IV").try_into().unwrap();
        let aad = section.octets("AAD");
        let want: [u8; 16] = section.octets("full GMAC").try_into().unwrap();
        let mut tag = [0; 16];
        let mut job = GcmJob { key: &key, iv, aad: &aad, data: &mut [], tag: &mut tag, ok: false };
        gcm_seal(kernel(), std::slice::from_mut(&mut job));
        assert_eq!(*job.tag, want, "{number}");
        job.ok = false;
        gcm_open(kernel(), std::slice::from_mut(&mut job));
        assert!(job.ok, "{number}");
        job.tag[0] ^= 1;
        gcm_open(kernel(), std::slice::from_mut(&mut job));
        assert!(!job.ok, "{number}");
    }
}

#[test]
fn vectors_of_rfc7714_17_srtcp_gcm() {
    let tagged = "Tagged packet";
    for (number, suite, plain, protected, clear) in [
        (
            "17.1",
            Suite::AeadAes128Gcm,
            "Encrypting the following packet",
            "Encrypted and tagged packet",
            false,
        ),
        (
            "17.2",
            Suite::AeadAes256Gcm,
            "Verified and decrypted packet",
            "Decrypting the following packet",
            false,
        ),
        ("17.3", Suite::AeadAes128Gcm, "Tagging the following packet", tagged, true),
        ("17.4", Suite::AeadAes256Gcm, "Verified packet", "Verifying the following packet", true),
    ] {
        let section = Section::read("rfc7714", number);
        let (plain, protected) = (section.octets(plain), section.octets(protected));
        let (mut outbound, mut inbound) = contexts(&section, suite, Kind::Rtcp, clear);
        check_protect(&mut outbound, Kind::Rtcp, &plain, &protected);
        check_unprotect(&mut inbound, Kind::Rtcp, &protected, &plain);
    }
}

/// Sends and receives the RTP packet of ROC 0 whose protected form is known.
fn rtp_vector(suite: Suite, material: &SessionMaterial, plain: &[u8], protected: &[u8]) {
    let options = KeyOptions::default();
    let keys = Arc::new(SessionKeys::expand(KeyId(1), suite, [material; 2], &options).unwrap());
    let ssrc = u32::from_be_bytes(plain[8..12].try_into().unwrap());
    let mut buffer = [plain, &[0; MAX_OVERHEAD]].concat();
    let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, plain.len())];
    protect(&mut [Outbound::new(ssrc, keys.clone(), 0)][..], &mut jobs);
    assert_eq!((jobs[0].result, &jobs[0].packet[..jobs[0].len]), (Ok(()), protected), "{suite}");
    unprotect(&mut [Inbound::new(ssrc, keys, ReplayWindow::default(), 0)][..], &mut jobs);
    assert_eq!((jobs[0].result, &jobs[0].packet[..jobs[0].len]), (Ok(()), plain), "{suite}");
}

#[test]
fn vectors_of_rfc8269_a1_aria_counter_mode() {
    let common = Section::read("rfc8269", "A.1");
    let plain = [common.octets("RTP Header"), common.octets("RTP Payload")].concat();
    let auth = common.octets("Authentication Key").try_into().unwrap();
    for (number, suite) in [("A.1.1", Suite::Aria128CtrHmacSha1_80), ("A.1.2", Suite::Aria256CtrHmacSha1_80)]
    {
        let section = Section::read("rfc8269", number);
        let (key, salt) = (section.octets("Session Key"), common.octets("Session Salt"));
        let material = SessionMaterial::new(suite, &key, &salt, auth).unwrap();
        let parts = ["Encrypted RTP Payload", "Authentication Tag"].map(|part| section.octets(part));
        rtp_vector(suite, &material, &plain, &[&plain[..12], &parts.concat()].concat());
    }
}

#[test]
fn vectors_of_rfc8269_a2_aria_gcm() {
    let common = Section::read("rfc8269", "A.2");
    let plain = [common.octets("Associated Data"), common.octets("RTP Payload")].concat();
    for (number, suite) in [("A.2.1", Suite::AeadAria128Gcm), ("A.2.2", Suite::AeadAria256Gcm)] {
        let section = Section::read("rfc8269", number);
        let (key, salt) = (section.octets("Key"), common.octets("Encryption Salt"));
        let material = SessionMaterial::new(suite, &key, &salt, [0; 20]).unwrap();
        let protected = [&plain[..12], &section.octets("Encrypted RTP Payload")].concat();
        rtp_vector(suite, &material, &plain, &protected);
    }
}

#[test]
fn vectors_of_rfc8269_a3_aria_key_derivation() {
    for (number, suite) in [("A.3.1", Suite::Aria128CtrHmacSha1_80), ("A.3.2", Suite::Aria256CtrHmacSha1_80)]
    {
        let section = Section::read("rfc8269", number);
        let salt = section.octets("master salt").try_into().unwrap();
        let prf = Prf::of(suite, &section.octets("master key"), &salt).unwrap();
        let table = section.0.split_once("ARIA input blocks\n").expect("the table of the auth key").1;
        let lines = table.trim_start().lines().take_while(|line| !line.trim().is_empty());
        let auth = lines.flat_map(|line| line.split_whitespace().next().and_then(hex).unwrap()).collect();
        for (label, expected) in [
            (Label::RtpEncryption, section.octets("cipher key")),
            // The second line is the first again, for GCM.
            (Label::RtpSalt, section.octets("cipher salt")[..14].to_vec()),
            (Label::RtpAuthentication, auth),
        ] {
            let mut derived = vec![0xff; expected.len()];
            prf.derive(label, 0, &mut derived);
            assert_eq!(derived, expected, "{suite}: {label:?}");
        }
    }
}

#[test]
fn vectors_of_rfc5669_a2_a3_seed_ccm_and_gcm() {
    for (number, suite) in [("A.2", Suite::Seed128Ccm80), ("A.3", Suite::Seed128Gcm96)] {
        let section = Section::read("rfc5669", number);
        let [key, header, payload] = ["Key", "AAD", "Payload"].map(|part| section.octets(part));
        // The nonces are those of a salt of zeros.
        let material = SessionMaterial::new(suite, &key, &[0; 12], [0; 20]).unwrap();
        let parts = ["Encrypted RTP Payload", "Authentication Tag"].map(|part| section.octets(part));
        let plain = [&header[..], &payload].concat();
        rtp_vector(suite, &material, &plain, &[&header[..], &parts.concat()].concat());
    }
}

/// The tag of RFC 5669 A.1 is over header and *plain* text without the ROC, which is neither §2.1.1 nor RFC
/// 3711 §4.2: it is recomputed as it was made, and what the RFCs' text says is sent.
#[test]
fn vectors_of_rfc5669_a1_seed_counter_mode() {
    let (suite, section) = (Suite::SeedCtr128HmacSha1_80, Section::read("rfc5669", "A.1"));
    let header = Section::read("rfc5669", "A.2").octets("AAD");
    let plain = [header.clone(), section.octets("RTP Payload")].concat();
    let encrypted = [header, section.octets("Encrypted RTP Payload")].concat();
    let auth = section.octets("Authentication Key");
    let tag = |data: [&[u8]; 2]| {
        let key = MacKey::new(kernel(), &auth);
        let mut jobs = [MacJob { key: &key, data, tag: [0; 20] }];
        hmac_sha1(kernel(), &mut jobs);
        jobs[0].tag[..10].to_vec()
    };
    assert_eq!(tag([&plain, &[]]), section.octets("Authentication Tag"));
    let mut padded = [0; 20];
    padded[..16].copy_from_slice(&auth);
    let (key, salt) = (section.octets("Session Key"), section.octets("Session Salt"));
    let material = SessionMaterial::new(suite, &key, &salt, padded).unwrap();
    rtp_vector(suite, &material, &plain, &[&encrypted[..], &tag([&encrypted, &[0; 4]])].concat());
}

#[test]
fn vectors_of_rfc6904_a1_header_key_derivation() {
    let section = Section::read("rfc6904", "A.1");
    let salt = section.octets("master salt").try_into().unwrap();
    let prf = Prf::new(&section.octets("master key"), &salt).unwrap();
    for (label, expected) in [
        (Label::RtpHeaderEncryption, section.octets("hdr. cipher key")),
        (Label::RtpHeaderSalt, section.octets("hdr. cipher salt")),
    ] {
        let mut derived = vec![0; expected.len()];
        prf.derive(label, 0, &mut derived);
        assert_eq!(derived, expected, "{label:?}");
    }
}

#[test]
fn vectors_of_rfc6904_a2_header_encryption() {
    let (keys, section) = (Section::read("rfc6904", "A.1"), Section::read("rfc6904", "A.2"));
    let material = [keys.octets("master key"), keys.octets("master salt")].concat();
    let master = MasterKey::from_concatenated(Suite::AesCm128HmacSha1_80, &material).unwrap();
    let options =
        KeyOptions { encrypted_extensions: [1, 3, 4].into_iter().collect(), ..KeyOptions::default() };
    let keys = Arc::new(SessionKeys::derive_with(KeyId(1), &master, &options).unwrap());
    let mut plain = hex("900f1234decafbadcafebabebede0006").unwrap();
    plain.extend(section.octets("Plaintext"));
    plain.extend([0xab; 16]);
    let mut buffer = [&plain[..], &[0; MAX_OVERHEAD]].concat();
    let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, plain.len())];
    protect(&mut [Outbound::new(0xcafe_babe, keys.clone(), 0)][..], &mut jobs);
    assert_eq!(jobs[0].result, Ok(()));
    assert_eq!(jobs[0].packet[..16], plain[..16]);
    assert_eq!(jobs[0].packet[16..40], section.octets("Ciphertext"));
    unprotect(&mut [Inbound::new(0xcafe_babe, keys, ReplayWindow::default(), 0)][..], &mut jobs);
    assert_eq!((jobs[0].result, &jobs[0].packet[..jobs[0].len]), (Ok(()), &plain[..]));
}

#[test]
fn vectors_of_rfc9335_a_cryptex() {
    let text = Section::read("rfc9335", "A").0;
    let mut packets = 0;
    for (part, suite) in text.split("\n## ").skip(1).zip([Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm]) {
        let mut cases = part.split("\n### ");
        let common = Section(cases.next().unwrap().to_owned());
        let material = [common.octets("Master Key"), common.octets("Master Salt")].concat();
        let master = MasterKey::from_concatenated(suite, &material).unwrap();
        let options = KeyOptions { cryptex: Cryptex::On, ..KeyOptions::default() };
        let keys = Arc::new(SessionKeys::derive_with(KeyId(1), &master, &options).unwrap());
        for case in cases {
            let (title, _) = case.split_once('\n').unwrap();
            let case = Section(case.to_owned());
            let [plain, encrypted] = ["RTP Packet", "Encrypted RTP Packet"].map(|label| case.octets(label));
            let mut buffer = [&plain[..], &[0; MAX_OVERHEAD]].concat();
            let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, plain.len())];
            protect(&mut [Outbound::new(0xcafe_babe, keys.clone(), 0)][..], &mut jobs);
            assert_eq!((jobs[0].result, &jobs[0].packet[..jobs[0].len]), (Ok(()), &encrypted[..]), "{title}");
            let mut receiver = [Inbound::new(0xcafe_babe, keys.clone(), ReplayWindow::default(), 0)];
            unprotect(&mut receiver[..], &mut jobs);
            assert_eq!((jobs[0].result, &jobs[0].packet[..jobs[0].len]), (Ok(()), &plain[..]), "{title}");
            packets += 1;
        }
    }
    assert_eq!(packets, 12);
}
