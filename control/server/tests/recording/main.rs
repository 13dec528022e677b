//! Taps against a real daemon, over io_uring on loopback: what is recorded, for whom, and that nobody else notices.

mod audit;
mod bed;
mod captured;
mod disk;
mod files;
mod gateway;
mod peers;
mod refusal;
#[path = "../api/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the API, which need more of it")]
mod support;
mod undisturbed;

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
