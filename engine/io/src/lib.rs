//! Frames in and out: AF_XDP, io_uring, memory.

mod packet_io;
pub mod xdp;

pub use packet_io::{Component, Ingress, IoCounters, NextHop, Path, SocketToken, TxMeta, Waker};
