//! Every order in which producer and consumer may meet, by loom: nothing is lost, changed or repeated, and a consumer
//! that sleeps is woken.

use std::sync::Arc;

use loom::sync::Notify;

/// What the ring works on here.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[allow(dead_code, unreachable_pub)]
#[path = "../src/layout.rs"]
mod layout;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/queue.rs"]
mod queue;

use layout::{Geometry, TO_APPLICATION};
use queue::{Consumer, Producer, Words};

const PACKETS: u8 = 3;

#[derive(Clone)]
struct Memory(Arc<Vec<sync::AtomicU64>>);

impl Words for Memory {
    fn words(&self) -> &[sync::AtomicU64] {
        &self.0
    }
}

/// Two slots: the third packet is written over the first one.
fn ring() -> (Producer<Memory>, Consumer<Memory>) {
    let geometry = Geometry::new(2, 64).unwrap();
    // Only what a ring touches is modelled: control lines and slots.
    let words = (0..geometry.bytes() / 8).map(|_| sync::AtomicU64::new(0));
    let (memory, lane) = (Memory(Arc::new(words.collect())), geometry.lane(TO_APPLICATION));
    (Producer::new(memory.clone(), lane), Consumer::new(memory, lane))
}

fn take(consumer: &mut Consumer<Memory>) -> Option<u8> {
    let mut packet = [0; 8];
    let length = consumer.peek().unwrap()?;
    consumer.read(&mut packet);
    assert_eq!(packet[..length], [packet[0]; 3]);
    consumer.advance();
    consumer.release();
    Some(packet[0])
}

#[test]
fn a_consumer_that_sleeps_is_woken_and_gets_everything_once_and_in_order() {
    let mut model = loom::model::Builder::new();
    // Without a bound it takes minutes, and finds nothing more.
    model.preemption_bound = Some(2);
    model.max_branches = 10_000;
    model.check(|| {
        let (mut producer, mut consumer) = ring();
        let wake = loom::sync::Arc::new(Notify::new());
        let waker = loom::sync::Arc::clone(&wake);
        let thread = loom::thread::spawn(move || {
            let mut refused = 0;
            for packet in 1..=PACKETS {
                while producer.put(&[packet; 3]).is_err() {
                    refused += 1;
                    loom::thread::yield_now();
                }
                if producer.publish() {
                    waker.notify();
                }
            }
            refused
        });
        let mut expected = 1;
        while expected <= PACKETS {
            match take(&mut consumer) {
                Some(packet) => {
                    assert_eq!(packet, expected);
                    expected += 1;
                }
                // With a lost wake-up it would sleep for ever, which loom reports.
                None if consumer.arm() => wake.wait(),
                None => {}
            }
        }
        assert_eq!(take(&mut consumer), None);
        thread.join().unwrap();
    });
}
