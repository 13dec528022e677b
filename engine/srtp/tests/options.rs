//! Session parameters: what is left out of protection, and the key derivation rate.

mod support;

use std::sync::Arc;

use sluice_srtp::kdf::{Label, Prf};
use sluice_srtp::{
    DerivationRate, Error, Inbound, Indices, KeyError, KeyId, KeyOptions, Kind, MasterKey, Omit, Outbound,
    Position, ReplayWindow, SessionKeys, SessionMaterial, Suite,
};
use support::{Random, receive, send};

const SSRC: u32 = 0xcafe_babe;

fn material(suite: Suite) -> Vec<u8> {
    Random(7).bytes(suite.key_len() + suite.salt_len())
}

fn derive(suite: Suite, options: &KeyOptions) -> Result<Arc<SessionKeys>, KeyError> {
    let master = MasterKey::from_concatenated(suite, &material(suite))?;
    SessionKeys::derive_with(KeyId(1), &master, options).map(Arc::new)
}

/// The session keys of one interval, derived by hand: what RFC 3711 §4.3.1 says, label by label.
fn by_hand(suite: Suite, r: u64) -> Arc<SessionKeys> {
    let material = material(suite);
    let (key, salt) = material.split_at(suite.key_len());
    let mut padded = [0; 14];
    padded[..salt.len()].copy_from_slice(salt);
    let prf = Prf::of(suite, key, &padded).unwrap();
    let material = |encryption, authentication, salting| {
        let (mut key, mut salt, mut auth) = (vec![0; suite.key_len()], vec![0; suite.salt_len()], [0; 20]);
        prf.derive(encryption, r, &mut key);
        prf.derive(salting, r, &mut salt);
        prf.derive(authentication, r, &mut auth);
        SessionMaterial::new(suite, &key, &salt, auth).unwrap()
    };
    let rtp = material(Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt);
    let rtcp = material(Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt);
    let options = KeyOptions::default();
    Arc::new(SessionKeys::expand(KeyId(1), suite, [&rtp, &rtcp], &options).unwrap())
}

#[test]
fn session_keys_change_with_the_index_at_the_derivation_rate() {
    // Session keys of double suites cannot be put in by hand.
    for suite in Suite::ALL.into_iter().filter(|suite| suite.half().is_none()) {
        for packets in [1_u64, 16, 1 << 24] {
            let derivation_rate = DerivationRate::new(packets).unwrap();
            let options = KeyOptions { derivation_rate, ..KeyOptions::default() };
            let keys = derive(suite, &options).unwrap();
            let mut random = Random(packets);
            // Around a change of keys, and late in a stream's life.
            for around in [packets, 3 * packets, 1 << 30] {
                let before = around.saturating_sub(2);
                let position = Position { rtp: Some(before), rtcp: Some(before) };
                let mut sender = Outbound::resume(SSRC, keys.clone(), position, 0);
                let mut receiver =
                    Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), ((before + 1) >> 16) as u32);
                for index in before + 1..before + 5 {
                    let r = index / packets;
                    let previous = Position { rtp: Some(index - 1), rtcp: Some(index - 1) };
                    let mut expected = Outbound::resume(SSRC, by_hand(suite, r), previous, 0);
                    for (kind, plain) in
                        [(Kind::Rtp, random.rtp(SSRC, index as u16, 300)), (Kind::Rtcp, random.rtcp(SSRC))]
                    {
                        let packet = send(&mut sender, kind, &plain).unwrap();
                        assert_eq!(packet, send(&mut expected, kind, &plain).unwrap(), "{suite} {index}");
                        assert_eq!(receive(&mut receiver, kind, &packet).unwrap(), plain, "{suite} {index}");
                    }
                }
            }
        }
    }
}

#[test]
fn packets_of_the_interval_before_are_still_read() {
    let derivation_rate = DerivationRate::new(8).unwrap();
    let keys =
        derive(Suite::AesCm128HmacSha1_80, &KeyOptions { derivation_rate, ..KeyOptions::default() }).unwrap();
    let mut sender = Outbound::new(SSRC, keys.clone(), 0);
    let mut receiver = Inbound::new(SSRC, keys, ReplayWindow::default(), 0);
    let plain: Vec<_> = (0..40).map(|sequence| Random(1).rtp(SSRC, sequence, 50)).collect();
    let packets: Vec<_> = plain.iter().map(|plain| send(&mut sender, Kind::Rtp, plain).unwrap()).collect();
    for number in (0..40).rev() {
        assert_eq!(receive(&mut receiver, Kind::Rtp, &packets[number]).as_ref(), Ok(&plain[number]));
    }
}

#[test]
fn derivation_rates_are_powers_of_two_up_to_2_to_the_24() {
    for packets in [0, 1, 2, 1 << 12, 1 << 24] {
        assert_eq!(DerivationRate::new(packets).unwrap().packets(), packets);
    }
    for got in [3, 1000, 1 << 25, u64::MAX] {
        assert_eq!(DerivationRate::new(got), Err(KeyError::DerivationRate { got }));
    }
}

#[test]
fn what_is_left_out_is_left_out_and_nothing_else() {
    let mut random = Random(3);
    for suite in Suite::ALL {
        for (rtp_encryption, rtp_authentication) in [(true, false), (false, true), (true, true)] {
            let omit = Omit { rtp_encryption, rtp_authentication, ..Omit::default() };
            let keys = derive(suite, &KeyOptions { omit, ..KeyOptions::default() });
            if suite.is_aead() {
                let what = if rtp_encryption { "encryption" } else { "authentication" };
                let suite = suite.half().unwrap_or(suite);
                assert_eq!(keys.unwrap_err(), KeyError::Inseparable { suite, what });
                continue;
            }
            let keys = keys.unwrap();
            let mut sender = Outbound::new(SSRC, keys.clone(), 0);
            let mut receiver = Inbound::new(SSRC, keys, ReplayWindow::default(), 0);
            let mut plain = random.rtp(SSRC, 5, 0);
            let header = plain.len();
            plain.extend([0x55; 100]);
            let packet = send(&mut sender, Kind::Rtp, &plain).unwrap();
            let clear = rtp_encryption || !suite.encrypts();
            assert_eq!(packet[..plain.len()] == plain[..], clear, "{suite} {omit:?}");
            let tag = if rtp_authentication { 0 } else { suite.rtp_overhead() };
            assert_eq!(packet.len(), plain.len() + tag, "{suite} {omit:?}");
            let mut forged = packet.clone();
            forged[header] ^= 1;
            let verdict = receive(&mut receiver, Kind::Rtp, &forged);
            if rtp_authentication {
                assert!(verdict.is_ok_and(|read| read != plain), "{suite}");
                assert_eq!(receive(&mut receiver, Kind::Rtp, &packet), Err(Error::Replayed), "{suite}");
            } else {
                assert_eq!(verdict, Err(Error::AuthFailed), "{suite}");
                assert_eq!(receive(&mut receiver, Kind::Rtp, &packet), Ok(plain), "{suite}");
            }
            // RTCP keeps its protection.
            let report = random.rtcp(SSRC);
            let packet = send(&mut sender, Kind::Rtcp, &report).unwrap();
            assert_eq!(packet.len(), report.len() + suite.rtcp_overhead());
            assert_eq!(receive(&mut receiver, Kind::Rtcp, &packet), Ok(report));
        }
    }
}

/// RFC 3711 §8.1.1: of several keys the one whose ⟨From, To⟩ has the packet's index.
#[test]
fn each_key_is_for_its_indices_only() {
    let suite = Suite::AesCm128HmacSha1_80;
    let keys: Vec<_> = [(0, 9), (10, 19)]
        .into_iter()
        .enumerate()
        .map(|(id, (from, to))| {
            let master = MasterKey::from_concatenated(suite, &[id as u8; 30]).unwrap();
            let indices = Indices::new(from, to).unwrap();
            let options = KeyOptions { indices, ..KeyOptions::default() };
            Arc::new(SessionKeys::derive_with(KeyId(id as u64), &master, &options).unwrap())
        })
        .collect();
    let mut sender = Outbound::new(SSRC, keys[0].clone(), 0);
    let mut receiver = Inbound::new(SSRC, keys[0].clone(), ReplayWindow::default(), 0);
    receiver.install(keys[1].clone());
    assert_eq!(sender.remaining().0, 10);
    for sequence in 0..20 {
        let plain = Random(1).rtp(SSRC, sequence, 40);
        if sequence == 10 {
            assert_eq!(sender.remaining().0, 0);
            assert_eq!(send(&mut sender, Kind::Rtp, &plain), Err(Error::KeyExpired));
            sender.switch(keys[1].clone());
        }
        let sent = send(&mut sender, Kind::Rtp, &plain).unwrap();
        assert_eq!(receive(&mut receiver, Kind::Rtp, &sent), Ok(plain), "{sequence}");
    }
    // What the first key protects past its end is none of the receiver's.
    let everywhere = derive(suite, &KeyOptions::default()).unwrap();
    let sent =
        send(&mut Outbound::new(SSRC, everywhere, 0), Kind::Rtp, &Random(1).rtp(SSRC, 25, 40)).unwrap();
    assert_eq!(receive(&mut receiver, Kind::Rtp, &sent), Err(Error::KeyExpired));
    for (from, to) in [(2, 1), (0, 1 << 48)] {
        assert_eq!(Indices::new(from, to), Err(KeyError::Indices { from, to }));
    }
}

#[test]
fn who_joins_late_may_try_some_rollover_counters_on_the_first_packet() {
    for suite in Suite::ALL {
        let keys = derive(suite, &KeyOptions::default()).unwrap();
        let inbound =
            |trials| Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 2).trying_rocs(trials);
        let mut sender = Outbound::new(SSRC, keys.clone(), 5);
        let plain: Vec<_> = (0..3).map(|sequence| Random(1).rtp(SSRC, sequence, 40)).collect();
        let sent: Vec<_> = plain.iter().map(|plain| send(&mut sender, Kind::Rtp, plain).unwrap()).collect();
        for trials in 0..3 {
            let mut receiver = inbound(trials);
            assert_eq!(receive(&mut receiver, Kind::Rtp, &sent[0]), Err(Error::AuthFailed), "{suite}");
        }
        let mut receiver = inbound(3);
        let mut forged = sent[0].clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(receive(&mut receiver, Kind::Rtp, &forged), Err(Error::AuthFailed), "{suite}");
        for (sent, plain) in sent.iter().zip(&plain) {
            assert_eq!(receive(&mut receiver, Kind::Rtp, sent).as_ref(), Ok(plain), "{suite}");
        }
        assert_eq!(receiver.position().roc(), 5);
        // From then on there is one rollover counter.
        let ahead = send(&mut Outbound::new(SSRC, keys.clone(), 6), Kind::Rtp, &plain[2]).unwrap();
        assert!(receive(&mut receiver, Kind::Rtp, &ahead).is_err(), "{suite}");
    }
}

#[test]
fn rtcp_tags_may_be_as_short_as_those_of_rtp() {
    let (suite, rtcp) = (Suite::AesCm128HmacSha1_32, Random(3).rtcp(SSRC));
    let keys =
        |short_rtcp_tags| derive(suite, &KeyOptions { short_rtcp_tags, ..KeyOptions::default() }).unwrap();
    let inbound = |keys: &Arc<SessionKeys>| Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 0);
    let (usual, short) = (keys(false), keys(true));
    let [whole, cut] = [&usual, &short]
        .map(|keys| send(&mut Outbound::new(SSRC, keys.clone(), 0), Kind::Rtcp, &rtcp).unwrap());
    assert_eq!(cut, whole[..whole.len() - 6], "the same tag, of which less is sent");
    assert_eq!(receive(&mut inbound(&short), Kind::Rtcp, &cut), Ok(rtcp));
    assert!(receive(&mut inbound(&usual), Kind::Rtcp, &cut).is_err());
}

#[test]
fn a_sender_that_is_moved_ahead_keeps_its_key_and_never_goes_back() {
    let master = Suite::AesCm128HmacSha1_80;
    let keys = derive(master, &KeyOptions::default()).unwrap();
    let (mut sender, mut random) = (Outbound::new(SSRC, keys, 0), Random(5));
    send(&mut sender, Kind::Rtp, &random.rtp(SSRC, 9, 20)).unwrap();
    send(&mut sender, Kind::Rtcp, &random.rtcp(SSRC)).unwrap();
    let ahead = Position { rtp: Some(1 << 16 | 7), rtcp: Some(40) };
    for position in [ahead, Position { rtp: Some(3), rtcp: Some(3) }, Position::default()] {
        sender.advance(position);
        assert_eq!((sender.position(), sender.used()), (ahead, (1, 1)));
    }
    assert!(send(&mut sender, Kind::Rtp, &random.rtp(SSRC, 7, 20)).is_err(), "used elsewhere");
    send(&mut sender, Kind::Rtp, &random.rtp(SSRC, 8, 20)).unwrap();
    send(&mut sender, Kind::Rtcp, &random.rtcp(SSRC)).unwrap();
    assert_eq!(sender.position(), Position { rtp: Some(1 << 16 | 8), rtcp: Some(41) });
    // The last index there is leaves none to send under.
    sender.advance(Position { rtp: Some((1 << 48) - 1), rtcp: Some((1 << 31) - 1) });
    for (kind, packet) in [(Kind::Rtp, random.rtp(SSRC, 0, 20)), (Kind::Rtcp, random.rtcp(SSRC))] {
        assert!(send(&mut sender, kind, &packet).is_err(), "{kind:?}");
    }
}

#[test]
fn a_receiver_that_carries_on_elsewhere_takes_no_packet_twice() {
    let keys = derive(Suite::AeadAes128Gcm, &KeyOptions::default()).unwrap();
    let start = Position { rtp: Some((3 << 16) - 2), rtcp: Some(6) };
    let mut sender = Outbound::resume(SSRC, keys.clone(), start, 0);
    let mut random = Random(9);
    let mut first = Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 2);
    let mut sent = Vec::new();
    for sequence in [0xffff, 0, 1] {
        sent.push((Kind::Rtp, random.rtp(SSRC, sequence, 50)));
        sent.push((Kind::Rtcp, random.rtcp(SSRC)));
    }
    let sent: Vec<_> =
        sent.into_iter().map(|(kind, plain)| (kind, send(&mut sender, kind, &plain).unwrap())).collect();
    for (kind, packet) in &sent[..4] {
        receive(&mut first, *kind, packet).unwrap();
    }
    let mut second = Inbound::new(SSRC, keys, ReplayWindow::default(), 0);
    second.advance(first.position());
    second.advance(Position::default());
    assert_eq!(second.position(), first.position());
    for (kind, packet) in &sent[..4] {
        assert_eq!(receive(&mut second, *kind, packet), Err(Error::Replayed));
    }
    for (kind, packet) in &sent[4..] {
        receive(&mut second, *kind, packet).unwrap();
    }
}
