//! Where a link outlives its daemon: a directory per interface in bpffs.
//!
//! The directory is locked while a daemon lives, so that a second one does not take over from the first;
//! the lock goes with the process, however it ends.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};

use super::XdpError;

const BPFFS: &str = "/sys/fs/bpf";
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The locked directory of an interface.
#[derive(Debug)]
pub(super) struct Pin {
    directory: PathBuf,
    _lock: File,
}

impl Pin {
    /// Makes and locks the directory. `Ok(Err(reason))` where this host does not allow it.
    pub(super) fn prepare(interface: &str) -> Result<Result<Self, io::Error>, XdpError> {
        let directory = match ensure_bpffs().and_then(|()| make_directory(interface)) {
            Ok(directory) => directory,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            let lock = match File::open(&directory) {
                Ok(lock) => lock,
                Err(error) => return Ok(Err(error)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(XdpError::InUse { interface: interface.into(), path: directory });
                }
                Err(TryLockError::Error(error)) => return Ok(Err(error)),
            }
            // A daemon that was just stopping may have removed the directory between the two steps.
            if still_there(&lock, &directory) {
                return Ok(Ok(Self { directory, _lock: lock }));
            }
            if let Err(error) = make_directory(interface) {
                return Ok(Err(error));
            }
        }
    }

    /// The path of the pinned link.
    pub(super) fn link(&self) -> PathBuf {
        self.directory.join("link")
    }

    /// Removes the pinned link, if there is one.
    pub(super) fn remove_link(&self) -> Result<(), XdpError> {
        let path = self.link();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(XdpError::Unpin { path, source }),
            _ => Ok(()),
        }
    }

    /// Removes the pinned link and the directory.
    pub(super) fn remove(&self) -> Result<(), XdpError> {
        self.remove_link()?;
        let path = self.directory.clone();
        fs::remove_dir(&path).map_err(|source| XdpError::Unpin { path, source })
    }
}

fn ensure_bpffs() -> io::Result<()> {
    let mounted = || statfs(BPFFS).is_ok_and(|found| found.f_type as u64 == BPF_FS_MAGIC);
    if !mounted() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("bpf", BPFFS, "bpf", flags, None)?;
    }
    Ok(())
}

fn make_directory(interface: &str) -> io::Result<PathBuf> {
    let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
    // bpffs refuses names with a dot, which VLAN interfaces have.
    let name = interface.replace('.', ":");
    let directory = Path::new(BPFFS).join("sluice").join(format!("{namespace}-{name}"));
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    Ok(directory)
}

fn still_there(lock: &File, directory: &Path) -> bool {
    match (lock.metadata(), fs::metadata(directory)) {
        (Ok(held), Ok(named)) => held.ino() == named.ino(),
        _ => false,
    }
}
