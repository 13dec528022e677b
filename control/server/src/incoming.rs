//! Connections to the API: what the gRPC server accepts from.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;

/// Pause after a failure to accept. Most are for want of descriptors, and would repeat at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that counts until it is dropped.
pub(crate) struct Counted<IO> {
    io: IO,
    _permit: Option<OwnedSemaphorePermit>,
}

/// At most `limit` connections at a time: later ones wait until one ends.
pub(crate) fn limited<IO>(
    incoming: impl Stream<Item = io::Result<IO>>,
    limit: usize,
) -> impl Stream<Item = io::Result<Counted<IO>>> {
    let permits = Arc::new(Semaphore::new(limit));
    incoming.then(move |accepted| {
        let permits = Arc::clone(&permits);
        async move {
            match accepted {
                // Never closed: there is always a permit in the end.
                Ok(io) => Ok(Counted { io, _permit: permits.acquire_owned().await.ok() }),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the API");
                    tokio::time::sleep(PAUSE).await;
                    Err(error)
                }
            }
        }
    })
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<IO: Connected> Connected for Counted<IO> {
    type ConnectInfo = IO::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_to_accept_is_not_repeated_at_once() {
        let failures = [24, 24].map(|code| Err::<(), _>(io::Error::from_raw_os_error(code)));
        let begun = std::time::Instant::now();
        let mut incoming = Box::pin(limited(tokio_stream::iter(failures), 1));
        while let Some(accepted) = incoming.next().await {
            assert!(accepted.is_err());
        }
        assert!(begun.elapsed() >= 2 * PAUSE);
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_waits_for_one_to_end() {
        let mut incoming = Box::pin(limited(tokio_stream::iter([1, 2].map(Ok)), 1));
        let first = incoming.next().await.unwrap().unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(50), incoming.next());
        assert!(waiting.await.is_err());
        drop(first);
        assert_eq!(incoming.next().await.unwrap().unwrap().io, 2);
    }
}
