//! Packets from an attacker: each refused, for the right reason, and left as it was.

mod support;

use std::sync::Arc;

use sluice_srtp::{
    Error, Inbound, Job, Kind, MAX_OVERHEAD, Omit, Outbound, ReplayWindow, SessionKeys, Suite, protect,
    unprotect,
};
use support::{Random, keys, receive, send};

const SSRC: u32 = 0xcafe_babe;
const MKI: &[u8] = b"mki!";
const KINDS: [Kind; 2] = [Kind::Rtp, Kind::Rtcp];

/// Two CSRCs, an extension of two words, 24 bytes of payload.
const RTP: [u8; 56] = [
    0x92, 0x60, 0x12, 0x34, 0, 0, 0, 1, 0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 2,
    0x17, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
    23, 24,
];
const RTP_HEADER: usize = 32;
const RTCP: [u8; 28] = [
    0x80, 200, 0, 6, 0xca, 0xfe, 0xba, 0xbe, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
    19, 20,
];

fn plain(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Rtp => &RTP,
        Kind::Rtcp => &RTCP,
    }
}

fn session(suite: Suite, mki: &[u8]) -> Arc<SessionKeys> {
    keys(suite, &vec![7; suite.key_len() + suite.salt_len()], mki, Omit::default())
}

fn inbound(keys: &Arc<SessionKeys>) -> Inbound {
    Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 0)
}

/// Every suite with and without MKI, RTP and RTCP: keys and a protected packet.
fn each(mut test: impl FnMut(Suite, &'static [u8], Kind, &Arc<SessionKeys>, &[u8])) {
    for suite in Suite::ALL {
        for mki in [&b""[..], MKI] {
            for kind in KINDS {
                let keys = session(suite, mki);
                let packet = send(&mut Outbound::new(SSRC, keys.clone(), 0), kind, plain(kind)).unwrap();
                test(suite, mki, kind, &keys, &packet);
            }
        }
    }
}

#[test]
fn every_truncation_is_refused_and_says_why() {
    each(|suite, mki, kind, keys, packet| {
        let (clear, overhead) = match kind {
            // Of a double suite the outer transform comes first, and finds its tag wrong.
            Kind::Rtp => (RTP_HEADER, suite.half().unwrap_or(suite).rtp_overhead()),
            Kind::Rtcp => (8, suite.rtcp_overhead()),
        };
        for len in 0..packet.len() {
            let error = receive(&mut inbound(keys), kind, &packet[..len]).unwrap_err();
            let expected: &[Error] = match (kind, len) {
                (Kind::Rtp, 12..20) => &[Error::CsrcCount],
                (Kind::Rtp, 20..RTP_HEADER) => &[Error::ExtensionLength],
                _ if len < clear + overhead + mki.len() => &[Error::TooShort],
                // What stands where the MKI or the E flag was is ciphertext.
                _ if !mki.is_empty() => &[Error::UnknownMki],
                _ if kind == Kind::Rtcp => &[Error::AuthFailed, Error::NotEncrypted],
                _ => &[Error::AuthFailed],
            };
            assert!(expected.contains(&error), "{suite} {kind:?} cut to {len}: {error:?}");
        }
        assert_eq!(receive(&mut inbound(keys), kind, packet).unwrap(), plain(kind));
    });
}

#[test]
fn every_wrong_bit_is_refused_and_says_why() {
    each(|suite, mki, kind, keys, packet| {
        let mki_at = match (kind, suite) {
            (_, suite) if suite.is_aead() => packet.len() - mki.len(),
            (Kind::Rtp, _) => packet.len() - suite.rtp_overhead() - mki.len(),
            (Kind::Rtcp, _) => packet.len() - (suite.rtcp_overhead() - 4) - mki.len(),
        };
        for bit in 0..packet.len() * 8 {
            let (at, mask) = (bit / 8, 0x80_u8 >> (bit % 8));
            let mut wrong = packet.to_vec();
            wrong[at] ^= mask;
            let error = receive(&mut inbound(keys), kind, &wrong).unwrap_err();
            let ssrc = if kind == Kind::Rtp { 8..12 } else { 4..8 };
            let expected = match (kind, at) {
                (_, 0) if mask & 0xc0 != 0 => Error::Version,
                _ if ssrc.contains(&at) => Error::WrongSsrc,
                _ if (mki_at..mki_at + mki.len()).contains(&at) => Error::UnknownMki,
                (Kind::Rtcp, _) if at == mki_at - 4 && mask == 0x80 => Error::NotEncrypted,
                _ => Error::AuthFailed,
            };
            // Lies about lengths, where they lead out of the packet or leave no room for the tag.
            let length_lie = kind == Kind::Rtp && matches!(at, 0 | 22 | 23);
            let lies = [Error::CsrcCount, Error::ExtensionLength, Error::TooShort];
            let right = error == expected || length_lie && lies.contains(&error);
            assert!(right, "{suite} {kind:?} bit {bit}: {error:?}, not {expected:?}");
        }
    });
}

#[test]
fn lying_csrc_counts_and_extension_lengths_are_named() {
    let keys = session(Suite::AesCm128HmacSha1_80, b"");
    let mut packet = RTP.to_vec();
    packet[0] = 0x8f;
    assert_eq!(receive(&mut inbound(&keys), Kind::Rtp, &packet), Err(Error::CsrcCount));
    let mut packet = RTP.to_vec();
    for words in [9_u16, 100, 0xffff] {
        packet[22..24].copy_from_slice(&words.to_be_bytes());
        assert_eq!(receive(&mut inbound(&keys), Kind::Rtp, &packet), Err(Error::ExtensionLength), "{words}");
        let mut outbound = Outbound::new(SSRC, keys.clone(), 0);
        assert_eq!(send(&mut outbound, Kind::Rtp, &packet), Err(Error::ExtensionLength), "{words}");
        assert_eq!(outbound.position().rtp, None, "a refused packet uses no index");
    }
}

#[test]
fn protection_without_room_is_refused_and_uses_no_index() {
    each(|suite, mki, kind, keys, packet| {
        let mut outbound = Outbound::new(SSRC, keys.clone(), 0);
        for room in 0..packet.len() - plain(kind).len() {
            let mut buffer = [plain(kind), &vec![0xee; room]].concat();
            let before = buffer.clone();
            let mut jobs = [Job::new(0, kind, &mut buffer, plain(kind).len())];
            protect(std::slice::from_mut(&mut outbound), &mut jobs);
            assert_eq!(jobs[0].result, Err(Error::NoTailroom), "{suite} mki {} room {room}", mki.len());
            assert_eq!(buffer, before);
        }
        assert_eq!(send(&mut outbound, kind, plain(kind)).unwrap(), packet, "the first index is still free");
    });
}

#[test]
fn job_longer_than_its_buffer_or_without_context_is_refused() {
    let keys = session(Suite::AeadAes128Gcm, b"");
    let mut buffer = RTP;
    let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, RTP.len() + 1)];
    unprotect(std::slice::from_mut(&mut inbound(&keys)), &mut jobs);
    assert!(jobs[0].result.is_err());
    jobs[0].result = Ok(());
    protect(std::slice::from_mut(&mut Outbound::new(SSRC, keys.clone(), 0)), &mut jobs);
    assert!(jobs[0].result.is_err());
    let mut jobs = [Job::new(5, Kind::Rtp, &mut buffer, RTP.len())];
    unprotect(std::slice::from_mut(&mut inbound(&keys)), &mut jobs);
    assert!(jobs[0].result.is_err());
}

#[test]
fn forged_neighbours_do_not_hurt_the_packets_between_them() {
    for suite in Suite::ALL {
        let keys = session(suite, b"");
        let mut random = Random(5);
        let mut outbound = Outbound::new(SSRC, keys.clone(), 0);
        let mut inbound = inbound(&keys);
        // From the very first packet on, over a wrap of the sequence number.
        let sequences = (0..100_u16).map(|i| 65_500_u16.wrapping_add(i));
        let sent: Vec<Vec<u8>> = sequences
            .map(|sequence| random.rtp(SSRC, sequence, 100))
            .flat_map(|plain| {
                let good = send(&mut outbound, Kind::Rtp, &plain).unwrap();
                let mut forged = good.clone();
                *forged.last_mut().unwrap() ^= 1;
                [forged, good]
            })
            .collect();
        let batch: Vec<_> = sent.iter().map(|packet| (Kind::Rtp, packet.clone())).collect();
        let verdicts = support::receive_all(&mut inbound, &batch);
        for (i, pair) in verdicts.chunks(2).enumerate() {
            assert_eq!(pair[0], Err(Error::AuthFailed), "{suite} forged {i}");
            assert!(pair[1].is_ok(), "{suite} good {i}: {:?}", pair[1]);
        }
        assert_eq!(inbound.position(), outbound.position());
    }
}

#[test]
fn forged_packets_teach_a_context_nothing() {
    each(|suite, _, kind, keys, packet| {
        let mut inbound = inbound(keys);
        let mut forged = packet.to_vec();
        forged[if kind == Kind::Rtp { 40 } else { 12 }] ^= 1;
        assert_eq!(receive(&mut inbound, kind, &forged), Err(Error::AuthFailed), "{suite}");
        assert!(!inbound.authenticated());
        assert_eq!(inbound.position(), sluice_srtp::Position::default());
        assert!(receive(&mut inbound, kind, packet).is_ok());
        assert!(inbound.authenticated());
    });
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut random = Random(11);
    for suite in Suite::ALL {
        let keys = session(suite, MKI);
        let (mut inbound, mut outbound) = (inbound(&keys), Outbound::new(SSRC, keys.clone(), 0));
        for _ in 0..3000 {
            let count = random.below(80) as usize;
            let mut bytes = random.bytes(count);
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | *first & 0x3f;
            }
            let kind = KINDS[random.below(2) as usize];
            let at = if kind == Kind::Rtp { 8 } else { 4 };
            if let Some(ssrc) = bytes.get_mut(at..at + 4) {
                ssrc.copy_from_slice(&SSRC.to_be_bytes());
            }
            assert!(receive(&mut inbound, kind, &bytes).is_err());
            if let Ok(protected) = send(&mut outbound, kind, &bytes) {
                assert!(protected.len() <= bytes.len() + MAX_OVERHEAD);
            }
        }
    }
}

#[test]
fn packet_beyond_its_keystream_is_refused_before_the_next_index_is_touched() {
    let keys = session(Suite::AesCm128HmacSha1_80, b"");
    let mut packet = RTP.to_vec();
    packet.resize((16 << 16) + 1, 0);
    assert_eq!(receive(&mut inbound(&keys), Kind::Rtp, &packet), Err(Error::TooLong));
    let mut outbound = Outbound::new(SSRC, keys, 0);
    assert_eq!(send(&mut outbound, Kind::Rtp, &packet), Err(Error::TooLong));
    assert_eq!(outbound.position().rtp, None);
}
