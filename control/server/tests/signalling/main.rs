//! Calls through the service `Signalling`: a real daemon, with media over io_uring on loopback.
#![allow(unreachable_pub, reason = "a test, not a library")]

#[path = "../api/support.rs"]
#[expect(dead_code, reason = "of a module for other tests")]
mod support;

mod bad_input;
mod calls;
mod desk;
mod early_media;
mod forking;
mod identity;
mod phone;
mod random;
mod rekeying;
mod reoffers;
mod repeats;
mod sharing;
