//! Encrypted RTP headers: what is hidden, what is refused, what stays as it was.

mod support;

use std::sync::Arc;

use sluice_kernels::{CtrJob, CtrKey, ctr};
use sluice_srtp::kdf::{Label, Prf};
use sluice_srtp::{
    Cryptex, DerivationRate, Error, ExtensionIds, Inbound, KeyError, KeyId, KeyOptions, Kind, Outbound,
    ReplayWindow, SessionKeys, SessionMaterial, Suite, selected_kernel,
};
use support::{Random, derive, receive, send};

const SSRC: u32 = 0xcafe_babe;

fn pair(keys: &Arc<SessionKeys>) -> (Outbound, Inbound) {
    (Outbound::new(SSRC, keys.clone(), 0), Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 0))
}

fn keys(suite: Suite, options: &KeyOptions) -> Arc<SessionKeys> {
    derive(suite, &Random(5).bytes(suite.key_len() + suite.salt_len()), options)
}

/// CSRCs of 0x11, an extension of 0x22 under a profile, a payload of 0x33.
fn packet(csrcs: u8, profile: Option<[u8; 2]>) -> Vec<u8> {
    let mut packet = vec![0x80 | csrcs, 96, 0, 9, 0, 0, 0, 1];
    packet.extend(SSRC.to_be_bytes());
    packet.extend(vec![0x11; 4 * usize::from(csrcs)]);
    if let Some(profile) = profile {
        packet[0] |= 0x10;
        packet.extend(profile);
        packet.extend([0, 2]);
        packet.extend([0x22; 8]);
    }
    packet.extend([0x33; 50]);
    packet
}

#[test]
fn cryptex_hides_csrcs_and_extensions_of_every_suite() {
    for suite in Suite::ALL.into_iter().filter(|suite| suite.encrypts()) {
        for cryptex in [Cryptex::On, Cryptex::Required] {
            let keys = keys(suite, &KeyOptions { cryptex, ..KeyOptions::default() });
            for csrcs in [0, 1, 15] {
                for profile in [Some([0xbe, 0xde]), Some([0x10, 0]), None] {
                    let plain = packet(csrcs, profile);
                    let (mut sender, mut receiver) = pair(&keys);
                    let sent = send(&mut sender, Kind::Rtp, &plain).unwrap();
                    for value in [0x11, 0x22, 0x33] {
                        assert!(
                            !sent[12..].windows(4).any(|w| w == [value; 4]),
                            "{suite} {csrcs} {profile:?}"
                        );
                    }
                    let read = receive(&mut receiver, Kind::Rtp, &sent).unwrap();
                    if csrcs > 0 && profile.is_none() {
                        // The empty extension that told the receiver stays (RFC 9335 §5.2).
                        let at = 12 + 4 * usize::from(csrcs);
                        assert_eq!((read[0], &read[at..at + 4]), (plain[0] | 0x10, &[0xbe, 0xde, 0, 0][..]));
                        assert_eq!((&read[1..at], &read[at + 4..]), (&plain[1..at], &plain[at..]));
                    } else {
                        assert_eq!(read, plain, "{suite} {csrcs} {profile:?}");
                    }
                    for at in 0..sent.len() {
                        let mut forged = sent.clone();
                        forged[at] ^= 4;
                        assert!(
                            receive(&mut pair(&keys).1, Kind::Rtp, &forged).is_err(),
                            "{suite} octet {at}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn headers_in_the_clear_are_read_unless_cryptex_is_required() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes256Gcm, Suite::AeadAria128Gcm] {
        let [off, on, required] = [Cryptex::Off, Cryptex::On, Cryptex::Required]
            .map(|cryptex| keys(suite, &KeyOptions { cryptex, ..KeyOptions::default() }));
        for (csrcs, profile) in [(1, None), (0, Some([0xbe, 0xde])), (0, Some([0xaa, 0xaa]))] {
            let plain = packet(csrcs, profile);
            let sent = send(&mut pair(&off).0, Kind::Rtp, &plain).unwrap();
            assert_eq!(receive(&mut pair(&on).1, Kind::Rtp, &sent), Ok(plain));
            assert_eq!(receive(&mut pair(&required).1, Kind::Rtp, &sent), Err(Error::NotEncrypted));
        }
        // Nothing in the header to hide.
        let plain = packet(0, None);
        let sent = send(&mut pair(&off).0, Kind::Rtp, &plain).unwrap();
        assert_eq!(receive(&mut pair(&required).1, Kind::Rtp, &sent), Ok(plain));
        // An extension that is not of RFC 8285 is sent as it is (RFC 9335 §5.1).
        let plain = packet(2, Some([0xaa, 0xaa]));
        let sent = send(&mut pair(&on).0, Kind::Rtp, &plain).unwrap();
        assert_eq!(sent[..32], plain[..32]);
        assert_eq!(receive(&mut pair(&on).1, Kind::Rtp, &sent), Ok(plain));
    }
}

#[test]
fn an_extension_that_nobody_could_read_aright_is_not_sent() {
    for (cryptex, sent) in [(Cryptex::On, true), (Cryptex::Required, false)] {
        let keys = keys(Suite::AesCm256HmacSha1_80, &KeyOptions { cryptex, ..KeyOptions::default() });
        let other = packet(2, Some([0xff, 0xff]));
        let (mut sender, mut receiver) = pair(&keys);
        match send(&mut sender, Kind::Rtp, &other) {
            Ok(clear) => assert!(sent && receive(&mut receiver, Kind::Rtp, &clear) == Ok(other)),
            Err(error) => assert!(!sent && error == Error::ExtensionProfile),
        }
    }
    for profile in [[0xc0, 0xde], [0xc2, 0xde]] {
        let marked = packet(1, Some(profile));
        for cryptex in [Cryptex::On, Cryptex::Required] {
            let keys = keys(Suite::AeadAes128Gcm, &KeyOptions { cryptex, ..KeyOptions::default() });
            let (mut sender, _) = pair(&keys);
            assert_eq!(send(&mut sender, Kind::Rtp, &marked), Err(Error::ExtensionProfile));
        }
        let off = keys(Suite::AeadAes128Gcm, &KeyOptions::default());
        let sent = send(&mut pair(&off).0, Kind::Rtp, &marked).unwrap();
        assert_eq!(receive(&mut pair(&off).1, Kind::Rtp, &sent), Ok(marked));
    }
}

#[test]
fn cryptex_and_single_elements_are_never_in_one_packet() {
    let suite = Suite::AesCm128HmacSha1_80;
    let encrypted_extensions: ExtensionIds = [2].into_iter().collect();
    let both =
        keys(suite, &KeyOptions { cryptex: Cryptex::On, encrypted_extensions, ..KeyOptions::default() });
    let elements = keys(suite, &KeyOptions { encrypted_extensions, ..KeyOptions::default() });
    let cryptex = keys(suite, &KeyOptions { cryptex: Cryptex::On, ..KeyOptions::default() });
    let mut plain = packet(1, Some([0xbe, 0xde]));
    plain[20..28].copy_from_slice(&[0x21, 7, 7, 0, 0x10, 9, 0, 0]);
    let sent = send(&mut pair(&both).0, Kind::Rtp, &plain).unwrap();
    assert_eq!(sent, send(&mut pair(&cryptex).0, Kind::Rtp, &plain).unwrap());
    assert_eq!(receive(&mut pair(&both).1, Kind::Rtp, &sent).as_ref(), Ok(&plain));
    // What comes without cryptex's mark may have single elements encrypted.
    let sent = send(&mut pair(&elements).0, Kind::Rtp, &plain).unwrap();
    assert_ne!(sent[20..28], plain[20..28]);
    assert_eq!(receive(&mut pair(&both).1, Kind::Rtp, &sent), Ok(plain));
}

#[test]
fn only_the_chosen_elements_are_encrypted() {
    for suite in Suite::ALL {
        let options = KeyOptions {
            encrypted_extensions: [3, 9].into_iter().collect(),
            derivation_rate: DerivationRate::new(4).unwrap(),
            ..KeyOptions::default()
        };
        let (mut sender, mut receiver) = pair(&keys(suite, &options));
        for sequence in 0..20 {
            let mut plain = packet(0, Some([0x10, 0]));
            plain[2..4].copy_from_slice(&u16::to_be_bytes(sequence));
            plain[16..24].copy_from_slice(&[3, 2, 0x44, 0x44, 5, 2, 0x55, 0x55]);
            let sent = send(&mut sender, Kind::Rtp, &plain).unwrap();
            let changed = suite.encrypts();
            assert_eq!((&sent[..18], &sent[20..24]), (&plain[..18], &plain[20..24]), "{suite}");
            // Two octets of a key stream may be zero by chance, but not of these keys.
            assert_eq!(sent[18..20] != plain[18..20], changed, "{suite} {sequence}");
            assert_eq!(receive(&mut receiver, Kind::Rtp, &sent), Ok(plain), "{suite}");
        }
    }
}

/// RFC 6904 §3: mask and key stream begin with the first element's header, and padding counts.
#[test]
fn the_key_stream_covers_padding_between_elements() {
    let suite = Suite::AesCm256HmacSha1_80;
    let material = Random(5).bytes(46);
    let prf = Prf::new(&material[..32], material[32..].try_into().unwrap()).unwrap();
    let (mut key, mut counter) = ([0; 32], [0; 16]);
    prf.derive(Label::RtpHeaderEncryption, 0, &mut key);
    prf.derive(Label::RtpHeaderSalt, 0, &mut counter[..14]);
    let counter = u128::from_be_bytes(counter) ^ u128::from(SSRC) << 64 ^ 9 << 16;
    let kernel = selected_kernel().unwrap();
    let mut stream = [0; 8];
    let key = CtrKey::new(kernel, &key).unwrap();
    ctr(kernel, &mut [CtrJob { key: &key, iv: counter.to_be_bytes(), data: &mut stream }]);

    let mut plain = packet(0, Some([0xbe, 0xde]));
    plain[16..24].copy_from_slice(&[0x10, 0xaa, 0, 0, 0x21, 0xbb, 0xcc, 0]);
    let options = KeyOptions { encrypted_extensions: [1, 2].into_iter().collect(), ..KeyOptions::default() };
    let sent = send(&mut pair(&keys(suite, &options)).0, Kind::Rtp, &plain).unwrap();
    let mut expected: [u8; 8] = plain[16..24].try_into().unwrap();
    for at in [1, 5, 6] {
        expected[at] ^= stream[at];
    }
    assert_eq!(sent[16..24], expected);
}

#[test]
fn elements_that_run_past_the_extension_are_refused_and_cost_no_index() {
    let options = KeyOptions { encrypted_extensions: [3].into_iter().collect(), ..KeyOptions::default() };
    let keys = keys(Suite::AesCm128HmacSha1_80, &options);
    let (mut sender, _) = pair(&keys);
    for (profile, body) in
        [([0xbe, 0xde], [0x3f, 1, 1, 1, 1, 1, 1, 1]), ([0x10, 0], [3, 7, 1, 1, 1, 1, 1, 1])]
    {
        let mut bad = packet(0, Some(profile));
        bad[16..24].copy_from_slice(&body);
        assert_eq!(send(&mut sender, Kind::Rtp, &bad), Err(Error::ExtensionLength));
    }
    assert!(send(&mut sender, Kind::Rtp, &packet(0, None)).is_ok());
}

#[test]
fn what_cannot_be_is_refused_with_the_keys() {
    let suite = Suite::NullHmacSha1_80;
    let master = sluice_srtp::MasterKey::from_concatenated(suite, &[1; 30]).unwrap();
    let options = KeyOptions { cryptex: Cryptex::On, ..KeyOptions::default() };
    let refused = SessionKeys::derive_with(KeyId(1), &master, &options);
    assert_eq!(refused.unwrap_err(), KeyError::Cryptex { suite });
    let suite = Suite::AeadAes128Gcm;
    let material = SessionMaterial::new(suite, &[1; 16], &[2; 12], [0; 20]).unwrap();
    let options = KeyOptions { encrypted_extensions: [1].into_iter().collect(), ..KeyOptions::default() };
    let refused = SessionKeys::expand(KeyId(1), suite, [&material; 2], &options);
    assert_eq!(refused.unwrap_err(), KeyError::NoHeaderKeys);
}
