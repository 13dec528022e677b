//! Datagrams that arrive at a worker which does not own their leg, on their way to the worker that does.
//!
//! A frame belongs to its worker's pool and cannot leave it. What travels is a copy in a parcel; a fixed
//! number of parcels circulates between the two queues of the receiving worker, so that nothing is
//! allocated and nothing grows.
//!
//! ```text
//!            ┌── empty ◀── take ──┐
//!  other workers                  owner
//!            └─ put ──▶ filled ───┘
//! ```

use crossbeam::queue::ArrayQueue;
use sluice_io::Ingress;

/// Bytes of a datagram that a parcel holds. Only AF_XDP delivers to the wrong worker, and its frames
/// are chunks of 4 KiB.
pub(crate) const PARCEL_BYTES: usize = 4096;

struct Parcel {
    ingress: Option<Ingress>,
    len: usize,
    bytes: [u8; PARCEL_BYTES],
}

/// Why a datagram could not be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The owner does not keep up.
    Full,
    /// Larger than a parcel.
    TooLarge,
}

/// The way into one worker.
pub(crate) struct Handoff {
    empty: ArrayQueue<Box<Parcel>>,
    filled: ArrayQueue<Box<Parcel>>,
}

impl Handoff {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let empty = ArrayQueue::new(capacity);
        for _ in 0..capacity {
            // Always has room: as many parcels as places.
            let _ = empty.push(Box::new(Parcel { ingress: None, len: 0, bytes: [0; PARCEL_BYTES] }));
        }
        Self { empty, filled: ArrayQueue::new(capacity) }
    }

    /// What it takes.
    pub(crate) const fn bytes(capacity: usize) -> usize {
        let capacity = if capacity == 0 { 1 } else { capacity };
        // Each queue has a slot, with a stamp, for every parcel.
        capacity * (size_of::<Parcel>() + 2 * 2 * size_of::<usize>())
    }

    /// Copies a datagram into the queue. The last eighth of it is for what is not RTP: an owner that does not keep up
    /// still hears of its peers' reports.
    pub(crate) fn put(&self, ingress: &Ingress, datagram: &[u8]) -> Result<(), Refused> {
        if datagram.len() > PARCEL_BYTES {
            return Err(Refused::TooLarge);
        }
        if is_rtp(datagram) && self.empty.len() <= self.empty.capacity() / 8 {
            return Err(Refused::Full);
        }
        let mut parcel = self.empty.pop().ok_or(Refused::Full)?;
        parcel.ingress = Some(*ingress);
        parcel.len = datagram.len();
        parcel.bytes[..datagram.len()].copy_from_slice(datagram);
        self.filled.push(parcel).map_err(|_| Refused::Full)
    }

    /// Gives the oldest datagram to `receive`, if there is one.
    pub(crate) fn take<T>(&self, receive: impl FnOnce(&Ingress, &[u8]) -> T) -> Option<T> {
        let mut parcel = self.filled.pop()?;
        let ingress = parcel.ingress.take();
        let result = ingress.map(|ingress| receive(&ingress, &parcel.bytes[..parcel.len]));
        // Always has room: the parcel came from there.
        let _ = self.empty.push(parcel);
        result
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }
}

/// As RFC 7983 §7 and RFC 5761 §4 tell it from all else.
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, kind, ..] if !matches!(kind, 192..=223))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_io::Path;

    #[test]
    fn a_queue_that_takes_no_more_rtp_takes_rtcp() {
        let handoff = Handoff::new(16);
        let (rtp, rtcp) = ([0x80, 0x80, 0, 1], [0x80, 200, 0, 0]);
        let put = |datagram: &[u8]| (0..20).filter(|_| handoff.put(&ingress(), datagram).is_ok()).count();
        assert_eq!((put(&rtp), put(&rtcp)), (14, 2));
        assert_eq!(std::iter::from_fn(|| handoff.take(|_, _| ())).count(), 16);
    }

    fn ingress() -> Ingress {
        Ingress {
            local: ([192, 0, 2, 1], 4000).into(),
            remote: ([192, 0, 2, 2], 5000).into(),
            socket: None,
            path: Path::XdpNative,
            received_at: 7,
        }
    }

    #[test]
    fn datagrams_come_out_as_they_went_in_and_in_order() {
        let handoff = Handoff::new(4);
        handoff.put(&ingress(), b"one").unwrap();
        handoff.put(&ingress(), b"two").unwrap();
        assert_eq!(handoff.take(|from, bytes| (*from, bytes.to_vec())), Some((ingress(), b"one".to_vec())));
        assert_eq!(handoff.take(|_, bytes| bytes.to_vec()), Some(b"two".to_vec()));
        assert!(handoff.is_empty());
    }

    #[test]
    fn a_full_queue_refuses_and_recovers() {
        let handoff = Handoff::new(2);
        handoff.put(&ingress(), &[1]).unwrap();
        handoff.put(&ingress(), &[2]).unwrap();
        assert_eq!(handoff.put(&ingress(), &[3]), Err(Refused::Full));
        handoff.take(|_, _| ()).unwrap();
        handoff.put(&ingress(), &[3]).unwrap();
    }

    #[test]
    fn what_does_not_fit_a_parcel_is_refused() {
        let handoff = Handoff::new(2);
        assert_eq!(handoff.put(&ingress(), &[0; PARCEL_BYTES + 1]), Err(Refused::TooLarge));
        handoff.put(&ingress(), &[0; PARCEL_BYTES]).unwrap();
    }

    #[test]
    fn many_threads_lose_nothing_but_what_is_refused() {
        let handoff = std::sync::Arc::new(Handoff::new(8));
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let handoff = std::sync::Arc::clone(&handoff);
                std::thread::spawn(move || {
                    (0..1000_u32).filter(|n| handoff.put(&ingress(), &n.to_be_bytes()).is_ok()).count()
                })
            })
            .collect();
        let mut taken = 0;
        while senders.iter().any(|sender| !sender.is_finished()) {
            taken += usize::from(handoff.take(|_, _| ()).is_some());
        }
        while handoff.take(|_, _| ()).is_some() {
            taken += 1;
        }
        let put: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert_eq!(taken, put);
        assert!(put > 0);
    }
}
