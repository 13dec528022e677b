//! Batched ciphers and MACs for SRTP.
