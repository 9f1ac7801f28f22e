//! The body of an answer: a short text, or a part of a file read as the client takes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

const CHUNK: usize = 64 << 10;

/// What is sent after the headers.
pub enum FileBody {
    /// A text, until it is sent.
    Text(Option<Bytes>),
    /// So many bytes from where the file stands.
    File {
        /// The open file.
        file: File,
        /// Bytes still to send.
        left: u64,
        /// The permit of a compressed answer.
        _permit: Option<OwnedSemaphorePermit>,
    },
}

impl FileBody {
    /// A short text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        Self::Text((!text.is_empty()).then_some(text))
    }

    /// The next `count` bytes of a file, which keeps `permit` until it is sent.
    pub fn file(file: std::fs::File, count: u64, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self::File { file: File::from_std(file), left: count, _permit: permit }
    }
}

impl Default for FileBody {
    /// No body.
    fn default() -> Self {
        Self::Text(None)
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|t| Ok(Frame::data(t)))),
            Self::File { left: 0, .. } => Poll::Ready(None),
            Self::File { file, left, .. } => {
                let mut chunk = vec![0; CHUNK.min(usize::try_from(*left).unwrap_or(CHUNK))];
                let mut buffer = ReadBuf::new(&mut chunk);
                if let Err(e) = ready!(Pin::new(file).poll_read(context, &mut buffer)) {
                    return Poll::Ready(Some(Err(e)));
                }
                let read = buffer.filled().len();
                if read == 0 {
                    // Shorter than it was: the connection must break, or the client would take the rest for complete.
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                *left = left.saturating_sub(read as u64);
                chunk.truncate(read);
                Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None) | Self::File { left: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(text) => text.as_ref().map_or(0, |t| t.len() as u64),
            Self::File { left, .. } => *left,
        })
    }
}
