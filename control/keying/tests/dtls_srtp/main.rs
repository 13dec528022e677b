//! Handshakes: the gateway's with itself over a bad network, and with OpenSSL's own tools.

mod clock;
mod handshake;
mod relay;
