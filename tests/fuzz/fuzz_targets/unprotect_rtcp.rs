//! SRTCP from an attacker, and streams that the input directs: see `srtp.rs`.
#![no_main]

#[path = "../srtp.rs"]
mod srtp;

libfuzzer_sys::fuzz_target!(|input: &[u8]| srtp::run(sluice_srtp::Kind::Rtcp, input));
