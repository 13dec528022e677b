//! Negotiations between two peers through the gateway, as SDP in and SDP out.

mod any;
mod forms;
mod lines;
mod peers;
mod refusals;
mod reoffers;
mod support;
mod vectors;
