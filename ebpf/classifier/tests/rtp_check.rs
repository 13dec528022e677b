//! R-RTP-CHECK (RFC 5479): no STUN, DTLS, ZRTP or TURN datagram gets a media verdict, nor is one dropped
//! as malformed media; and media that RFC 3550 A.1 finds valid is recognised.

mod support;

use proptest::prelude::*;
use sluice_classifier::{Malformed, Policy, Verdict, classify};
use support::datagrams::{self, Rng};

fn is_media_or_dropped(verdict: Verdict) -> bool {
    verdict.is_media() || matches!(verdict, Verdict::Invalid(_))
}

fn policies() -> Vec<Policy> {
    (0..8).map(|flags| Policy { flags, payload_types: [u64::MAX; 2] }).collect()
}

/// Bodies behind the first two octets: neutral ones, and those that the other protocols' checks look for.
fn bodies() -> Vec<Vec<u8>> {
    let stun = [&[0, 8, 0x21, 0x12, 0xa4, 0x42][..], &[7; 24]].concat();
    let zrtp = [&[0, 8][..], b"ZRTP", &[7; 24]].concat();
    let rtcp = [&[0, 1][..], &[0; 28]].concat();
    let mut bodies: Vec<Vec<u8>> = [0, 0x80, 0xff].iter().map(|byte| vec![*byte; 30]).collect();
    bodies.extend([stun, zrtp, rtcp, vec![], vec![0], vec![0; 9], vec![0; 10]]);
    bodies
}

#[test]
fn only_first_octets_of_media_give_a_media_verdict() {
    for policy in policies() {
        for body in bodies() {
            for head in 0..=u16::MAX {
                let datagram = [&head.to_be_bytes()[..], &body].concat();
                let verdict = classify(&datagram, &policy);
                let first = datagram[0];
                assert_eq!(
                    is_media_or_dropped(verdict),
                    (128..=191).contains(&first),
                    "{datagram:02x?}: {verdict:?}"
                );
                let own = match first {
                    0..=3 => matches!(verdict, Verdict::Stun | Verdict::Unknown),
                    16..=19 => matches!(verdict, Verdict::Zrtp | Verdict::Unknown),
                    20..=63 => verdict == Verdict::Dtls,
                    64..=79 => matches!(verdict, Verdict::TurnChannel | Verdict::Unknown),
                    128..=191 => true,
                    _ => verdict == Verdict::Unknown,
                };
                assert!(own, "{datagram:02x?}: {verdict:?}");
            }
        }
    }
}

#[test]
fn the_second_octet_splits_rtcp_from_rtp() {
    for first in 128..=191_u8 {
        for second in 0..=255_u8 {
            let mut datagram = vec![first & 0xc0, second, 0, 1];
            datagram.resize(28, 1);
            let expected = match second {
                192..=223 => Verdict::Rtcp,
                64..=95 => Verdict::Invalid(Malformed::PayloadType),
                _ => Verdict::Rtp,
            };
            assert_eq!(classify(&datagram, &Policy::new()), expected, "{second}");
        }
    }
}

#[test]
fn a_payload_type_outside_the_legs_set_is_refused() {
    for allowed in (0..=127_u8).filter(|payload_type| !matches!(payload_type, 64..=95)) {
        let mut set = [0; 2];
        set[usize::from(allowed / 64)] = 1 << (allowed % 64);
        let policy = Policy::new().with_payload_types(set);
        for payload_type in 0..=127_u8 {
            let mut datagram = [0x80, payload_type, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9];
            let expected =
                if payload_type == allowed { Verdict::Rtp } else { Verdict::Invalid(Malformed::PayloadType) };
            assert_eq!(classify(&datagram, &policy), expected, "{payload_type}, allowed {allowed}");
            if !matches!(payload_type, 64..=95) {
                datagram[1] |= 0x80;
                assert_eq!(classify(&datagram, &policy), expected, "{payload_type} marked");
            }
        }
    }
}

#[test]
fn padding_is_checked_on_plain_legs_only() {
    let padded = |count: u8| [0xa0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9, 9, count];
    let plain = Policy::new().plain();
    for (count, valid) in [(0, false), (1, true), (3, true), (4, true), (5, false), (255, false)] {
        let expected = if valid { Verdict::Rtp } else { Verdict::Invalid(Malformed::Padding) };
        assert_eq!(classify(&padded(count), &plain), expected, "padding of {count}");
        assert_eq!(classify(&padded(count), &Policy::new()), Verdict::Rtp, "encrypted padding of {count}");
    }
}

#[test]
fn header_lengths_are_held_against_the_datagram() {
    let policy = Policy::new();
    for csrcs in 0..=15_usize {
        for length in 12..=80 {
            let mut datagram = vec![0; length];
            datagram[0] = 0x80 | csrcs as u8;
            let expected =
                if 12 + 4 * csrcs <= length { Verdict::Rtp } else { Verdict::Invalid(Malformed::CsrcCount) };
            assert_eq!(classify(&datagram, &policy), expected, "{csrcs} CSRCs in {length} octets");
        }
    }
    for words in 0..=20_u8 {
        for length in 12..=100 {
            let mut datagram = vec![0; length];
            datagram[0] = 0x90;
            if length >= 16 {
                datagram[15] = words;
            }
            let expected = if 16 + 4 * usize::from(words) <= length {
                Verdict::Rtp
            } else {
                Verdict::Invalid(Malformed::ExtensionLength)
            };
            assert_eq!(classify(&datagram, &policy), expected, "{words} words in {length} octets");
        }
    }
}

#[test]
fn an_rtcp_port_takes_rtcp_only() {
    let policy = Policy::new().rtcp_only();
    let rtp = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9];
    let sender_report = [&[0x80, 200, 0, 1, 0, 0, 0, 1][..], &[0; 14]].concat();
    assert_eq!(classify(&rtp, &policy), Verdict::Invalid(Malformed::PacketType));
    assert_eq!(classify(&sender_report, &policy), Verdict::Rtcp);
    assert_eq!(classify(&[0x16, 0xfe, 0xfd], &policy), Verdict::Dtls);
}

#[test]
fn plain_rtcp_must_add_up() {
    let plain = Policy::new().plain();
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let bye = [0x81, 203, 0, 1, 0, 0, 0, 1];
    let check = |parts: &[&[u8]]| classify(&parts.concat(), &plain);
    assert_eq!(check(&[&report]), Verdict::Rtcp);
    assert_eq!(check(&[&report, &bye]), Verdict::Rtcp);
    assert_eq!(check(&[&report, &bye, &[0]]), Verdict::Invalid(Malformed::Version));
    assert_eq!(check(&[&report, &bye[..6]]), Verdict::Invalid(Malformed::RtcpLength));
    assert_eq!(check(&[&report, &[0x40, 203, 0, 0]]), Verdict::Invalid(Malformed::Version));
    assert_eq!(check(&[&[0xa0], &report[1..], &bye]), Verdict::Invalid(Malformed::Padding));
    assert_eq!(check(&[&report[..4]]), Verdict::Invalid(Malformed::TooShort));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn nothing_outside_the_media_range_is_ever_media(
        first in any::<u8>(), rest in prop::collection::vec(any::<u8>(), 0..200),
        flags in 0_u64..8, payload_types in any::<[u64; 2]>()
    ) {
        let datagram = [&[first][..], &rest].concat();
        let verdict = classify(&datagram, &Policy { flags, payload_types });
        prop_assert_eq!(is_media_or_dropped(verdict), (128..=191).contains(&first));
    }

    #[test]
    fn well_formed_datagrams_of_each_protocol_are_recognised(seed in any::<u64>(), flags in 0_u64..8) {
        let rng = &mut Rng(seed);
        let policy = Policy { flags, payload_types: [seed, !seed] };
        prop_assert_eq!(classify(&datagrams::stun(rng), &policy), Verdict::Stun);
        prop_assert_eq!(classify(&datagrams::dtls(rng), &policy), Verdict::Dtls);
        prop_assert_eq!(classify(&datagrams::zrtp(rng), &policy), Verdict::Zrtp);
        prop_assert_eq!(classify(&datagrams::turn_channel(rng), &policy), Verdict::TurnChannel);
        let media = Policy { flags: flags & 3, payload_types: [seed | 1, !seed] };
        prop_assert_eq!(classify(&datagrams::rtp(rng, &media), &media), Verdict::Rtp);
    }
}
