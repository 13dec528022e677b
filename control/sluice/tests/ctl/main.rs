//! Proves that `sluice ctl` drives a real daemon, tells people and programs what it did, says what is
//! wrong and what to do about it, and never repeats a key; and that `sluice run` does so at its start.

mod call;
mod daemon;
mod media_path;
mod refusal;
mod signalling;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod tap;
mod tls;
