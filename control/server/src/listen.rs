//! Where the API and rings listen: Unix sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use tokio::net::UnixListener;

use crate::StartError;
use crate::config::{Api, Config};

/// A Unix socket's file. It goes with this value, unless another one stands in its place by then.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Keeps a second daemon from starting on the same socket, whatever became of the socket's file. The
/// system releases it when the process ends, and its file stays: removed, it could be locked twice.
pub(crate) struct Lock {
    _file: OwnedFd,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, StartError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |error: Errno| StartError::Socket { path: path.clone(), source: error.into() };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(StartError::AlreadyRunning(socket.to_owned())),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Binds the Unix socket. A file that a dead daemon left is replaced; a live one's is not.
pub(crate) fn unix(api: &Api) -> Result<(UnixListener, SocketFile, Lock), StartError> {
    let path = &api.socket.0;
    let failed = |source| StartError::Socket { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let lock = Lock::take(path)?;
    clear_stale(path)?;
    let listener = bind_closed(path).map_err(failed)?;
    let file = SocketFile::new(path).map_err(failed)?;
    let mode = std::fs::Permissions::from_mode(api.socket_mode.0);
    std::fs::set_permissions(path, mode).map_err(failed)?;
    Ok((listener, file, lock))
}

/// Binds the Unix socket at which local applications ask for rings.
pub(crate) fn rings(config: &Config) -> Result<(OwnedFd, SocketFile), StartError> {
    let path = &config.ring_socket();
    let failed = |source| StartError::Socket { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    clear_stale(path)?;
    let listener = closed(|| sluice_datapath::shared::listen(path)).map_err(failed)?;
    let file = SocketFile::new(path).map_err(failed)?;
    let mode = std::fs::Permissions::from_mode(config.rings.socket_mode.0);
    std::fs::set_permissions(path, mode).map_err(failed)?;
    Ok((listener, file))
}

/// Binds a socket that only its owner can connect to: nobody gets in before its mode is what the
/// configuration says.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
    closed(|| UnixListener::bind(path))
}

fn closed<T>(bind: impl FnOnce() -> T) -> T {
    let before = rustix::process::umask(Mode::XUSR | Mode::RWXG | Mode::RWXO);
    let bound = bind();
    rustix::process::umask(before);
    bound
}

fn clear_stale(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::Socket { path: path.to_owned(), source };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !kind.is_socket() {
        return Err(StartError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(StartError::AlreadyRunning(path.to_owned())),
        // A socket for messages, on which somebody listens.
        Err(error) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
            Err(StartError::AlreadyRunning(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AbsolutePath;

    fn api(folder: &Path) -> Api {
        Api { socket: AbsolutePath(folder.join("sluice.sock")), ..Api::default() }
    }

    #[tokio::test]
    async fn a_daemon_that_stops_leaves_its_successor_s_socket() {
        let folder = tempfile::tempdir().unwrap();
        let api = api(folder.path());
        let path = &api.socket.0;
        let (_listener, file, _lock) = unix(&api).unwrap();
        std::fs::remove_file(path).unwrap();
        let _other = UnixListener::bind(path).unwrap();
        drop(file);
        assert!(path.exists(), "it is another's");
    }

    #[tokio::test]
    async fn a_second_daemon_is_kept_out_even_if_the_socket_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let api = api(folder.path());
        let (listener, file, lock) = unix(&api).unwrap();
        drop((listener, file));
        assert!(!api.socket.0.exists());
        assert!(matches!(unix(&api), Err(StartError::AlreadyRunning(_))), "the first one has yet to end");
        drop(lock);
        assert!(unix(&api).is_ok());
    }

    #[tokio::test]
    async fn a_socket_is_closed_to_others_until_it_has_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sluice.sock");
        let before = rustix::process::umask(Mode::empty());
        let _listener = bind_closed(&path).unwrap();
        let restored = rustix::process::umask(before);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(restored, Mode::empty());
    }
}
