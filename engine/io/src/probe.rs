//! What this host can do, found out without changing anything: for `sluice doctor`.

mod ethtool;
mod netdev;

use std::io;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

pub use ethtool::{Channels, Nic};
pub use netdev::{XdpFeatures, xdp_features};

use crate::uring::{UringError, UringIo};
use crate::{Pool, PoolConfig};

/// Opens an io_uring as a worker would, and closes it.
pub fn io_uring() -> Result<(), UringError> {
    let config = PoolConfig { small: 64, large: 64 };
    let mut pool = Pool::new(config).map_err(|error| UringError::Setup(io::Error::other(error)))?;
    UringIo::new(&mut pool)?.close(&mut pool);
    Ok(())
}

/// Opens an AF_XDP socket without binding it, and closes it.
pub fn af_xdp_socket() -> io::Result<()> {
    socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    Ok(())
}

/// Loads the XDP program through the verifier without attaching it, and unloads it.
pub fn xdp_program() -> Result<(), crate::xdp::XdpError> {
    crate::xdp::Xdp::load(16).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_uring_here_is_usable_or_says_why_not() {
        if let Err(error) = io_uring() {
            assert!(error.to_string().len() > 20, "{error}");
        }
    }

    #[test]
    fn the_loopback_interface_has_no_queues_to_set_and_one_queue() {
        let nic = Nic::open("lo").unwrap();
        assert_eq!(nic.driver().ok().as_deref(), None, "lo has no driver");
        assert!(nic.channels().is_err());
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(Nic::open("no-such-interface-name").is_err());
        assert!(xdp_features(u32::MAX).is_err());
    }
}
