//! The one thing that a datapath wants of a STUN message (RFC 8489): whom it is for.

/// Octets of the header.
const HEADER: usize = 20;
const USERNAME: u16 = 0x0006;

/// The receiver's ICE username fragment in a connectivity check: what stands before the colon of USERNAME
/// (RFC 8445 §7.2.2). `None` for any other datagram. Nothing is checked here but that it can be read; whether the
/// message is authentic its MESSAGE-INTEGRITY says.
pub fn receiver_ufrag(datagram: &[u8]) -> Option<&[u8]> {
    let (header, mut attributes) = datagram.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] & 0xc0 != 0 || length != attributes.len() {
        return None;
    }
    while let Some((&[high, low, len_high, len_low], rest)) = attributes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([len_high, len_low]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([high, low]) == USERNAME {
            let end = value.iter().position(|octet| *octet == b':')?;
            return Some(&value[..end]);
        }
        // Attributes begin at multiples of four octets (RFC 8489 §14).
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = Vec::from([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        message.resize(HEADER, 7);
        for (kind, value) in attributes {
            message.extend(kind.to_be_bytes());
            message.extend((value.len() as u16).to_be_bytes());
            message.extend_from_slice(value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let length = (message.len() - HEADER) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message
    }

    #[test]
    fn the_receivers_fragment_stands_before_the_colon() {
        let check = message(&[(0x8022, b"abc"), (USERNAME, b"here:there"), (0x24, &[0; 4])]);
        assert_eq!(receiver_ufrag(&check), Some(&b"here"[..]));
        assert_eq!(receiver_ufrag(&message(&[(USERNAME, b":there")])), Some(&b""[..]));
    }

    #[test]
    fn what_is_no_check_has_none() {
        assert_eq!(receiver_ufrag(&message(&[])), None);
        assert_eq!(receiver_ufrag(&message(&[(USERNAME, b"no colon")])), None);
        assert_eq!(receiver_ufrag(&message(&[(0x8022, b"a:b")])), None);
        let check = message(&[(USERNAME, b"here:there")]);
        for end in 0..check.len() {
            assert_eq!(receiver_ufrag(&check[..end]), None, "cut off at {end}");
        }
        let mut lying = check.clone();
        lying[22..24].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(receiver_ufrag(&lying), None);
    }
}
