//! Any text as a crypto line: what is read is written and read as the same; keys are as the suite has them; it can
//! be accepted or not, and what accepts it is an answer to it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_keying::sdes::{CryptoLine, MAX_KEYS, MAX_PARAMETERS, match_answer};
use sluice_srtp::{KeyId, MasterKey, SessionKeys};

fuzz_target!(|text: &str| {
    let Ok(line) = CryptoLine::parse(text) else { return };
    let written = line.value();
    assert!(CryptoLine::parse(&written).as_ref() == Ok(&line));
    assert!((1..=MAX_KEYS).contains(&line.inline_keys().len()) && line.parameters().len() <= MAX_PARAMETERS);
    let _ = (format!("{line:?}"), line.fec_keys());
    let Ok(keys) = line.keys() else { return };
    for key in &keys {
        let master = MasterKey::from_concatenated(key.suite, &key.key_salt).expect("its length was checked");
        SessionKeys::derive_with(KeyId(1), &master, &key.options).expect("what is usable can be installed");
    }
    let mut random = |octets: &mut [u8]| octets.fill(0x5a);
    let own = line.accept(4, Some(31), &mut random).expect("it was usable");
    match match_answer(std::slice::from_ref(&line), &own) {
        Ok(accepted) => assert!(accepted == &line),
        Err(error) => assert!(keys.iter().any(|key| key.key_salt[..16] == [0x5a; 16]), "{error}"),
    }
    assert!(match_answer(std::slice::from_ref(&line), &line).is_err(), "it would share its key");
});
