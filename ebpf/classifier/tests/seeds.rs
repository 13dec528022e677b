//! The fuzz targets' first corpus: a few frames and datagrams for each counter.

mod support;

use std::fs;
use std::path::Path;

use sluice_classifier::{Counter, Policy, decide};
use support::datagrams::{Rng, datagram};
use support::frames;

const EACH: usize = 3;

#[test]
#[ignore = "writes tests/fuzz/corpus: cargo test -p sluice-classifier --test seeds -- --ignored"]
fn write_the_fuzz_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
    let mut written = [0; Counter::COUNT];
    for frame in frames::corpus(6, 20_000).iter().filter(|frame| frame.len() < 300) {
        let (_, counter) = decide(frame.as_slice(), frames::lookup);
        write(&corpus.join("classify_frame"), counter.name(), &mut written[counter as usize], frame);
    }
    let mut rng = Rng(7);
    for number in 0..40 {
        let policy = Policy { flags: rng.within(0, 7), payload_types: [rng.next(), rng.next()] };
        let mut seed = vec![policy.flags as u8];
        seed.extend(policy.payload_types.iter().flat_map(|word| word.to_le_bytes()));
        seed.extend(datagram(&mut rng, &policy).iter().take(200));
        write(&corpus.join("classify_datagram"), &format!("seed{number}"), &mut 0, &seed);
    }
}

fn write(folder: &Path, name: &str, written: &mut usize, bytes: &[u8]) {
    if *written < EACH {
        fs::create_dir_all(folder).expect("the folder");
        fs::write(folder.join(format!("{name}-{written}")), bytes).expect("a seed");
        *written += 1;
    }
}
