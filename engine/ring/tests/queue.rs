//! A ring against a model of it, and against whatever else may be in its memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use sluice_ring::{Broken, Consumer, Geometry, Lane, Producer, PutError, TO_APPLICATION, TO_GATEWAY, Words};

const SLOTS: usize = 8;
type Memory = Arc<[AtomicU64]>;

fn geometry() -> Geometry {
    Geometry::new(SLOTS, 64).unwrap()
}

fn memory() -> Memory {
    (0..geometry().bytes() / 8).map(|_| AtomicU64::new(0)).collect()
}

fn ring(memory: &Memory, lane: Lane) -> (Producer<Memory>, Consumer<Memory>) {
    (Producer::new(Arc::clone(memory), lane), Consumer::new(Arc::clone(memory), lane))
}

fn take(consumer: &mut Consumer<Memory>) -> Result<Option<Vec<u8>>, Broken> {
    let Some(length) = consumer.peek()? else { return Ok(None) };
    let mut packet = vec![0; length];
    consumer.read(&mut packet);
    consumer.advance();
    Ok(Some(packet))
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>),
    Publish,
    Take,
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..70).prop_map(Step::Put),
        2 => Just(Step::Publish),
        4 => Just(Step::Take),
        2 => Just(Step::Release),
    ]
}

proptest! {
    #[test]
    fn a_ring_is_a_queue_with_a_bound(steps in prop::collection::vec(step(), 0..200)) {
        let memory = memory();
        let (mut producer, mut consumer) = ring(&memory, geometry().lane(TO_GATEWAY));
        // Put; known to the consumer; taken and not given back yet.
        let (mut put, mut known, mut taken) = (VecDeque::new(), VecDeque::new(), 0);
        for step in steps {
            match step {
                Step::Put(packet) => {
                    let full = put.len() + known.len() + taken >= SLOTS;
                    let expected = match packet.len() {
                        57.. => Err(PutError::TooLarge),
                        _ if full => Err(PutError::Full),
                        _ => Ok(()),
                    };
                    prop_assert_eq!(producer.put(&packet), expected);
                    if expected.is_ok() {
                        put.push_back(packet);
                    }
                }
                Step::Publish => {
                    prop_assert!(!producer.publish(), "nobody sleeps");
                    known.extend(put.drain(..));
                }
                Step::Take => {
                    let expected = known.pop_front();
                    taken += usize::from(expected.is_some());
                    prop_assert_eq!(take(&mut consumer), Ok(expected));
                }
                Step::Release => {
                    consumer.release();
                    taken = 0;
                }
            }
        }
    }

    /// Any word of the memory may become any other at any time.
    #[test]
    fn hostile_memory_changes_data_or_breaks_the_ring_and_nothing_else(
        writes in prop::collection::vec((any::<u16>(), any::<u64>(), any::<u8>()), 0..300)
    ) {
        let memory = memory();
        let (mut producer, mut consumer) = (ring(&memory, geometry().lane(TO_APPLICATION)).0,
            ring(&memory, geometry().lane(TO_GATEWAY)).1);
        for (place, value, act) in writes {
            // Control lines more often than slots; small values more often than large ones.
            let place = if act & 1 == 0 { usize::from(place) % 112 } else { usize::from(place) % memory.len() };
            let value = if act & 2 == 0 { value % 20 } else { value };
            memory[place].store(value, Ordering::Relaxed);
            for _ in 0..3 {
                let _ = producer.put(&[act; 56]);
            }
            let _ = producer.publish();
            let before = memory.iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>();
            for _ in 0..=SLOTS {
                if let Ok(Some(packet)) = take(&mut consumer) {
                    prop_assert!(packet.len() <= geometry().largest());
                }
            }
            consumer.release();
            let _ = consumer.arm();
            // The consumer has written to its own index and its flag at most.
            let changed = memory.iter().zip(&before).enumerate()
                .filter(|(_, (word, before))| word.load(Ordering::Relaxed) != **before)
                .map(|(place, _)| place).collect::<Vec<_>>();
            prop_assert!(changed.iter().all(|place| [80, 96].contains(place)), "{changed:?}");
        }
    }
}

#[test]
fn a_consumer_takes_no_more_than_a_ring_has_whatever_its_producer_says() {
    let memory = memory();
    let lane = geometry().lane(TO_GATEWAY);
    let (_, mut consumer) = ring(&memory, lane);
    for tail in [SLOTS as u64 + 1, u64::MAX] {
        memory[64].store(tail, Ordering::Relaxed);
        let broken = Broken::Tail { index: tail, from: 0, to: SLOTS as u64 };
        assert_eq!(consumer.peek(), Err(broken));
    }
    memory[64].store(SLOTS as u64, Ordering::Relaxed);
    let mut taken = 0;
    while take(&mut consumer).unwrap().is_some() {
        taken += 1;
    }
    assert_eq!(taken, SLOTS);
    consumer.release();
    memory[64].store(3, Ordering::Relaxed);
    assert!(
        matches!(consumer.peek(), Err(Broken::Tail { index: 3, from: 8, .. })),
        "an index that goes back"
    );
}

#[test]
fn a_length_beyond_the_slot_breaks_the_ring() {
    let memory = memory();
    let (mut producer, mut consumer) = ring(&memory, geometry().lane(TO_APPLICATION));
    producer.put(b"packet").unwrap();
    assert!(!producer.publish());
    memory[512].store(57, Ordering::Relaxed);
    assert_eq!(consumer.peek(), Err(Broken::Length { length: 57, room: 56 }));
}

#[test]
fn a_producer_writes_over_nothing_whatever_its_consumer_says() {
    let memory = memory();
    let (mut producer, _) = ring(&memory, geometry().lane(TO_APPLICATION));
    for packet in 0..SLOTS as u8 {
        producer.put(&[packet]).unwrap();
    }
    for head in [SLOTS as u64, u64::MAX] {
        memory[32].store(head, Ordering::Relaxed);
        let broken = Broken::Head { index: head, from: 0, to: 0 };
        assert_eq!(producer.put(&[9]), Err(broken.into()), "none of them was published");
    }
    memory[32].store(0, Ordering::Relaxed);
    assert_eq!(producer.put(&[9]), Err(PutError::Full));
}

#[test]
fn the_first_to_publish_for_a_sleeper_wakes_it_and_the_next_ones_do_not() {
    let memory = memory();
    let (mut producer, mut consumer) = ring(&memory, geometry().lane(TO_APPLICATION));
    let publish = |producer: &mut Producer<_>| {
        producer.put(b"x").unwrap();
        producer.publish()
    };
    assert!(!publish(&mut producer), "nobody sleeps");
    assert!(!consumer.arm(), "something is there");
    take(&mut consumer).unwrap();
    assert!(consumer.arm());
    assert!(!producer.publish(), "nothing new");
    assert!(publish(&mut producer));
    assert!(!publish(&mut producer), "it was woken");
    assert!(!consumer.arm() && take(&mut consumer).unwrap().is_some());
    assert!(memory.words()[48].load(Ordering::Relaxed) == 0, "it is awake");
}
