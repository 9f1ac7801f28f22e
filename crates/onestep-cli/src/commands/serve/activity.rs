//! What a connection is doing, and how well its client keeps up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A client that has kept us waiting for less than this is not called idle or slow.
const GRACE: Duration = Duration::from_secs(1);

/// How fast a client must take what we send.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The average that is expected of it, while there is something to take.
    pub bytes_per_second: u32,
    /// The time by which it may fall behind that average before its connection is closed.
    pub window: Duration,
}

/// Who is closed first when there are too many connections: the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expendable {
    /// Has just begun to wait for a request.
    New(Duration),
    /// Behind the pace by this time.
    Slow(Duration),
    /// Has been waiting for a request for this time.
    Idle(Duration),
}

/// The state of one connection, shared by those who serve it and the one who may have to end it.
#[derive(Debug)]
pub struct Activity {
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Since when no request is being answered.
    waiting_since: Option<Instant>,
    /// Since when the client has been taking nothing, although there is something to take.
    blocked_since: Option<Instant>,
    /// Time that the client may keep us waiting; it regains some by taking bytes.
    credit: Duration,
}

/// A request is being answered, until this is dropped.
pub struct Answering(Arc<Activity>);

impl Activity {
    /// A connection that has just been made.
    pub fn new(pace: Pace) -> Arc<Self> {
        let state = State { waiting_since: Some(Instant::now()), blocked_since: None, credit: pace.window };
        Arc::new(Self { pace, state: Mutex::new(state) })
    }

    /// Notes that the head of a request is complete.
    pub fn answering(self: &Arc<Self>) -> Answering {
        self.state().waiting_since = None;
        Answering(Arc::clone(self))
    }

    /// Notes that the client takes nothing at present.
    ///
    /// Returns the time at which its connection is to be closed, should it go on like this.
    pub fn blocked(&self) -> Instant {
        let mut state = self.state();
        let since = *state.blocked_since.get_or_insert_with(Instant::now);
        since + state.credit
    }

    /// Notes that the client took `bytes` bytes.
    pub fn took(&self, bytes: usize) {
        let mut state = self.state();
        let now = Instant::now();
        if let Some(since) = state.blocked_since.take() {
            state.credit = state.credit.saturating_sub(now - since);
        }
        let gain = Duration::from_secs_f64(bytes as f64 / f64::from(self.pace.bytes_per_second));
        state.credit = self.pace.window.min(state.credit + gain);
        if state.waiting_since.is_some() {
            // The end of an answer has only now been taken.
            state.waiting_since = Some(now);
        }
    }

    /// Whether the client takes nothing at present.
    pub fn is_blocked(&self) -> bool {
        self.state().blocked_since.is_some()
    }

    /// Whether the connection may be closed in favour of a new one. Not while its request is answered at a good pace.
    pub fn expendable(&self) -> Option<Expendable> {
        let state = self.state();
        let now = Instant::now();
        match (state.blocked_since, state.waiting_since) {
            (Some(since), _) => {
                let behind = self.pace.window.saturating_sub(state.credit) + (now - since);
                (behind >= GRACE).then_some(Expendable::Slow(behind))
            }
            (None, Some(since)) if now - since >= GRACE => Some(Expendable::Idle(now - since)),
            (None, Some(since)) => Some(Expendable::New(now - since)),
            (None, None) => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.state().waiting_since = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const PACE: Pace = Pace { bytes_per_second: 1000, window: Duration::from_secs(30) };

    #[test]
    fn a_connection_is_expendable_unless_it_is_answered_at_a_good_pace() {
        let activity = Activity::new(PACE);
        assert!(matches!(activity.expendable(), Some(Expendable::New(_))));
        let answering = activity.answering();
        assert_eq!(activity.expendable(), None);
        activity.blocked();
        assert_eq!(activity.expendable(), None);
        assert!(activity.is_blocked());
        drop(answering);
        sleep(GRACE);
        assert!(matches!(activity.expendable(), Some(Expendable::Slow(_))));
        activity.took(100_000);
        assert!(matches!(activity.expendable(), Some(Expendable::New(_))) && !activity.is_blocked());
        sleep(GRACE);
        assert!(matches!(activity.expendable(), Some(Expendable::Idle(_))));
        let long = Duration::from_secs(100);
        assert!(Expendable::Idle(GRACE) > Expendable::Slow(long) && Expendable::Slow(GRACE) > Expendable::New(long));
        assert!(Expendable::Slow(long) > Expendable::Slow(GRACE));
    }

    #[test]
    fn single_bytes_do_not_buy_time() {
        let activity = Activity::new(PACE);
        let first = activity.blocked();
        assert_eq!(activity.blocked(), first);
        sleep(Duration::from_millis(50));
        activity.took(1);
        let second = activity.blocked();
        // A byte is worth a millisecond at this pace.
        assert!(second - first < Duration::from_millis(40), "{:?}", second - first);
        activity.took(50_000);
        assert!(activity.blocked() > first + Duration::from_millis(45));
        assert!(activity.blocked() <= Instant::now() + PACE.window);
    }
}
