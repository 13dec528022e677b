//! What the tests of the classifier and of the XDP program share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod datagrams;
pub mod frames;
pub mod oracle;
pub mod pcap;
