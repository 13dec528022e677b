//! Nothing is allocated for a packet, whatever its way; and what is allocated else is what is stated.

#[path = "../../../io/tests/host/mod.rs"]
mod host;
mod live;
mod memory;
mod pipeline;
mod ring;
mod support;
