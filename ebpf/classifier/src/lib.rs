//! What a datagram is: the one classifier that the XDP program and user space share.
#![no_std]
