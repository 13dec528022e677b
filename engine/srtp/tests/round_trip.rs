//! Protect on one side, unprotect on the other: every suite, both kinds, batches, keys that change.

use std::sync::Arc;

use sluice_srtp::{
    Error, Inbound, Job, KeyId, KeyOptions, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Omit, Outbound,
    Position, ReplayWindow, SessionKeys, Suite, protect, unprotect,
};

const SSRC: u32 = 0xcafe_babe;

fn keys(suite: Suite, id: u64, mki: &[u8]) -> Arc<SessionKeys> {
    let material: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|i| i as u8 ^ id as u8).collect();
    let master = MasterKey::from_concatenated(suite, &material).unwrap();
    Arc::new(SessionKeys::derive(KeyId(id), &master, Mki::new(mki).unwrap(), Lifetime::MAX).unwrap())
}

fn rtp(sequence: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x91, 0x60];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 1, 0]);
    packet.extend(SSRC.to_be_bytes());
    packet.extend([1, 2, 3, 4]);
    packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
    packet.extend((0..payload).map(|i| i as u8));
    packet
}

fn rtcp() -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(SSRC.to_be_bytes());
    packet.extend([7; 20]);
    packet
}

fn send(context: &mut Outbound, kind: Kind, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + MAX_OVERHEAD, 0);
    let mut jobs = [Job::new(0, kind, &mut buffer, plain.len())];
    protect(std::slice::from_mut(context), &mut jobs);
    let (result, len) = (jobs[0].result, jobs[0].len);
    result.map(|()| buffer[..len].to_vec())
}

fn receive(context: &mut Inbound, kind: Kind, packet: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = packet.to_vec();
    let mut jobs = [Job::new(0, kind, &mut buffer, packet.len())];
    unprotect(std::slice::from_mut(context), &mut jobs);
    let (result, len) = (jobs[0].result, jobs[0].len);
    if result.is_err() {
        assert_eq!(buffer, packet, "a refused packet is left as it was");
    }
    result.map(|()| buffer[..len].to_vec())
}

fn pair(keys: &Arc<SessionKeys>) -> (Outbound, Inbound) {
    (Outbound::new(SSRC, keys.clone(), 0), Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 0))
}

#[test]
fn what_is_protected_comes_back_and_is_not_readable_on_the_way() {
    for suite in Suite::ALL {
        for mki in [&b""[..], b"k", &[9; 128]] {
            let (mut out, mut into) = pair(&keys(suite, 1, mki));
            for size in [0, 1, 15, 16, 17, 160, 1200, 8000] {
                let plain = rtp(size as u16, size);
                let packet = send(&mut out, Kind::Rtp, &plain).unwrap();
                assert_eq!(packet.len(), plain.len() + suite.rtp_overhead() + mki.len());
                assert_eq!(packet[..24], plain[..24], "the header is in the clear");
                let hidden = packet[24..24 + size] != plain[24..];
                assert!(size < 15 || hidden == suite.encrypts(), "{suite}");
                assert_eq!(receive(&mut into, Kind::Rtp, &packet).unwrap(), plain);
            }
            let plain = rtcp();
            let packet = send(&mut out, Kind::Rtcp, &plain).unwrap();
            assert_eq!(packet.len(), plain.len() + suite.rtcp_overhead() + mki.len());
            assert_eq!(receive(&mut into, Kind::Rtcp, &packet).unwrap(), plain);
        }
    }
}

#[test]
fn no_single_changed_bit_is_accepted() {
    for suite in Suite::ALL {
        for (kind, plain) in [(Kind::Rtp, rtp(1, 20)), (Kind::Rtcp, rtcp())] {
            let (mut out, mut into) = pair(&keys(suite, 1, b"mk"));
            let packet = send(&mut out, kind, &plain).unwrap();
            for bit in 0..packet.len() * 8 {
                let mut forged = packet.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(receive(&mut into, kind, &forged).is_err(), "{suite} {kind:?} bit {bit}");
            }
            assert!(!into.authenticated());
            assert_eq!(receive(&mut into, kind, &packet).unwrap(), plain);
        }
    }
}

#[test]
fn truncated_packets_are_refused_at_every_length() {
    for suite in Suite::ALL {
        for (kind, plain) in [(Kind::Rtp, rtp(1, 20)), (Kind::Rtcp, rtcp())] {
            let (mut out, mut into) = pair(&keys(suite, 1, b""));
            let packet = send(&mut out, kind, &plain).unwrap();
            for len in 0..packet.len() {
                assert!(receive(&mut into, kind, &packet[..len]).is_err(), "{suite} {kind:?} {len}");
            }
        }
    }
}

#[test]
fn a_replay_is_refused_alone_and_inside_one_batch() {
    for suite in Suite::ALL {
        let (mut out, mut into) = pair(&keys(suite, 1, b""));
        let packet = send(&mut out, Kind::Rtp, &rtp(1, 40)).unwrap();
        let (mut a, mut b) = (packet.clone(), packet.clone());
        let len = packet.len();
        let mut jobs = [Job::new(0, Kind::Rtp, &mut a, len), Job::new(0, Kind::Rtp, &mut b, len)];
        unprotect(std::slice::from_mut(&mut into), &mut jobs);
        assert_eq!((jobs[0].result, jobs[1].result), (Ok(()), Err(Error::Replayed)));
        assert_eq!(receive(&mut into, Kind::Rtp, &packet), Err(Error::Replayed));
    }
}

#[test]
fn one_batch_holds_a_sequence_wrap_even_at_the_very_first_packets() {
    for suite in Suite::ALL {
        let (mut out, mut into) = pair(&keys(suite, 1, b""));
        let mut buffers: Vec<Vec<u8>> = (0..40_u16)
            .map(|i| send(&mut out, Kind::Rtp, &rtp(65_520_u16.wrapping_add(i), 20)).unwrap())
            .collect();
        let mut jobs: Vec<Job<'_>> = buffers
            .iter_mut()
            .map(|buffer| {
                let len = buffer.len();
                Job::new(0, Kind::Rtp, buffer, len)
            })
            .collect();
        unprotect(std::slice::from_mut(&mut into), &mut jobs);
        assert!(jobs.iter().all(|job| job.result.is_ok()));
        assert_eq!(into.position().roc(), 1);
        assert_eq!(out.position().roc(), 1);
    }
}

/// Suites of every kind side by side, in every order, some of the jobs refused: what one needs must
/// not be taken from another.
#[test]
fn a_batch_of_mixed_suites_gives_what_each_packet_alone_would() {
    for order in 0..24 {
        let mut left = Suite::ALL.to_vec();
        let mut suites: Vec<Suite> =
            [6, 2, 1, 1].iter().zip([4, 3, 2, 1]).map(|(by, of)| left.remove(order / by % of)).collect();
        suites.extend_from_within(..);
        let keys: Vec<_> = suites.iter().zip(0..).map(|(suite, id)| keys(*suite, id, b"")).collect();
        let (mut outs, mut intos): (Vec<_>, Vec<_>) = keys.iter().map(pair).unzip();
        let kind = |index: usize| if index % 3 == 1 { Kind::Rtcp } else { Kind::Rtp };
        let plain = |index: usize| if index % 3 == 1 { rtcp() } else { rtp(1, 20 + index) };
        let alone: Vec<_> = (0..suites.len())
            .map(|index| send(&mut pair(&keys[index]).0, kind(index), &plain(index)).unwrap())
            .collect();

        let mut buffers: Vec<_> = (0..suites.len())
            .map(|index| {
                let mut buffer = plain(index);
                buffer.resize(buffer.len() + MAX_OVERHEAD, 0);
                buffer
            })
            .collect();
        // The last two have no tailroom.
        let full = suites.len() - 2;
        let mut jobs: Vec<_> = buffers
            .iter_mut()
            .enumerate()
            .map(|(index, buffer)| {
                let len = plain(index).len();
                let room = if index < full { len + MAX_OVERHEAD } else { len };
                Job::new(index, kind(index), &mut buffer[..room], len)
            })
            .collect();
        jobs.rotate_right(1);
        protect(outs.as_mut_slice(), &mut jobs);
        jobs.rotate_left(1);
        for (index, job) in jobs.iter().enumerate() {
            let expected = if index < full { Ok(()) } else { Err(Error::NoTailroom) };
            assert_eq!(job.result, expected, "{suites:?} {index}");
            assert!(index >= full || job.packet[..job.len] == alone[index], "{suites:?} {index}");
        }

        let mut packets = alone.clone();
        let last = packets[0].len() - 1;
        packets[0][last] ^= 1;
        let mut jobs: Vec<_> = packets
            .iter_mut()
            .enumerate()
            .map(|(index, packet)| {
                let len = packet.len();
                Job::new(index, kind(index), packet, len)
            })
            .collect();
        unprotect(intos.as_mut_slice(), &mut jobs);
        assert_eq!(jobs[0].result, Err(Error::AuthFailed));
        for (index, job) in jobs.iter().enumerate().skip(1) {
            assert_eq!(job.result, Ok(()), "{suites:?} {index}");
            assert_eq!(job.packet[..job.len], plain(index), "{suites:?} {index}");
        }
    }
}

#[test]
fn a_new_key_takes_over_without_a_gap_and_the_old_one_ends_when_retired() {
    for suite in Suite::ALL {
        let (old, new) = (keys(suite, 1, b""), keys(suite, 2, b""));
        let (mut out, mut into) = pair(&old);
        let before = send(&mut out, Kind::Rtp, &rtp(10, 20)).unwrap();
        let late = send(&mut out, Kind::Rtp, &rtp(11, 20)).unwrap();
        let too_late = send(&mut out, Kind::Rtp, &rtp(12, 20)).unwrap();
        receive(&mut into, Kind::Rtp, &before).unwrap();
        into.install(new.clone());
        out.switch(new);
        let after = send(&mut out, Kind::Rtp, &rtp(13, 20)).unwrap();
        assert_eq!(receive(&mut into, Kind::Rtp, &after).unwrap(), rtp(13, 20));
        assert_eq!(receive(&mut into, Kind::Rtp, &late).unwrap(), rtp(11, 20));
        assert!(into.retire(KeyId(1)));
        assert_eq!(receive(&mut into, Kind::Rtp, &too_late), Err(Error::AuthFailed));
    }
}

#[test]
fn an_mki_chooses_the_key_and_an_unknown_one_is_named_so() {
    for suite in Suite::ALL {
        let [one, two, three] = [keys(suite, 1, b"1111"), keys(suite, 2, b"2222"), keys(suite, 3, b"3333")];
        let mut into = Inbound::new(SSRC, one.clone(), ReplayWindow::default(), 0);
        into.install(two.clone());
        let by_one = send(&mut Outbound::new(SSRC, one, 0), Kind::Rtp, &rtp(1, 20)).unwrap();
        let by_two = send(&mut Outbound::new(SSRC, two, 0), Kind::Rtp, &rtp(2, 20)).unwrap();
        let by_three = send(&mut Outbound::new(SSRC, three, 0), Kind::Rtp, &rtp(3, 20)).unwrap();
        assert!(receive(&mut into, Kind::Rtp, &by_one).is_ok());
        assert!(receive(&mut into, Kind::Rtp, &by_two).is_ok());
        assert_eq!(receive(&mut into, Kind::Rtp, &by_three), Err(Error::UnknownMki));
    }
}

#[test]
fn a_sender_never_uses_an_index_twice() {
    let (mut out, _) = pair(&keys(Suite::AeadAes128Gcm, 1, b""));
    send(&mut out, Kind::Rtp, &rtp(500, 20)).unwrap();
    assert_eq!(send(&mut out, Kind::Rtp, &rtp(500, 20)), Err(Error::IndexReused));
    assert!(send(&mut out, Kind::Rtp, &rtp(499, 20)).is_ok(), "reordering is no reuse");
    assert_eq!(send(&mut out, Kind::Rtp, &rtp(100, 20)), Err(Error::IndexReused), "too old to tell");
    let resumed = keys(Suite::AeadAes128Gcm, 1, b"");
    let mut resumed = Outbound::resume(SSRC, resumed, out.position(), 0);
    assert_eq!(send(&mut resumed, Kind::Rtp, &rtp(498, 20)), Err(Error::IndexReused));
    assert!(send(&mut resumed, Kind::Rtp, &rtp(501, 20)).is_ok());
}

#[test]
fn a_lifetime_ends_sending() {
    let master = MasterKey::new(Suite::AeadAes128Gcm, &[1; 16], &[2; 12]).unwrap();
    let short = Lifetime::new(2, 1).unwrap();
    let keys = Arc::new(SessionKeys::derive(KeyId(1), &master, Mki::NONE, short).unwrap());
    let mut out = Outbound::new(SSRC, keys, 0);
    assert_eq!(out.remaining(), (2, 1));
    send(&mut out, Kind::Rtp, &rtp(1, 20)).unwrap();
    send(&mut out, Kind::Rtp, &rtp(2, 20)).unwrap();
    assert_eq!(send(&mut out, Kind::Rtp, &rtp(3, 20)), Err(Error::KeyExpired));
    send(&mut out, Kind::Rtcp, &rtcp()).unwrap();
    assert_eq!(send(&mut out, Kind::Rtcp, &rtcp()), Err(Error::KeyExpired));
}

#[test]
fn the_last_packets_of_2_48_and_2_31_go_through_and_none_after_them() {
    for suite in Suite::ALL {
        let keys = keys(suite, 1, b"");
        let position = Position { rtp: Some((1 << 48) - 3), rtcp: Some((1 << 31) - 3) };
        let mut out = Outbound::resume(SSRC, keys.clone(), position, 0);
        let mut into = Inbound::new(SSRC, keys, ReplayWindow::default(), 0);
        into.advance(position);
        assert_eq!(out.remaining(), (2, 2), "{suite}");
        for sequence in [0xfffe, 0xffff] {
            for (kind, plain) in [(Kind::Rtp, rtp(sequence, 20)), (Kind::Rtcp, rtcp())] {
                let sent = send(&mut out, kind, &plain).unwrap();
                assert_eq!(receive(&mut into, kind, &sent), Ok(plain), "{suite}");
            }
        }
        assert_eq!(out.remaining(), (0, 0), "{suite}");
        for (kind, plain) in [(Kind::Rtp, rtp(0, 20)), (Kind::Rtcp, rtcp())] {
            assert_eq!(send(&mut out, kind, &plain), Err(Error::KeyExpired), "{suite}");
        }
        let after = [&rtp(0, 40)[..], &[0; 40]].concat();
        assert_eq!(receive(&mut into, Kind::Rtp, &after), Err(Error::KeyExpired), "{suite}");
        assert_eq!(into.position(), Position { rtp: Some((1 << 48) - 1), rtcp: Some((1 << 31) - 1) });
    }
}

#[test]
fn clear_rtcp_is_authenticated_and_its_flag_must_be_as_agreed() {
    for suite in Suite::ALL {
        let material: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|i| i as u8).collect();
        let master = MasterKey::from_concatenated(suite, &material).unwrap();
        let derive = |rtcp_encryption| {
            let omit = Omit { rtcp_encryption, ..Omit::default() };
            let options = KeyOptions { omit, ..KeyOptions::default() };
            Arc::new(SessionKeys::derive_with(KeyId(1), &master, &options).unwrap())
        };
        let clear = derive(true);
        let (mut out, mut into) = pair(&clear);
        let packet = send(&mut out, Kind::Rtcp, &rtcp()).unwrap();
        assert_eq!(packet[..rtcp().len()], rtcp()[..]);
        let mut forged = packet.clone();
        forged[12] ^= 1;
        assert_eq!(receive(&mut into, Kind::Rtcp, &forged), Err(Error::AuthFailed));
        assert_eq!(receive(&mut into, Kind::Rtcp, &packet).unwrap(), rtcp());
        let (_, mut strict) = pair(&derive(false));
        let verdict = receive(&mut strict, Kind::Rtcp, &packet);
        // What a suite never encrypts needs no agreement.
        let never = !suite.encrypts();
        assert_eq!(verdict, if never { Ok(rtcp()) } else { Err(Error::NotEncrypted) }, "{suite}");
    }
}

#[test]
fn header_lies_have_exact_reasons() {
    let (_, mut into) = pair(&keys(Suite::AesCm128HmacSha1_80, 1, b""));
    let mut packet = rtp(1, 20);
    packet[0] = 0x51;
    assert_eq!(receive(&mut into, Kind::Rtp, &packet), Err(Error::Version));
    packet[0] = 0x8f;
    assert_eq!(receive(&mut into, Kind::Rtp, &packet), Err(Error::CsrcCount));
    packet[0] = 0x91;
    packet[18] = 0xff;
    assert_eq!(receive(&mut into, Kind::Rtp, &packet), Err(Error::ExtensionLength));
    assert_eq!(receive(&mut into, Kind::Rtp, &[0x80; 11]), Err(Error::TooShort));
    let mut other = rtp(1, 20);
    other[11] ^= 1;
    assert_eq!(receive(&mut into, Kind::Rtp, &other), Err(Error::WrongSsrc));
}

#[test]
fn secrets_are_not_printed() {
    let secret = [0xa5; 16];
    let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &secret, &[0xa5; 14]).unwrap();
    let derived = SessionKeys::derive(KeyId(3), &master, Mki::NONE, Lifetime::MAX).unwrap();
    let printed = format!("{master:?} {master:x?} {derived:?} {derived:x?}");
    assert!(!printed.contains("a5") && !printed.contains("165"), "{printed}");
}

/// RFC 5506: what is no compound packet, be it a lone feedback packet or one of an application.
#[test]
fn reduced_size_rtcp_is_protected_as_it_is() {
    let ssrc = SSRC.to_be_bytes();
    let picture_loss = [&[0x81, 206, 0, 2][..], &ssrc, &[0, 0, 0, 9]].concat();
    let nack = [&[0x81, 205, 0, 3][..], &ssrc, &[0, 0, 0, 9, 0, 7, 0, 0]].concat();
    let application = [&[0x80, 204, 0, 2][..], &ssrc, b"ping"].concat();
    let empty_report = [&[0x80, 201, 0, 1][..], &ssrc].concat();
    for suite in Suite::ALL {
        let (mut out, mut into) = pair(&keys(suite, 1, b""));
        for plain in [&picture_loss, &nack, &application, &empty_report] {
            let sent = send(&mut out, Kind::Rtcp, plain).unwrap();
            assert_eq!(sent.len(), plain.len() + suite.rtcp_overhead(), "{suite}");
            assert_eq!(receive(&mut into, Kind::Rtcp, &sent).as_ref(), Ok(plain), "{suite}");
        }
    }
}

/// RFC 8108: one endpoint's streams share a session and its keys; each has indices and a replay list of its own,
/// and the same sequence numbers and payloads give other octets.
#[test]
fn several_ssrcs_under_one_key_are_streams_of_their_own() {
    for suite in Suite::ALL {
        let keys = keys(suite, 1, b"");
        let ssrcs = [SSRC, SSRC + 1, SSRC ^ 0x8000_0000];
        let mut sent = Vec::new();
        for ssrc in ssrcs {
            let mut out = Outbound::new(ssrc, keys.clone(), 0);
            let mut into = Inbound::new(ssrc, keys.clone(), ReplayWindow::default(), 0);
            let mut plain = rtp(7, 40);
            plain[8..12].copy_from_slice(&ssrc.to_be_bytes());
            let packet = send(&mut out, Kind::Rtp, &plain).unwrap();
            assert_eq!(receive(&mut into, Kind::Rtp, &packet), Ok(plain), "{suite}");
            assert_eq!(receive(&mut into, Kind::Rtp, &packet), Err(Error::Replayed), "{suite}");
            let mut stranger = Inbound::new(ssrc ^ 1, keys.clone(), ReplayWindow::default(), 0);
            assert_eq!(receive(&mut stranger, Kind::Rtp, &packet), Err(Error::WrongSsrc), "{suite}");
            sent.push(packet);
        }
        if suite.encrypts() {
            let payloads: Vec<_> = sent.iter().map(|packet| &packet[packet.len() - 40..]).collect();
            assert!(payloads[0] != payloads[1] && payloads[1] != payloads[2] && payloads[0] != payloads[2]);
        }
    }
}
