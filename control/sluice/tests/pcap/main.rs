//! Proves that `sluice pcap` decrypts what ffmpeg and GStreamer encrypt, gives GStreamer (libsrtp)
//! what it can decrypt, undoes what it did itself to the last octet, and says clearly what is wrong
//! with keys and files that are.

mod capture;
mod interop;
mod media;
mod refusal;
mod round_trip;
#[path = "../support/mod.rs"]
mod support;
