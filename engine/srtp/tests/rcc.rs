//! The ROC in the packet (RFC 4771). The RFC has no vectors: packets are put together from ordinary ones.

mod support;

use std::sync::Arc;

use sluice_srtp::{
    Error, Inbound, KeyError, KeyId, KeyOptions, Kind, MasterKey, Mki, Omit, Outbound, Rcc, RccMode,
    ReplayWindow, SessionKeys, Suite,
};
use support::{Random, derive, receive, send};

const SSRC: u32 = 0xcafe_babe;
const HMAC: Suite = Suite::AesCm128HmacSha1_80;

fn keys(suite: Suite, rcc: Option<Rcc>, mki: &[u8]) -> Arc<SessionKeys> {
    let options = KeyOptions { rcc, mki: Mki::new(mki).unwrap(), ..KeyOptions::default() };
    derive(suite, &Random(3).bytes(suite.key_len() + suite.salt_len()), &options)
}

fn inbound(keys: &Arc<SessionKeys>, roc: u32) -> Inbound {
    Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), roc)
}

#[test]
fn tags_of_rfc4771_2_and_3_are_put_together_as_they_say() {
    for mki in [&b""[..], b"mki"] {
        for (mode, tag) in [(RccMode::One, 14), (RccMode::Two, 14), (RccMode::Three, 4)] {
            let carrying = keys(HMAC, Some(Rcc::new(mode, 4, tag).unwrap()), mki);
            let mut ordinary = Outbound::new(SSRC, keys(HMAC, None, mki), 7);
            let (mut sender, mut receiver) =
                (Outbound::new(SSRC, carrying.clone(), 7), inbound(&carrying, 7));
            for sequence in 0..12 {
                let plain = Random(9).rtp(SSRC, sequence, 100);
                let usual = send(&mut ordinary, Kind::Rtp, &plain).unwrap();
                let (text, mac) = usual.split_at(usual.len() - 10);
                let sent = send(&mut sender, Kind::Rtp, &plain).unwrap();
                let roc = 7_u32.to_be_bytes();
                // Under mode 2 the tag of a packet without ROC is 14 octets of MAC, of which ten are known.
                let expected = match (mode, sequence % 4) {
                    (RccMode::One | RccMode::Two, 0) => [text, &roc, mac].concat(),
                    (RccMode::Two, _) => [text, mac, &sent[sent.len() - 4..]].concat(),
                    (RccMode::Three, 0) => [text, &roc].concat(),
                    (RccMode::One | RccMode::Three, _) => text.to_vec(),
                };
                assert_eq!(sent, expected, "{mode:?} {sequence}");
                assert_eq!(receive(&mut receiver, Kind::Rtp, &sent), Ok(plain), "{mode:?} {sequence}");
            }
        }
    }
}

#[test]
fn an_aead_keeps_its_tag_and_has_the_roc_behind_the_mki() {
    for suite in Suite::ALL.into_iter().filter(|suite| suite.is_aead()) {
        let rcc = Rcc::new(RccMode::Three, 2, 4).unwrap();
        let carrying = keys(suite, Some(rcc), b"k");
        let mut ordinary = Outbound::new(SSRC, keys(suite, None, b"k"), 9);
        let mut sender = Outbound::new(SSRC, carrying.clone(), 9);
        let mut late = inbound(&carrying, 0);
        for sequence in 1..6 {
            let plain = Random(9).rtp(SSRC, sequence, 100);
            let usual = send(&mut ordinary, Kind::Rtp, &plain).unwrap();
            let sent = send(&mut sender, Kind::Rtp, &plain).unwrap();
            let carries = sequence % 2 == 0;
            assert_eq!(sent, [&usual[..], if carries { &[0, 0, 0, 9] } else { &[] }].concat(), "{suite}");
            // Who joins late reads from the first packet with the ROC on, and trusts it for its tag.
            if carries {
                for at in sent.len() - 4..sent.len() {
                    let mut forged = sent.clone();
                    forged[at] ^= 1;
                    let refused = receive(&mut late, Kind::Rtp, &forged).unwrap_err();
                    assert!(matches!(refused, Error::AuthFailed | Error::TooOld), "{suite}: {refused}");
                }
            }
            let expected = if sequence == 1 { Err(Error::AuthFailed) } else { Ok(plain) };
            assert_eq!(receive(&mut late, Kind::Rtp, &sent), expected, "{suite} {sequence}");
        }
    }
}

#[test]
fn a_receiver_learns_the_roc_only_from_a_packet_that_is_authentic() {
    let keys = keys(HMAC, Some(Rcc::new(RccMode::Two, 10, 14).unwrap()), b"");
    let mut sender = Outbound::new(SSRC, keys.clone(), 0x1234);
    let mut late = inbound(&keys, 0);
    for sequence in 5..30 {
        let plain = Random(2).rtp(SSRC, sequence, 60);
        let sent = send(&mut sender, Kind::Rtp, &plain).unwrap();
        if sequence == 10 {
            let mut forged = sent.clone();
            let roc = sent.len() - 14;
            forged[roc] ^= 0x80;
            assert_eq!(receive(&mut late, Kind::Rtp, &forged), Err(Error::AuthFailed));
        }
        let expected = if sequence < 10 { Err(Error::AuthFailed) } else { Ok(plain) };
        assert_eq!(receive(&mut late, Kind::Rtp, &sent), expected, "{sequence}");
        if sequence >= 10 {
            assert_eq!(late.position().roc(), 0x1234);
            assert_eq!(receive(&mut late, Kind::Rtp, &sent), Err(Error::Replayed));
        }
    }
}

#[test]
fn a_roc_that_unauthenticated_packets_led_astray_is_set_right() {
    let keys = keys(HMAC, Some(Rcc::new(RccMode::One, 100, 14).unwrap()), b"");
    let mut sender = Outbound::new(SSRC, keys.clone(), 0);
    let mut receiver = inbound(&keys, 0);
    for sequence in [0, 1, 2] {
        let sent = send(&mut sender, Kind::Rtp, &Random(2).rtp(SSRC, sequence, 60)).unwrap();
        assert!(receive(&mut receiver, Kind::Rtp, &sent).is_ok());
    }
    // Nobody authenticates these: sequence numbers that jump ahead twice make a rollover.
    for sequence in [30_001, 60_001, 20_001] {
        assert!(receive(&mut receiver, Kind::Rtp, &Random(2).rtp(SSRC, sequence, 60)).is_ok());
    }
    assert_eq!(receiver.position().roc(), 1);
    let plain = Random(2).rtp(SSRC, 100, 60);
    let sent = send(&mut sender, Kind::Rtp, &plain).unwrap();
    assert_eq!(receive(&mut receiver, Kind::Rtp, &sent).as_ref(), Ok(&plain));
    assert_eq!(receiver.position().rtp, Some(100));
    assert_eq!(receive(&mut receiver, Kind::Rtp, &sent), Err(Error::Replayed));
}

#[test]
fn what_the_transform_cannot_be_is_refused() {
    for (mode, rate, tag) in [
        (RccMode::One, 0, 14),
        (RccMode::One, 1, 4),
        (RccMode::One, 1, 25),
        (RccMode::Two, 1, 21),
        (RccMode::Three, 1, 14),
    ] {
        assert_eq!(Rcc::new(mode, rate, tag), Err(KeyError::Rcc { rate, tag }));
    }
    let refuse = |suite: Suite, mode, tag, omit| {
        let material = vec![1; suite.key_len() + suite.salt_len()];
        let master = MasterKey::from_concatenated(suite, &material).unwrap();
        let rcc = Some(Rcc::new(mode, 1, tag).unwrap());
        let options = KeyOptions { rcc, omit, ..KeyOptions::default() };
        SessionKeys::derive_with(KeyId(1), &master, &options).map(drop)
    };
    let suite = Suite::AeadAes128Gcm;
    assert_eq!(refuse(suite, RccMode::One, 14, Omit::default()), Err(KeyError::RccMode { suite }));
    let omit = Omit { rtp_authentication: true, ..Omit::default() };
    assert_eq!(refuse(HMAC, RccMode::Two, 14, omit), Err(KeyError::RccMode { suite: HMAC }));
    assert_eq!(refuse(HMAC, RccMode::Three, 4, omit), Ok(()));
}
