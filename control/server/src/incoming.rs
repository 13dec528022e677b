//! Connections to the API: what the gRPC server accepts from.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;

use crate::access::{Connection, Link};

/// Pause after a failure to accept. Most are for want of descriptors, and would repeat at once.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection may take to say that it speaks HTTP/2: until then it is nobody, and holds a place.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets by which it does.
const PREFACE: usize = 24;

/// A connection that counts until it is dropped.
pub(crate) struct Counted<IO> {
    io: IO,
    connection: Arc<Connection>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A connection that speaks HTTP/2, or is cut off: what comes by it is in the clear, so that TLS is below it.
pub(crate) struct Greeted<IO> {
    io: IO,
    /// Until it has said enough.
    greeting: Option<Greeting>,
}

/// What a connection has yet to say of the client's preface (RFC 9113 section 3.4), and by when.
struct Greeting {
    missing: usize,
    end: Pin<Box<Sleep>>,
}

impl<IO> Greeted<IO> {
    /// One that may say it from now on.
    pub(crate) fn new(io: IO) -> Self {
        Self::within(PATIENCE, io)
    }

    fn within(patience: Duration, io: IO) -> Self {
        let greeting = Greeting { missing: PREFACE, end: Box::pin(tokio::time::sleep(patience)) };
        Self { io, greeting: Some(greeting) }
    }
}

/// As many connections at a time as there are permits: later ones wait until one ends. Each may make so many requests a second.
pub(crate) fn limited<IO>(
    incoming: impl Stream<Item = io::Result<IO>>,
    permits: Arc<Semaphore>,
    requests_per_second: Option<u32>,
) -> impl Stream<Item = io::Result<Counted<IO>>> {
    incoming.then(move |accepted| {
        let permits = Arc::clone(&permits);
        async move {
            match accepted {
                Ok(io) => {
                    // Never closed: there is always a permit in the end.
                    let permit = permits.acquire_owned().await.ok();
                    let connection = Arc::new(Connection::new(requests_per_second));
                    Ok(Counted { io, connection, _permit: permit })
                }
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

impl<IO: AsyncRead + Unpin> AsyncRead for Greeted<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let Some(greeting) = &mut self.greeting else { return read };
        greeting.missing = greeting.missing.saturating_sub(buf.filled().len() - before);
        if greeting.missing == 0 {
            self.greeting = None;
            return read;
        }
        match greeting.end.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => read,
        }
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

impl<IO: AsyncWrite + Unpin> AsyncWrite for Greeted<IO> {
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
    type ConnectInfo = Link<IO::ConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Link { peer: self.io.connect_info(), connection: Arc::clone(&self.connection) }
    }
}

impl<IO: Connected> Connected for Greeted<IO> {
    type ConnectInfo = IO::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(1))
    }

    #[tokio::test]
    async fn a_failure_to_accept_is_not_repeated_at_once() {
        let failures = [24, 24].map(|code| Err::<(), _>(io::Error::from_raw_os_error(code)));
        let begun = std::time::Instant::now();
        let mut incoming = Box::pin(limited(tokio_stream::iter(failures), one(), None));
        while let Some(accepted) = incoming.next().await {
            assert!(accepted.is_err());
        }
        assert!(begun.elapsed() >= 2 * PAUSE);
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_waits_for_one_to_end() {
        let mut incoming = Box::pin(limited(tokio_stream::iter([1, 2].map(Ok)), one(), None));
        let first = incoming.next().await.unwrap().unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(50), incoming.next());
        assert!(waiting.await.is_err());
        drop(first);
        assert_eq!(incoming.next().await.unwrap().unwrap().io, 2);
    }

    #[tokio::test]
    async fn a_connection_that_says_too_little_is_cut_off_and_one_that_greets_may_be_silent() {
        use std::io::Write;
        let patience = Duration::from_millis(50);
        for (octets, stays) in [(0, false), (PREFACE - 1, false), (PREFACE, true)] {
            let (mut client, server) = std::os::unix::net::UnixStream::pair().unwrap();
            server.set_nonblocking(true).unwrap();
            let server = tokio::net::UnixStream::from_std(server).unwrap();
            let mut accepted = Greeted::within(patience, server);
            client.write_all(&[b'P'; PREFACE][..octets]).unwrap();
            let read = async {
                loop {
                    let mut said = [0; 64];
                    let mut buffer = ReadBuf::new(&mut said);
                    let poll = |cx: &mut Context| Pin::new(&mut accepted).poll_read(cx, &mut buffer);
                    if let Err(error) = std::future::poll_fn(poll).await {
                        return error.kind();
                    }
                }
            };
            let outcome = tokio::time::timeout(10 * patience, read).await;
            assert_eq!(outcome.ok(), (!stays).then_some(io::ErrorKind::TimedOut), "{octets}");
        }
    }
}
