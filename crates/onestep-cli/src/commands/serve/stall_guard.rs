//! A connection that gives up on a client that takes what we send too slowly.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use super::activity::Activity;

/// Passes everything through and reports it; a write is an error once the client is too far behind its pace. Reading has its own
/// time limit in the server.
pub struct StallGuard {
    inner: TcpStream,
    activity: Arc<Activity>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl StallGuard {
    /// Watches over a connection.
    pub fn new(inner: TcpStream, activity: Arc<Activity>) -> Self {
        Self { inner, activity, deadline: None }
    }

    /// Keeps or starts the clock while a write waits, stops it when one gets through.
    fn timed(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = outcome {
            self.deadline = None;
            self.activity.took(*result.as_ref().unwrap_or(&0));
            return Poll::Ready(result);
        }
        let until = self.activity.blocked();
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for StallGuard {
    fn drop(&mut self) {
        if self.activity.is_blocked() {
            // The system would otherwise keep what was sent for as long as the client pleases.
            let _ = self.inner.set_zero_linger();
        }
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.timed(context, outcome)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write_vectored(context, parts);
        this.timed(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;
    use crate::commands::serve::activity::Pace;

    /// Sends without end to a client that takes this many bytes every 10 milliseconds; the error with which it ends.
    async fn send(bytes: usize) -> io::ErrorKind {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let pace = Pace { bytes_per_second: 1 << 30, window: Duration::from_millis(300) };
        let mut guarded = StallGuard::new(server, Activity::new(pace));
        tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            loop {
                sleep(Duration::from_millis(10)).await;
                if bytes > 0 && client.read_exact(&mut taken).await.is_err() {
                    break;
                }
            }
        });
        let chunk = vec![0; 1 << 20];
        loop {
            if let Err(error) = guarded.write_all(&chunk).await {
                return error.kind();
            }
        }
    }

    #[test]
    fn a_client_that_takes_nothing_or_little_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(send(0).await, io::ErrorKind::TimedOut);
            assert_eq!(send(1000).await, io::ErrorKind::TimedOut);
        });
    }
}
