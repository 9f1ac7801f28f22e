//! The connections that are served at present, and which of them makes room for a new one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::activity::{Activity, Answering, Pace};
use super::answer::{AnswerBody, Answers};
use super::stall_guard::StallGuard;

/// Bytes of a request's head; more is answered with 431.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Time to send a request's head in, and to send the next one on an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How fast a client must take an answer. The window is longer than a client of this pace needs for what the system keeps for it.
const PACE: Pace = Pace { bytes_per_second: 8 << 10, window: Duration::from_secs(30) };
/// Connections at once, where the system allows that many.
const MAX_CONNECTIONS: usize = 480;
/// Descriptors for everything but connections and the files that are sent on them: our own, and those for opening a file.
const OTHER_DESCRIPTORS: u64 = 64;
/// Time that compression may take for one connection before others have their turn.
const TURN: Duration = Duration::from_millis(2);
/// Time after which a new connection looks again for one that may be closed in its favour.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Serves connections, each in its own task, and at most so many of them that there are descriptors for all.
pub struct Connections {
    answers: Arc<Answers>,
    capacity: usize,
    open: Vec<Connection>,
}

struct Connection {
    task: JoinHandle<()>,
    activity: Arc<Activity>,
}

impl Connections {
    /// No connections yet.
    pub fn new(answers: Arc<Answers>) -> Self {
        Self { answers, capacity: capacity(), open: Vec::new() }
    }

    /// Serves a new connection as soon as there is room for it.
    ///
    /// If all are taken, the most expendable connection is closed; if all are answered at a good pace, this waits.
    pub async fn add(&mut self, stream: TcpStream) {
        while self.open.len() >= self.capacity {
            // Requests that have arrived are read first: their connections are not idle.
            tokio::task::yield_now().await;
            self.open.retain(|connection| !connection.task.is_finished());
            if self.open.len() >= self.capacity && !self.close_most_expendable().await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        let activity = Activity::new(PACE);
        let task = tokio::spawn(converse(stream, Arc::clone(&activity), Arc::clone(&self.answers)));
        self.open.push(Connection { task, activity });
    }

    /// Closes the connection that is idle or slow for longest, and returns whether there was one.
    pub async fn close_most_expendable(&mut self) -> bool {
        let worst = self.open.iter().enumerate().filter_map(|(i, c)| c.activity.expendable().map(|e| (e, i))).max();
        let Some((_, index)) = worst else { return false };
        let connection = self.open.swap_remove(index);
        connection.task.abort();
        // Its descriptors are free when the task has ended.
        let _ = connection.task.await;
        true
    }
}

/// How many connections there may be. Each may hold a socket and a file.
fn capacity() -> usize {
    #[cfg(unix)]
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    #[cfg(not(unix))]
    let descriptors = u64::MAX;
    usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2).unwrap_or(usize::MAX).clamp(4, MAX_CONNECTIONS)
}

/// Serves one connection to its end. What goes wrong on it concerns that client only.
async fn converse(stream: TcpStream, activity: Arc<Activity>, answers: Arc<Answers>) {
    let _ = stream.set_nodelay(true);
    let guarded = StallGuard::new(stream, Arc::clone(&activity));
    let service = service_fn(move |request| {
        let answers = Arc::clone(&answers);
        let answering = activity.answering();
        async move { Ok::<_, Infallible>(answers.answer(request).await.map(|body| BusyBody::new(body, answering))) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(2 * MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(guarded), service)
        .await;
}

/// A body that marks its connection as busy until it is sent, and that yields to others.
struct BusyBody {
    body: AnswerBody,
    /// Time taken since others had their turn.
    taken: Duration,
    _answering: Answering,
}

impl BusyBody {
    fn new(body: AnswerBody, answering: Answering) -> Self {
        Self { body, taken: Duration::ZERO, _answering: answering }
    }
}

impl Body for BusyBody {
    type Data = <AnswerBody as Body>::Data;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        // While one part of a file is compressed the next one arrives, so that a whole file would be compressed in one go.
        if this.taken >= TURN {
            this.taken = Duration::ZERO;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let begun = Instant::now();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        this.taken = if frame.is_ready() { this.taken + begun.elapsed() } else { Duration::ZERO };
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
