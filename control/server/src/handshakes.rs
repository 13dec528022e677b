//! TLS handshakes of the API's clients, many at a time, each of bounded length.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;

use crate::incoming::Greeted;

/// Time that a client has for the handshake: until then it is nobody, and holds a descriptor. What follows has a time of
/// its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections behind handshakes that succeeded, in the order in which these did. Those that did not are closed.
pub(crate) struct Handshakes<IO> {
    incoming: Pin<Box<dyn Stream<Item = io::Result<IO>> + Send>>,
    tls: TlsAcceptor,
    pending: JoinSet<io::Result<TlsStream<IO>>>,
}

impl<IO> Handshakes<IO> {
    /// None yet.
    pub(crate) fn new(
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        tls: TlsAcceptor,
    ) -> Self {
        Self { incoming: Box::pin(incoming), tls, pending: JoinSet::new() }
    }
}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for Handshakes<IO> {
    type Item = io::Result<Greeted<TlsStream<IO>>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Self::Item>> {
        while let Poll::Ready(accepted) = self.incoming.as_mut().poll_next(cx) {
            match accepted {
                Some(Ok(io)) => {
                    let handshake = self.tls.accept(io);
                    self.pending.spawn(async { tokio::time::timeout(PATIENCE, handshake).await? });
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        while let Poll::Ready(Some(done)) = self.pending.poll_join_next(cx) {
            match done {
                Ok(Ok(io)) => return Poll::Ready(Some(Ok(Greeted::new(io)))),
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake of the API failed"),
                Err(error) => tracing::debug!(%error, "a TLS handshake of the API was interrupted"),
            }
        }
        Poll::Pending
    }
}

/// Handshakes with this certificate chain and key, and clients whose certificates this authority has signed; all PEM.
pub(crate) fn acceptor(certificate: &[u8], key: &[u8], authority: &[u8]) -> Result<TlsAcceptor, String> {
    let certificates = |pem: &[u8]| {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        read.map_err(|error| error.to_string())
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(authority)?);
    let clients = WebPkiClientVerifier::builder(roots.into()).build().map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| error.to_string())?;
    let config = ServerConfig::builder().with_client_cert_verifier(clients);
    let mut config =
        config.with_single_cert(certificates(certificate)?, key).map_err(|error| error.to_string())?;
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(TlsAcceptor::from(Arc::new(config)))
}
