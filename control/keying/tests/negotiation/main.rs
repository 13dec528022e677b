//! Negotiations between two peers through the gateway, as SDP in and SDP out.

mod any;
mod best_effort_peers;
mod bundles;
mod dtls;
mod dtls_forms;
mod dtls_reoffers;
mod forms;
mod ice;
mod lines;
mod media_path_peers;
mod peers;
mod refusals;
mod reoffers;
mod support;
mod vectors;
