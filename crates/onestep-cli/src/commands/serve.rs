//! `onestep serve`: the page, and a bundle with it, over HTTP on this machine.
//!
//! What can be had is a list made at the start; a request is looked up in it and in nothing else. Connections that dawdle are
//! closed, requests with a foreign `Host` are refused while we listen on this machine only.

mod answer;
mod byte_range;
mod file_body;
mod site;
mod stall_guard;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::arguments::Shared;
use crate::exit::{Exit, Failure};
use crate::output;
use answer::Answers;
use site::Site;
use stall_guard::StallGuard;

/// Bytes of a request's head; more is answered with 431.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Time to send a request's head in, and to send the next one on an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in which a client must take some of what we send.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once; further ones wait. Each may hold a socket and a file, within the usual limit of 1,024.
const MAX_CONNECTIONS: usize = 700;

/// Serve the page, and a bundle with it, on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep serve\n  onestep serve --dir dist --bundle runs/tiny/bundle --port 9000\n\n\
                        The list of files is made at the start: start again after building the page anew.")]
pub struct Serve {
    /// The folder of the built page
    #[arg(long, value_name = "DIR", default_value = "dist")]
    dir: PathBuf,
    /// A bundle to serve under /bundle/
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// The port; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// The address to listen on; 0.0.0.0 lets the whole network in
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
}

#[derive(Serialize)]
struct Listening<'a> {
    url: &'a str,
    port: u16,
    files: usize,
    bytes: u64,
}

impl Serve {
    /// Serves until it is interrupted; the address is the result.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let site = Site::list(&self.dir, self.bundle.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::new(Exit::Failed, format!("starting the server failed: {e}")))?;
        runtime.block_on(self.listen(site, shared))
    }

    async fn listen(&self, site: Site, shared: &Shared) -> Result<(), Failure> {
        let address = SocketAddr::new(self.host, self.port);
        let listener = TcpListener::bind(address).await.map_err(|e| self.cannot_listen(&e))?;
        let address = listener.local_addr().map_err(|e| self.cannot_listen(&e))?;
        let url = format!("http://{}/", if self.host.is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() });
        if !shared.quiet {
            output::message(&format!("serving {} files of {}; end with Ctrl-C", site.len(), self.dir.display()));
            if !self.host.is_loopback() {
                output::message("everyone who reaches this address can read them");
            }
        }
        if shared.json {
            output::json(&Listening { url: &url, port: address.port(), files: site.len(), bytes: site.bytes() })?;
        } else {
            output::data(&url)?;
        }
        let answers = Arc::new(Answers::new(site, self.host.is_loopback()));
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answers = Arc::clone(&answers);
                    tokio::spawn(async move {
                        converse(stream, answers).await;
                        drop(place);
                    });
                }
                // A client that left before we took it, or no descriptor free just now: neither ends the server.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn cannot_listen(&self, error: &std::io::Error) -> Failure {
        let address = SocketAddr::new(self.host, self.port);
        let (found, advice) = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                let other = self.port.checked_add(1).unwrap_or(8080);
                (
                    format!("port {} in use by another program", self.port),
                    format!("choose another one, for example --port {other}, or end that program"),
                )
            }
            std::io::ErrorKind::PermissionDenied => {
                (format!("no permission for port {}", self.port), "choose one above 1023, for example --port 8080".to_owned())
            }
            std::io::ErrorKind::AddrNotAvailable => {
                (format!("that {} is no address of this machine", self.host), "leave out --host to listen on this machine only".to_owned())
            }
            _ => (error.to_string(), "choose another --port or --host".to_owned()),
        };
        Failure::new(Exit::Failed, format!("listening on {address}: expected a free port, found {found}; {advice}"))
    }
}

/// Serves one connection to its end. What goes wrong on it concerns that client only.
async fn converse(stream: TcpStream, answers: Arc<Answers>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(&request).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(2 * MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(StallGuard::new(stream, STALL_TIMEOUT)), service)
        .await;
}
