//! The double transform (RFC 8723): against libsrtp's AES-GCM applied twice, and through a media distributor.

mod support;

use std::sync::Arc;

use sluice_srtp::perc::{Changes, MAX_OHB_GROWTH, relay};
use sluice_srtp::{
    Cryptex, Error, Inbound, KeyError, KeyId, KeyOptions, Kind, MasterKey, Mki, Omit, Outbound, ReplayWindow,
    SessionKeys, SessionMaterial, Suite,
};
use support::libsrtp::{Session, Setup};
use support::{Random, receive, send};

const SSRC: u32 = 0xcafe_babe;
const SUITES: [Suite; 2] = [Suite::DoubleAeadAes128Gcm, Suite::DoubleAeadAes256Gcm];

fn master(suite: Suite, seed: u64) -> MasterKey {
    MasterKey::from_concatenated(suite, &Random(seed).bytes(suite.key_len() + suite.salt_len())).unwrap()
}

/// A key with another outer half: what two endpoints with one media distributor between them have.
fn other_hop(suite: Suite, seed: u64, hop: u64) -> MasterKey {
    let half = suite.half().unwrap();
    let material = Random(seed).bytes(suite.key_len() + suite.salt_len());
    let (mut key, mut salt) = material.split_at(suite.key_len());
    let (inner_key, inner_salt);
    (inner_key, key) = key.split_at(half.key_len());
    (inner_salt, salt) = salt.split_at(half.salt_len());
    let mut random = Random(hop);
    let key = [inner_key, &random.bytes(key.len())].concat();
    MasterKey::new(suite, &key, &[inner_salt, &random.bytes(salt.len())].concat()).unwrap()
}

fn derive(master: &MasterKey, options: &KeyOptions) -> Arc<SessionKeys> {
    Arc::new(SessionKeys::derive_with(KeyId(1), master, options).unwrap())
}

fn outbound(master: &MasterKey) -> Outbound {
    Outbound::new(SSRC, derive(master, &KeyOptions::default()), 0)
}

fn inbound(master: &MasterKey) -> Inbound {
    Inbound::new(SSRC, derive(master, &KeyOptions::default()), ReplayWindow::default(), 0)
}

/// RFC 8723 §5.1, step by step, with libsrtp for both algorithms.
#[test]
fn rfc8723_5_1_a_packet_is_libsrtps_gcm_applied_twice() {
    for suite in SUITES {
        let half = suite.half().unwrap();
        let material = Random(4).bytes(suite.key_len() + suite.salt_len());
        let (key, salt) = material.split_at(suite.key_len());
        let (key, salt) = (key.split_at(half.key_len()), salt.split_at(half.salt_len()));
        let session = |key: &[u8], salt: &[u8]| {
            let material = [key, salt].concat();
            Session::new(&Setup {
                suite: half,
                material: &material,
                mki: b"",
                omit: Omit::default(),
                ssrc: SSRC,
                encrypted_extensions: &[],
            })
        };
        let (mut inner, mut outer) = (session(key.0, salt.0), session(key.1, salt.1));
        let mut ours = outbound(&master(suite, 4));
        let mut receiver = inbound(&master(suite, 4));
        let mut random = Random(5);
        for i in 0..2000_u32 {
            let plain = random.rtp(SSRC, (i * 40) as u16, 300);
            let csrcs = 12 + 4 * usize::from(plain[0] & 15);
            let header = if plain[0] & 0x10 == 0 {
                csrcs
            } else {
                csrcs + 4 + 4 * usize::from(u16::from_be_bytes([plain[csrcs + 2], plain[csrcs + 3]]))
            };
            let mut synthetic = [&plain[..csrcs], &plain[header..]].concat();
            synthetic[0] &= !0x10;
            let protected = inner.protect(Kind::Rtp, &synthetic).unwrap();
            let twice = [&plain[..header], &protected[csrcs..], &[0]].concat();
            let expected = outer.protect(Kind::Rtp, &twice).unwrap();
            assert_eq!(expected.len(), plain.len() + suite.rtp_overhead());
            assert_eq!(send(&mut ours, Kind::Rtp, &plain).unwrap(), expected, "{suite} {i}");
            assert_eq!(receive(&mut receiver, Kind::Rtp, &expected).unwrap(), plain, "{suite} {i}");
            if i % 10 == 0 {
                // RTCP has the outer transform only (§6).
                let report = random.rtcp(SSRC);
                let expected = outer.protect(Kind::Rtcp, &report).unwrap();
                assert_eq!(receive(&mut receiver, Kind::Rtcp, &expected), Ok(report));
            }
        }
        assert_eq!(receiver.position().roc(), 1);
    }
}

/// What a media distributor does: unprotect, change, protect under the next hop's key.
struct Distributor {
    from: Inbound,
    to: Outbound,
}

impl Distributor {
    fn new(from: &MasterKey, to: &MasterKey) -> Self {
        let (from, to) = (from.outer().unwrap(), to.outer().unwrap());
        Self { from: inbound(&from), to: outbound(&to) }
    }

    fn forward(&mut self, packet: &[u8], changes: Changes) -> Vec<u8> {
        let mut buffer = receive(&mut self.from, Kind::Rtp, packet).unwrap();
        let len = buffer.len();
        buffer.resize(len + MAX_OHB_GROWTH, 0);
        let len = relay(&mut buffer, len, &changes).unwrap();
        send(&mut self.to, Kind::Rtp, &buffer[..len]).unwrap()
    }
}

#[test]
fn rfc8723_5_2_changed_headers_are_restored_from_the_original_header_block() {
    for suite in SUITES {
        let (first, second, third) = (master(suite, 1), other_hop(suite, 1, 2), other_hop(suite, 1, 3));
        let mut alice = outbound(&first);
        let (mut near, mut far) = (Distributor::new(&first, &second), Distributor::new(&second, &third));
        let mut bob = inbound(&third);
        let mut random = Random(8);
        for i in 0..400_u16 {
            let plain = random.rtp(SSRC, i, 100);
            let sent = send(&mut alice, Kind::Rtp, &plain).unwrap();
            let change = |random: &mut Random, sequence| Changes {
                payload_type: random.one_in(2).then(|| random.below(128) as u8),
                sequence: random.one_in(2).then_some(sequence),
                marker: random.one_in(2).then(|| random.one_in(2)),
            };
            // A distributor numbers the packets of a stream anew, all or none: here it shifts them.
            let one = Changes { sequence: Some(i + 1000), ..change(&mut random, 0) };
            let two =
                Changes { sequence: Some(if i % 2 == 0 { i + 1000 } else { i }), ..change(&mut random, 0) };
            let over = near.forward(&sent, one);
            let mut expected_type = one.payload_type.unwrap_or(plain[1] & 0x7f);
            expected_type = two.payload_type.unwrap_or(expected_type);
            let read = if i % 2 == 0 {
                let over = far.forward(&over, two);
                receive(&mut bob, Kind::Rtp, &over).unwrap()
            } else {
                continue;
            };
            // Payload type and sequence number are the outer packet's, the marker bit the endpoint's (§5.3).
            assert_eq!(read[1] & 0x7f, expected_type, "{suite} {i}");
            assert_eq!(read[1] & 0x80, plain[1] & 0x80, "{suite} {i}");
            assert_eq!(read[2..4], (i + 1000).to_be_bytes(), "{suite} {i}");
            assert_eq!((&read[..1], &read[4..]), (&plain[..1], &plain[4..]), "{suite} {i}");
        }
    }
}

#[test]
fn a_field_that_is_again_as_it_was_leaves_the_block() {
    let suite = SUITES[0];
    let first = master(suite, 1);
    let mut alice = outbound(&first);
    let mut distributor = inbound(&first.outer().unwrap());
    let plain = Random(3).rtp(SSRC, 77, 40);
    let sent = send(&mut alice, Kind::Rtp, &plain).unwrap();
    let untouched = receive(&mut distributor, Kind::Rtp, &sent).unwrap();
    let mut packet = untouched.clone();
    packet.resize(untouched.len() + MAX_OHB_GROWTH, 0);
    let (old_type, old_marker) = (plain[1] & 0x7f, plain[1] & 0x80 != 0);
    let all = Changes { payload_type: Some(old_type ^ 1), sequence: Some(78), marker: Some(!old_marker) };
    let len = relay(&mut packet, untouched.len(), &all).unwrap();
    assert_eq!(len, untouched.len() + 3);
    let config = 0b111 | if old_marker { 8 } else { 0 };
    assert_eq!(packet[len - 4..len], [old_type, 0, 77, config]);
    // A second change of the same fields keeps the first values.
    let again = Changes { sequence: Some(99), ..Changes::default() };
    let len = relay(&mut packet, len, &again).unwrap();
    assert_eq!(packet[len - 4..len], [old_type, 0, 77, config]);
    let back = Changes { payload_type: Some(old_type), sequence: Some(77), marker: Some(old_marker) };
    let len = relay(&mut packet, len, &back).unwrap();
    assert_eq!(packet[..len], untouched);
}

#[test]
fn a_distributor_cannot_change_anything_else() {
    for suite in SUITES {
        let (first, second) = (master(suite, 1), other_hop(suite, 1, 2));
        let mut plain = Random(2).rtp(SSRC, 5, 0);
        plain.truncate(12);
        plain[0] = 0x80;
        plain.extend([0x55; 60]);
        let sent = send(&mut outbound(&first), Kind::Rtp, &plain).unwrap();
        let inside = receive(&mut inbound(&first.outer().unwrap()), Kind::Rtp, &sent).unwrap();
        let hop = second.outer().unwrap();
        for at in (0..inside.len() - 1).filter(|at| !(1..4).contains(at) && !(8..12).contains(at)) {
            let mut forged = inside.clone();
            // Of the first octet the padding bit: the rest would be another layout.
            forged[at] ^= 0x20;
            let over = send(&mut outbound(&hop), Kind::Rtp, &forged).unwrap();
            let refused = receive(&mut inbound(&second), Kind::Rtp, &over);
            assert_eq!(refused, Err(Error::AuthFailed), "{suite} octet {at}");
        }
        // Changes that the block does not tell of.
        for at in 1..4 {
            let mut forged = inside.clone();
            forged[at] ^= 1;
            let over = send(&mut outbound(&hop), Kind::Rtp, &forged).unwrap();
            assert_eq!(receive(&mut inbound(&second), Kind::Rtp, &over), Err(Error::AuthFailed));
        }
        // A packet sent twice under new outer sequence numbers.
        let (mut to, mut bob) = (outbound(&hop), inbound(&second));
        for (sequence, expected) in [(6, None), (7, Some(Error::Replayed))] {
            let mut packet = inside.clone();
            packet.resize(inside.len() + MAX_OHB_GROWTH, 0);
            let changes = Changes { sequence: Some(sequence), ..Changes::default() };
            let len = relay(&mut packet, inside.len(), &changes).unwrap();
            let over = send(&mut to, Kind::Rtp, &packet[..len]).unwrap();
            assert_eq!(receive(&mut bob, Kind::Rtp, &over).err(), expected);
        }
    }
}

#[test]
fn repair_data_has_the_outer_transform_only() {
    for suite in SUITES {
        let key = master(suite, 6);
        let plain = Random(2).rtp(SSRC, 5, 200);
        let sent = send(&mut outbound(&key).repairing(), Kind::Rtp, &plain).unwrap();
        assert_eq!(sent, send(&mut outbound(&key.outer().unwrap()), Kind::Rtp, &plain).unwrap());
        assert_eq!(receive(&mut inbound(&key).repairing(), Kind::Rtp, &sent), Ok(plain));
        assert!(receive(&mut inbound(&key), Kind::Rtp, &sent).is_err());
    }
}

#[test]
fn cryptex_and_mki_go_hop_by_hop() {
    for suite in SUITES {
        let key = master(suite, 6);
        let options =
            KeyOptions { cryptex: Cryptex::On, mki: Mki::new(b"m").unwrap(), ..KeyOptions::default() };
        let keys = derive(&key, &options);
        let mut sender = Outbound::new(SSRC, keys.clone(), 0);
        let mut receiver = Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 0);
        for sequence in 0..50 {
            let plain = Random(u64::from(sequence) + 9).rtp_with_elements(SSRC, sequence);
            let sent = send(&mut sender, Kind::Rtp, &plain).unwrap();
            assert_eq!(receive(&mut receiver, Kind::Rtp, &sent), Ok(plain), "{suite}");
        }
        // An inner half that is wrong: what was decrypted by the outer one goes back as it came.
        let half = suite.half().unwrap();
        let outer = key.outer().unwrap();
        let plain = Random(3).rtp_with_elements(SSRC, 60);
        let hop = Arc::new(SessionKeys::derive_with(KeyId(2), &outer, &options).unwrap());
        let text = [&plain[..], &[7; 30]].concat();
        let sent = send(&mut Outbound::new(SSRC, hop, 0), Kind::Rtp, &text).unwrap();
        assert_eq!(receive(&mut receiver, Kind::Rtp, &sent), Err(Error::AuthFailed), "{half}");
    }
}

#[test]
fn session_keys_of_a_double_suite_come_from_a_master_key() {
    let suite = SUITES[0];
    let refused = SessionMaterial::new(suite, &[0; 32], &[0; 24], [0; 20]).map(drop);
    assert_eq!(refused, Err(KeyError::Double { suite }));
    assert_eq!(master(suite, 1).inner().unwrap().suite(), Suite::AeadAes128Gcm);
    assert!(master(Suite::AeadAes128Gcm, 1).outer().is_none());
}

#[test]
fn packets_without_tag_or_block_are_refused_and_left_alone() {
    let mut short = vec![0x80, 0, 0, 1, 0, 0, 0, 0, 0xca, 0xfe, 0xba, 0xbe];
    assert_eq!(relay(&mut short.clone(), 12, &Changes::default()), Err(Error::TooShort));
    short.extend([0; 16]);
    assert_eq!(relay(&mut short.clone(), 28, &Changes::default()), Err(Error::TooShort));
    short.push(0);
    assert_eq!(relay(&mut short.clone(), 29, &Changes::default()), Ok(29));
    let before = short.clone();
    let changes = Changes { sequence: Some(9), ..Changes::default() };
    assert_eq!(relay(&mut short, 29, &changes), Err(Error::NoTailroom));
    assert_eq!(short, before);
    // A block that claims more than there is.
    short[28] = 0b11;
    assert_eq!(relay(&mut short, 29, &changes), Err(Error::TooShort));
}
