//! Frames in and out: AF_XDP, io_uring, memory.

pub mod xdp;
