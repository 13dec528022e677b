//! Any text as a key management message: what is read is written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_keying::keymgmt::KeyMgmt;

fuzz_target!(|text: &str| {
    let Ok(message) = KeyMgmt::parse(text) else { return };
    assert!(!message.protocol().is_empty());
    assert!(KeyMgmt::parse(&message.value()).as_ref() == Ok(&message));
    if let Ok(octets) = message.message() {
        assert!(octets.len() <= text.len());
    }
});
