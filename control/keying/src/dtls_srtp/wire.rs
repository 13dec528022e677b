//! What can be seen of records and handshake messages without keys (RFC 6347 section 4, RFC 9147 section 4).

use super::{Alert, Ignored};

pub(super) const RECORD_HEADER: usize = 13;
pub(super) const MESSAGE_HEADER: usize = 12;

/// Octets of the longest handshake message that is waited for: a chain of four certificates with large keys fits. What
/// libraries put together for a peer that has shown nothing yet is bounded by it.
pub(super) const MAX_MESSAGE: usize = 32 * 1024;

/// Octets of the longest datagram that is looked at: a jumbo frame's.
pub(super) const MAX_DATAGRAM: usize = 9216;

pub(super) const CONTENT_ALERT: u8 = 21;
pub(super) const CONTENT_HANDSHAKE: u8 = 22;
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
/// DTLS 1.0, as records and messages say it that come before a version is agreed on.
pub(super) const DTLS_1_0: u16 = 0xfeff;
pub(super) const DTLS_1_2: u16 = 0xfefd;
pub(super) const DTLS_1_3: u16 = 0xfefc;

/// A record with a plain header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) content: u8,
    pub(super) epoch: u16,
    pub(super) sequence: u64,
    pub(super) body: &'a [u8],
}

/// A piece of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    pub(super) message: u8,
    /// Octets of the whole message.
    pub(super) length: usize,
    pub(super) message_sequence: u16,
    pub(super) offset: usize,
    pub(super) bytes: &'a [u8],
}

/// The records of a datagram whose headers are plain; a unified header (RFC 9147 section 4) ends them, what follows it
/// cannot be told apart here.
pub(super) fn records(datagram: &[u8]) -> Result<Vec<Record<'_>>, Ignored> {
    if datagram.is_empty() {
        return Err(Ignored::NotDtls);
    }
    if datagram.len() > MAX_DATAGRAM {
        return Err(Ignored::TooLong);
    }
    let mut records = Vec::new();
    let mut rest = datagram;
    while let [first, ..] = rest {
        if matches!(first, 0x20..=0x3f) {
            break;
        }
        let (record, after) = record(rest).ok_or(Ignored::NotDtls)?;
        records.push(record);
        rest = after;
    }
    Ok(records)
}

impl<'a> Record<'a> {
    /// The pieces of handshake messages in it, if it is of the epoch without keys and has such.
    pub(super) fn fragments(&self) -> Result<Vec<Fragment<'a>>, Ignored> {
        let mut fragments = Vec::new();
        if self.epoch != 0 || self.content != CONTENT_HANDSHAKE {
            return Ok(fragments);
        }
        let mut rest = self.body;
        loop {
            let (fragment, after) = fragment(rest).ok_or(Ignored::NotDtls)?;
            if fragment.length > MAX_MESSAGE {
                return Err(Ignored::TooLong);
            }
            fragments.push(fragment);
            if after.is_empty() {
                return Ok(fragments);
            }
            rest = after;
        }
    }

    /// An alert that is not protected, if it is one.
    pub(super) fn plain_alert(&self) -> Option<PlainAlert> {
        match *self.body {
            [level, alert] if self.epoch == 0 && self.content == CONTENT_ALERT => {
                Some(PlainAlert { fatal: level == 2, alert: Alert(alert) })
            }
            _ => None,
        }
    }
}

/// An alert that anybody could have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlainAlert {
    pub(super) fatal: bool,
    pub(super) alert: Alert,
}

impl Fragment<'_> {
    /// Whether it is a whole message.
    pub(super) fn is_whole(&self) -> bool {
        self.offset == 0 && self.bytes.len() == self.length
    }

    /// The random of a `ClientHello`, if its beginning is here.
    pub(super) fn client_random(&self) -> Option<&[u8]> {
        (self.message == CLIENT_HELLO && self.offset == 0).then(|| self.bytes.get(2..34)).flatten()
    }
}

/// A record with one whole handshake message in it.
pub(super) fn handshake_record(
    version: u16,
    sequence: u64,
    message: u8,
    message_sequence: u16,
    body: &[u8],
) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let mut record = vec![CONTENT_HANDSHAKE];
    record.extend(version.to_be_bytes());
    record.extend([0; 2]);
    record.extend(&sequence.to_be_bytes()[2..]);
    record.extend(((body.len() + MESSAGE_HEADER) as u16).to_be_bytes());
    record.push(message);
    record.extend(&length[1..]);
    record.extend(message_sequence.to_be_bytes());
    record.extend([0; 3]);
    record.extend(&length[1..]);
    record.extend(body);
    record
}

/// A fatal alert that is not protected.
pub(super) fn alert_record(sequence: u64, alert: Alert) -> Vec<u8> {
    let mut record = vec![CONTENT_ALERT];
    record.extend(DTLS_1_2.to_be_bytes());
    record.extend([0; 2]);
    record.extend(&sequence.to_be_bytes()[2..]);
    record.extend([0, 2, 2, alert.0]);
    record
}

/// Adds to the sequence numbers of the records of the epoch without keys.
pub(super) fn move_sequences(datagram: &mut [u8], by: u64) {
    let mut at = 0;
    while let Some(header) = datagram.get_mut(at..at + RECORD_HEADER) {
        if header[3..5] == [0, 0] {
            let moved = number(&header[5..11]).wrapping_add(by);
            header[5..11].copy_from_slice(&moved.to_be_bytes()[2..]);
        }
        at += RECORD_HEADER + number(&header[11..13]) as usize;
    }
}

fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (header, rest) = bytes.split_at_checked(RECORD_HEADER)?;
    let (body, rest) = rest.split_at_checked(number(&header[11..13]) as usize)?;
    // Change cipher spec, alert, handshake, application data, heartbeat, connection ID, ACK; all of DTLS 1.
    let known = matches!(header[0], 20..=26) && header[1] == 0xfe;
    let record = Record {
        content: header[0],
        epoch: number(&header[3..5]) as u16,
        sequence: number(&header[5..11]),
        body,
    };
    known.then_some((record, rest))
}

fn fragment(bytes: &[u8]) -> Option<(Fragment<'_>, &[u8])> {
    let (header, rest) = bytes.split_at_checked(MESSAGE_HEADER)?;
    let (length, offset) = (number(&header[1..4]) as usize, number(&header[6..9]) as usize);
    let (bytes, rest) = rest.split_at_checked(number(&header[9..12]) as usize)?;
    let fragment = Fragment {
        message: header[0],
        length,
        message_sequence: number(&header[4..6]) as u16,
        offset,
        bytes,
    };
    (offset + bytes.len() <= length).then_some((fragment, rest))
}

/// An unsigned number in network order.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut datagram = handshake_record(DTLS_1_0, 5, CLIENT_HELLO, 1, &[7; 40]);
        datagram.extend(handshake_record(DTLS_1_2, 6, 11, 2, &[]));
        let records = records(&datagram).unwrap();
        assert_eq!(records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [5, 6]);
        let fragment = records[0].fragments().unwrap()[0];
        assert_eq!(
            (fragment.message, fragment.message_sequence, fragment.is_whole()),
            (CLIENT_HELLO, 1, true)
        );
        assert_eq!(fragment.client_random(), Some(&[7; 32][..]));
    }

    #[test]
    fn sequences_of_plain_records_are_moved() {
        let mut datagram = handshake_record(DTLS_1_0, 1, CLIENT_HELLO, 0, &[7; 40]);
        let mut sealed = handshake_record(DTLS_1_2, 0, 20, 2, &[1]);
        sealed[4] = 1;
        datagram.extend(sealed);
        move_sequences(&mut datagram, 0x1_0000);
        let sequences: Vec<_> = records(&datagram).unwrap().iter().map(|record| record.sequence).collect();
        assert_eq!(sequences, [0x1_0001, 0]);
    }

    #[test]
    fn what_is_cut_off_is_not_dtls() {
        let datagram = handshake_record(DTLS_1_0, 5, CLIENT_HELLO, 1, &[7; 40]);
        for length in 0..datagram.len() {
            assert_eq!(records(&datagram[..length]), Err(Ignored::NotDtls));
        }
    }
}
