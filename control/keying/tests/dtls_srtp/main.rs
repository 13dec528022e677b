//! Handshakes: the gateway's with itself over a bad network, and with OpenSSL's own tools.

mod clock;
mod cookies;
mod fingerprints;
mod handshake;
mod hostile;
mod openssl;
mod relay;
mod resumption;
