//! Puts a server's first message together, before it is known who answers it.

use super::Ignored;
use super::hello::ClientHello;
use super::wire::{CLIENT_HELLO, Fragment, Record};

/// Octets of the longest `ClientHello`: ones with keys against quantum computers have two thousand.
const MAX_HELLO: usize = 8 * 1024;
/// Datagrams that one may come in.
const MAX_DATAGRAMS: usize = 16;

/// Datagrams of a `ClientHello`, which are given to who answers once it is whole. At most so many are kept.
#[derive(Default)]
pub(super) struct Collector {
    datagrams: Vec<Vec<u8>>,
    /// Message number and length of the one that is put together.
    of: Option<(u16, usize)>,
    sequence: u64,
    body: Vec<u8>,
    /// Which octets are there.
    covered: Vec<bool>,
}

/// What was put together.
pub(super) struct Collected {
    pub(super) hello: ClientHello,
    pub(super) datagrams: Vec<Vec<u8>>,
    /// The sequence number of the record that it began in.
    pub(super) sequence: u64,
}

impl Collector {
    /// Takes a datagram; what was asked for once it is whole.
    pub(super) fn take(
        &mut self,
        datagram: &[u8],
        records: &[Record<'_>],
    ) -> Result<Option<Collected>, Ignored> {
        let mut taken = false;
        for record in records {
            for fragment in record.fragments()? {
                taken |= self.take_fragment(&fragment, record.sequence)?;
            }
        }
        if !taken {
            return Err(Ignored::NoHandshake);
        }
        if self.datagrams.len() == MAX_DATAGRAMS {
            // A peer that sends the same piece again and again begins anew.
            *self = Self::default();
            return Err(Ignored::TooLong);
        }
        self.datagrams.push(datagram.to_vec());
        if !self.covered.iter().all(|covered| *covered) {
            return Ok(None);
        }
        let whole = std::mem::take(self);
        let hello = ClientHello::read(&whole.body).ok_or(Ignored::NotDtls)?;
        Ok(Some(Collected { hello, datagrams: whole.datagrams, sequence: whole.sequence }))
    }

    fn take_fragment(&mut self, fragment: &Fragment<'_>, sequence: u64) -> Result<bool, Ignored> {
        if fragment.message != CLIENT_HELLO {
            return Ok(false);
        }
        if fragment.length > MAX_HELLO {
            return Err(Ignored::TooLong);
        }
        let of = Some((fragment.message_sequence, fragment.length));
        let another = fragment.offset == 0 && self.covered.first() == Some(&true) && {
            let overlap = fragment.bytes.len().min(self.body.len());
            self.body[..overlap] != fragment.bytes[..overlap]
        };
        if self.of != of || another {
            *self = Self {
                of,
                body: vec![0; fragment.length],
                covered: vec![false; fragment.length],
                ..Self::default()
            };
        }
        if fragment.offset == 0 {
            self.sequence = sequence;
        }
        let place = fragment.offset..fragment.offset + fragment.bytes.len();
        self.body[place.clone()].copy_from_slice(fragment.bytes);
        self.covered[place].fill(true);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hello::tests::body;
    use super::super::wire::{DTLS_1_0, handshake_record, records};
    use super::*;

    fn take(collector: &mut Collector, datagram: &[u8]) -> Result<Option<Collected>, Ignored> {
        collector.take(datagram, &records(datagram).unwrap())
    }

    /// The second piece of a `ClientHello` and the first one.
    fn pieces(random: u8) -> [Vec<u8>; 2] {
        let body = body(random, &[], &[]);
        let piece = |offset: usize, bytes: &[u8]| {
            let mut record = handshake_record(DTLS_1_0, 0, CLIENT_HELLO, 0, bytes);
            record[14..17].copy_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
            record[19..22].copy_from_slice(&(offset as u32).to_be_bytes()[1..]);
            record
        };
        [piece(36, &body[36..]), piece(0, &body[..36])]
    }

    #[test]
    fn pieces_come_in_any_order_and_more_than_once() {
        let mut collector = Collector::default();
        let [second, first] = pieces(5);
        assert!(take(&mut collector, &second).unwrap().is_none());
        assert!(take(&mut collector, &second).unwrap().is_none());
        let collected = take(&mut collector, &first).unwrap().unwrap();
        assert_eq!(collected.hello.random, [5; 32]);
        assert_eq!(collected.datagrams.len(), 3);
    }

    #[test]
    fn another_one_begins_anew() {
        let mut collector = Collector::default();
        assert!(take(&mut collector, &pieces(5)[1]).unwrap().is_none());
        let [second, first] = pieces(6);
        assert!(take(&mut collector, &first).unwrap().is_none());
        assert_eq!(take(&mut collector, &second).unwrap().unwrap().hello.random, [6; 32]);
    }

    #[test]
    fn no_more_is_kept_than_a_hello_needs() {
        let mut collector = Collector::default();
        let [second, _] = pieces(5);
        for _ in 0..1000 {
            let _ = take(&mut collector, &second);
            assert!(collector.datagrams.len() <= MAX_DATAGRAMS);
        }
        let long = handshake_record(DTLS_1_0, 0, CLIENT_HELLO, 0, &vec![0; MAX_HELLO + 1]);
        assert_eq!(take(&mut collector, &long).err(), Some(Ignored::TooLong));
    }
}
