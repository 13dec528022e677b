//! What this host can do, found out without changing anything: for `sluice doctor`.

mod ethtool;
mod netdev;

use std::path::Path;
use std::{fs, io};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

pub use ethtool::{Channels, FlowHash, Nic, UdpFlow};
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

/// The NUMA node of an interface, by its folder in sysfs (`/sys/class/net/NAME`): that of its device, or of what the
/// device hangs on (a virtio card on its PCI card), or of the interface below (VLAN, bond). `None` without a device,
/// and where the kernel knows no node (it says -1).
pub fn numa_node(folder: &Path) -> Option<usize> {
    let read = |device: &Path| fs::read_to_string(device.join("numa_node")).ok()?.trim().parse().ok();
    let of_device = |folder: &Path| fs::canonicalize(folder.join("device")).ok()?.ancestors().find_map(read);
    let is_lower = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("lower_");
    let mut below = fs::read_dir(folder).ok()?.flatten().filter(is_lower);
    of_device(folder).or_else(|| below.find_map(|lower| of_device(&lower.path())))
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
    fn what_is_hashed_of_flows_is_told_or_refused() {
        let nic = Nic::open("lo").unwrap();
        for flow in [UdpFlow::V4, UdpFlow::V6] {
            assert!(nic.flow_hash(flow).is_err(), "lo hashes nothing");
        }
    }

    #[test]
    fn the_node_of_a_card_is_found_above_its_device_and_below_a_bond() {
        let root = std::env::temp_dir().join(format!("sluice-node-{}", std::process::id()));
        let (card, virtio) = (root.join("devices/pci/card"), root.join("devices/pci/card/virtio0"));
        let net = |name: &str| root.join("net").join(name);
        for folder in [&virtio, &net("eth0"), &net("bond0"), &net("lo")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(card.join("numa_node"), "1\n").unwrap();
        std::os::unix::fs::symlink(&virtio, net("eth0").join("device")).unwrap();
        std::os::unix::fs::symlink(net("eth0"), net("bond0").join("lower_eth0")).unwrap();
        let found = ["eth0", "bond0", "lo"].map(|name| numa_node(&net(name)));
        fs::write(card.join("numa_node"), "-1\n").unwrap();
        let unknown = numa_node(&net("eth0"));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((found, unknown), ([Some(1), Some(1), None], None));
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(Nic::open("no-such-interface-name").is_err());
        assert!(xdp_features(u32::MAX).is_err());
    }
}
