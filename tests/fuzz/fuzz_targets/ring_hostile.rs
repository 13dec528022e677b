//! Both of the gateway's ends over memory that an application writes whatever it likes to, whenever it likes: nothing
//! panics, no packet is larger than a slot, no batch is larger than a ring, and an end writes to its own words only.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use sluice_ring::{Consumer, Geometry, Producer, TO_APPLICATION, TO_GATEWAY};

const SLOTS: usize = 4;
/// Words before the slots that are in use.
const CONTROL: usize = 112;

fuzz_target!(|data: &[u8]| {
    let geometry = Geometry::new(SLOTS, 64).unwrap();
    let memory: Arc<[AtomicU64]> = (0..geometry.bytes() / 8).map(|_| AtomicU64::new(0)).collect();
    let mut producer = Producer::new(Arc::clone(&memory), geometry.lane(TO_APPLICATION));
    let mut consumer = Consumer::new(Arc::clone(&memory), geometry.lane(TO_GATEWAY));
    for step in data.chunks_exact(10) {
        let (place, act) = (usize::from(step[0]), step[1]);
        let value = u64::from_le_bytes(step[2..].try_into().unwrap());
        let place = if act & 1 == 0 { place % CONTROL } else { 512 + place % (memory.len() - 512) };
        memory[place].store(value, Ordering::Relaxed);
        let before: Vec<u64> = memory.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let packet = [act; 60];
        let put = producer.put(&packet[..usize::from(act) % 61]).is_ok();
        let _ = producer.publish();
        let mut taken = 0;
        while let Ok(Some(length)) = consumer.peek() {
            let mut into = [0xa5; 64];
            consumer.read(&mut into[..length]);
            assert!(length <= geometry.largest() && into[length..].iter().all(|octet| *octet == 0xa5));
            consumer.advance();
            taken += 1;
            assert!(taken <= SLOTS);
        }
        consumer.release();
        consumer.arm();
        for (place, (word, before)) in memory.iter().zip(before).enumerate() {
            let slots = 512..512 + SLOTS * 8;
            // The producer's tail and slots; the consumer's head and its sleep.
            let ours = place == 16 || place == 80 || place == 96 || (put && slots.contains(&place));
            assert!(ours || word.load(Ordering::Relaxed) == before, "word {place} was written to");
        }
    }
});
