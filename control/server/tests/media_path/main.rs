//! Handshakes and connectivity checks in the media path: a real daemon, media over io_uring on loopback, and peers that are
//! made of the same machines on sockets of their own.
#![allow(unreachable_pub, reason = "a test, not a library")]

#[path = "../api/support.rs"]
#[expect(dead_code, reason = "of a module for other tests")]
mod support;

#[path = "../signalling/phone.rs"]
#[expect(dead_code, reason = "of a module for other tests")]
mod phone;

mod bed;
mod by_hand;
mod calls;
mod closing;
mod hostile;
mod peer;
mod rekeying;
