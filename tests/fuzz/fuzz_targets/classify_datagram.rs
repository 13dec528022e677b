//! Any datagram, any policy (the first octets of the input): no panic, what a verdict promises holds, and
//! the naive oracle agrees.
#![no_main]

#[path = "../../../ebpf/classifier/tests/support/oracle.rs"]
#[allow(dead_code)]
mod oracle;

use libfuzzer_sys::fuzz_target;
use sluice_classifier::{FLAG_RTCP_ONLY, Policy, Verdict, classify, classify_at, receiver_ufrag};

fuzz_target!(|input: &[u8]| {
    let Some((head, datagram)) = input.split_first_chunk::<17>() else { return };
    let set = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight octets"));
    let policy = Policy { flags: u64::from(head[0] & 7), payload_types: [set(1), set(9)] };
    let verdict = classify(datagram, &policy);
    assert_eq!(verdict, oracle::classify(datagram, &policy));

    let first = datagram.first().copied().unwrap_or(0);
    let in_media_range = !datagram.is_empty() && (128..=191).contains(&first);
    let media_or_dropped = verdict.is_media() || matches!(verdict, Verdict::Invalid(_));
    assert_eq!(media_or_dropped, in_media_range, "R-RTP-CHECK");
    match verdict {
        Verdict::Rtp => {
            assert!(datagram.len() >= 12 && policy.allows(datagram[1] & 0x7f));
            assert!(policy.flags & FLAG_RTCP_ONLY == 0);
        }
        Verdict::Rtcp => assert!(datagram.len() >= 8 && (192..=223).contains(&datagram[1])),
        Verdict::Stun => assert!(first < 4 && datagram.len() >= 20),
        Verdict::Zrtp => assert!((16..20).contains(&first)),
        Verdict::Dtls => assert!((20..64).contains(&first)),
        Verdict::TurnChannel => assert!((64..80).contains(&first)),
        Verdict::Unknown | Verdict::Invalid(_) => {}
    }
    if let Some(ufrag) = receiver_ufrag(datagram) {
        assert!(first < 64 && datagram.len() >= 20 + 4 + ufrag.len() && !ufrag.contains(&b':'));
    }
    // Where the datagram lies in a packet, and what surrounds it, changes nothing.
    assert_eq!(classify_at(input, 17, datagram.len(), &policy), verdict);
});
