//! What an interface's driver says of XDP: the kernel's generic netlink family `netdev` (Linux 6.3).

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

const NETLINK_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const MESSAGE_ERROR: u16 = 2;
const REQUEST: u16 = 1;
/// The controller, which knows the other families' numbers.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const DEVICE_GET: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_FEATURES: u16 = 3;

/// What a driver can do (linux/netdev.h, `netdev_xdp_act`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    /// Runs XDP programs in the driver (native mode).
    pub const fn native(self) -> bool {
        self.0 & 1 != 0
    }

    /// Redirects frames, as to AF_XDP sockets.
    pub const fn redirect(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// AF_XDP without copies.
    pub const fn zero_copy(self) -> bool {
        self.0 & 1 << 3 != 0
    }

    /// Frames in several buffers: an MTU above one page.
    pub const fn fragments(self) -> bool {
        self.0 & 1 << 5 != 0
    }
}

/// Asks the kernel what an interface's driver can do. `Unsupported`: the kernel does not tell.
pub fn xdp_features(ifindex: u32) -> io::Result<XdpFeatures> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = ask(&socket, CONTROLLER, GET_FAMILY, FAMILY_NAME, b"netdev\0").map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound { io::ErrorKind::Unsupported.into() } else { error }
    })?;
    let family = attribute(&family, FAMILY_ID).and_then(|bytes| bytes.first_chunk().copied());
    let family = family.map(u16::from_ne_bytes).ok_or_else(malformed)?;
    let device = ask(&socket, family, DEVICE_GET, DEVICE_INDEX, &ifindex.to_ne_bytes())?;
    let features = attribute(&device, DEVICE_FEATURES).and_then(|bytes| bytes.first_chunk().copied());
    features.map(u64::from_ne_bytes).map(XdpFeatures).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::other("netlink answered with another message than asked for")
}

/// One request with one attribute; the attributes of the answer.
fn ask(socket: &Socket, family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let attribute = 4 + value.len();
    let length = NETLINK_HEADER + GENERIC_HEADER + attribute.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    // Sequence and port numbers: one question at a time needs none.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(&(attribute as u16).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(length, 0);
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    payload(&answer)
}

/// The attributes of an answer, or the error that it is.
fn payload(answer: &[u8]) -> io::Result<Vec<u8>> {
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    if kind == Some(MESSAGE_ERROR) {
        let code = answer.get(NETLINK_HEADER..).and_then(|b| b.first_chunk().copied());
        let code = code.map(i32::from_ne_bytes).ok_or_else(malformed)?;
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    answer.get(NETLINK_HEADER + GENERIC_HEADER..).map(<[u8]>::to_vec).ok_or_else(malformed)
}

/// The value of the first attribute of a kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let header: [u8; 4] = attributes.first_chunk().copied()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_never_read_beyond_the_end() {
        let mut bytes = vec![5, 0, 1, 0, 9, 0, 0, 0];
        bytes.extend_from_slice(&[6, 0, 2, 0, 7, 8]);
        assert_eq!(attribute(&bytes, 1), Some(&[9][..]));
        assert_eq!(attribute(&bytes, 2), Some(&[7, 8][..]));
        for cut in 0..bytes.len() {
            assert_eq!(attribute(&bytes[..cut], 2), None);
        }
        assert_eq!(attribute(&[0, 0, 1, 0, 0, 0, 0, 0], 2), None, "a length of nothing ends the walk");
    }
}
