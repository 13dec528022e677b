//! Room in kernel sockets' queues.

use std::net::UdpSocket;

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

/// Octets of datagrams, as the kernel counts them with its own bookkeeping, that a socket which many peers send to may
/// hold: 10 ms of 100,000 packets a second and more.
pub const SHARED_QUEUE: usize = 8 << 20;

/// Gives a socket room for `octets` in its receive queue, beyond `net.core.rmem_max` where this process may
/// (`CAP_NET_ADMIN`). The kernel takes memory only for what is in the queue; less room than asked for is no error.
pub fn widen(socket: &UdpSocket, octets: usize) {
    if set_socket_recv_buffer_size_force(socket, octets).is_err() {
        // As much as rmem_max allows.
        let _ = set_socket_recv_buffer_size(socket, octets);
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::socket_recv_buffer_size;

    use super::*;

    #[test]
    fn a_widened_queue_is_wider() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_socket_recv_buffer_size(&socket, 4096).unwrap();
        let before = socket_recv_buffer_size(&socket).unwrap();
        widen(&socket, SHARED_QUEUE);
        assert!(socket_recv_buffer_size(&socket).unwrap() > before);
    }
}
