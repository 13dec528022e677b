//! Where the API listens: a Unix socket, and TCP with mutual TLS if configured.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::StartError;
use crate::config::{Api, Tcp};

/// Time that a client has for the TLS handshake: until then it is nobody, and holds a descriptor.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A bound Unix socket; its file goes with it.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds the Unix socket. A file that a dead daemon left is replaced; a live one's is not.
pub(crate) fn unix(api: &Api) -> Result<(UnixListener, SocketFile), StartError> {
    let path = &api.socket.0;
    let failed = |source| StartError::Socket { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    clear_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile(path.clone());
    let mode = std::fs::Permissions::from_mode(api.socket_mode.0);
    std::fs::set_permissions(path, mode).map_err(failed)?;
    Ok((listener, file))
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
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Reads the certificates of the TCP listener.
pub(crate) fn tls(tcp: &Tcp) -> Result<ServerTlsConfig, StartError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| StartError::Certificate { path: path.to_owned(), source })
    };
    let identity = Identity::from_pem(read(&tcp.certificate.0)?, read(&tcp.key.0)?);
    let authority = Certificate::from_pem(read(&tcp.client_ca.0)?);
    Ok(ServerTlsConfig::new().identity(identity).client_ca_root(authority).timeout(HANDSHAKE))
}
