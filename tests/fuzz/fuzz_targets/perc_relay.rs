//! Packets that a media distributor changes: never a panic, refused ones stay as they are, and what was changed
//! back leaves no trace.
#![no_main]

use sluice_srtp::perc::{Changes, MAX_OHB_GROWTH, relay};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(([which, payload_type, high, low, tailroom], packet)) = input.split_first_chunk::<5>() else {
        return;
    };
    let changes = Changes {
        payload_type: (which & 1 != 0).then_some(*payload_type),
        sequence: (which & 2 != 0).then_some(u16::from_be_bytes([*high, *low])),
        marker: (which & 4 != 0).then_some(which & 8 != 0),
    };
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + usize::from(*tailroom % 5), 0);
    let before = buffer.clone();
    let Ok(len) = relay(&mut buffer, packet.len(), &changes) else {
        assert_eq!(buffer, before, "refused, and changed");
        return;
    };
    assert!(len <= packet.len() + MAX_OHB_GROWTH && len <= buffer.len());
    let once = buffer.clone();
    assert_eq!(relay(&mut buffer, len, &Changes::default()), Ok(len), "no change is none");
    assert_eq!(buffer[..len], once[..len]);
    if before[packet.len() - 1] & 7 == 0 {
        let back = Changes {
            payload_type: Some(packet[1] & 0x7f),
            sequence: Some(u16::from_be_bytes([packet[2], packet[3]])),
            marker: Some(packet[1] & 0x80 != 0),
        };
        assert_eq!(relay(&mut buffer, len, &back), Ok(packet.len()), "an empty block again");
        assert_eq!(buffer[..packet.len() - 1], packet[..packet.len() - 1]);
    }
});
