//! Reaching the gateway, and saying in words why it cannot be reached or what it refused.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use sluice_proto::v1::sluice_client::SluiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::args::Target;

/// A client of the API.
pub(super) type Client = SluiceClient<Channel>;

/// Batches of thousands of legs have answers larger than the default limit of 4 MiB.
const LARGEST_ANSWER: usize = 256 << 20;

pub(super) async fn connect(target: &Target) -> Result<Client> {
    Ok(SluiceClient::new(channel(target).await?).max_decoding_message_size(LARGEST_ANSWER))
}

/// A connection, for a client of any service.
pub(super) async fn channel(target: &Target) -> Result<Channel> {
    match &target.address {
        Some(address) => over_tls(address, target).await,
        None => over_socket(&target.socket).await,
    }
}

async fn over_socket(socket: &Path) -> Result<Channel> {
    let unreachable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow!("{} does not exist: is sluice running? Another socket: --socket", socket.display())
        }
        std::io::ErrorKind::ConnectionRefused => {
            anyhow!("nobody answers on {}: sluice has stopped; start it again", socket.display())
        }
        std::io::ErrorKind::PermissionDenied => anyhow!(
            "{} may not be opened: run as root or as a member of its group, or set api.socket_mode",
            socket.display()
        ),
        _ => anyhow!("{}: {error}", socket.display()),
    };
    // tonic's own error would not say why.
    std::os::unix::net::UnixStream::connect(socket).map_err(unreachable)?;
    let Some(path) = socket.to_str() else { bail!("{} is not UTF-8", socket.display()) };
    let endpoint = Endpoint::try_from(format!("unix:{path}"))?;
    endpoint.connect().await.with_context(|| format!("cannot reach sluice at {path}"))
}

async fn over_tls(address: &str, target: &Target) -> Result<Channel> {
    // With any other scheme the client would leave TLS out, and keys would go in the clear.
    if !address.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        bail!("--address {address}: write https://HOST:PORT; keys never go over TCP without TLS");
    }
    let read = |path: &Option<std::path::PathBuf>| {
        let path = path.as_deref().context("--ca, --certificate and --tls-key go with --address")?;
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let identity = Identity::from_pem(read(&target.certificate)?, read(&target.tls_key)?);
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&target.ca)?));
    let endpoint = Endpoint::from_shared(address.to_owned())?.tls_config(tls.identity(identity))?;
    endpoint.connect().await.with_context(|| format!("cannot reach sluice at {address}"))
}

/// A refusal in words: what was wrong, where, and what to do.
pub(super) fn explain(status: &Status) -> anyhow::Error {
    let kind = match status.code() {
        Code::InvalidArgument => "invalid",
        Code::NotFound => "not found",
        Code::AlreadyExists => "exists already",
        Code::FailedPrecondition => "not possible",
        Code::ResourceExhausted => "limit reached",
        Code::Unavailable => "unavailable",
        Code::PermissionDenied => "not allowed",
        Code::DeadlineExceeded => "too late",
        _ => "failed",
    };
    anyhow!("{kind}: {}", status.message())
}
