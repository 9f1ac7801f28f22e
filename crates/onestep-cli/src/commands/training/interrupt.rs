//! Interrupts (Ctrl-C, SIGTERM) of commands with something to save: the first one asks the command to stop, the second one exits at once.

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use crate::exit::{Exit, Failure};

/// 0 while nobody asked; else the exit code to leave with.
static ASKED: AtomicU8 = AtomicU8::new(0);

/// From now on an interrupt only sets a mark, which [`exit`] tells; call it before the work begins.
///
/// # Errors
/// If the system refuses to tell us about interrupts.
pub fn watch() -> Result<(), Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("preparing for interrupts failed: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| fail(&e))?;
    // The signals must be registered before this returns.
    let mut signals = runtime.block_on(async { Signals::register() }).map_err(|e| fail(&e))?;
    thread::Builder::new()
        .name("interrupts".into())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    let exit = signals.next().await;
                    if ASKED.swap(exit as u8, Ordering::SeqCst) != 0 {
                        std::process::exit(i32::from(exit as u8));
                    }
                    crate::output::message("stopping after this step; interrupt again to exit at once");
                }
            });
        })
        .map_err(|e| fail(&e))?;
    Ok(())
}

/// The code to leave with, once someone has asked to stop.
pub fn exit() -> Option<Exit> {
    match ASKED.load(Ordering::SeqCst) {
        0 => None,
        code if code == Exit::Terminated as u8 => Some(Exit::Terminated),
        _ => Some(Exit::Interrupted),
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn register() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Exit {
        // Whichever comes first; `select!` would need tokio's macros for these two lines.
        std::future::poll_fn(|context| {
            if self.terminate.poll_recv(context).is_ready() {
                std::task::Poll::Ready(Exit::Terminated)
            } else {
                self.interrupt.poll_recv(context).map(|_| Exit::Interrupted)
            }
        })
        .await
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn register() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) -> Exit {
        self.0.recv().await;
        Exit::Interrupted
    }
}
