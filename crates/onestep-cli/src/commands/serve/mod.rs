//! `onestep serve`: the web page and a bundle over HTTP.
//!
//! What can be had is a list made at the start; a request is looked up in it and in nothing else. Clients that are idle or slow are
//! disconnected, first of all when others are waiting; requests with a foreign `Host` are refused while we listen on this
//! machine only.
//!
//! Not by tower-http's `ServeDir`: it serves whatever is in a folder and follows links, and it has no list of files.

mod activity;
mod answer;
mod byte_range;
mod connections;
mod cors;
mod file_body;
mod open;
mod site;
mod stall_guard;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};

use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;
use answer::{Answers, Options};
use connections::Connections;
use cors::Origin;
use site::Site;

/// Threads for opening and reading files, which may have to wait for a disk.
const FILE_THREADS: usize = 16;
/// Connections that the system completes and keeps until we accept them.
const BACKLOG: u32 = 1024;
/// Bytes that the system keeps for a client that has not taken them yet. Without a limit they grow to MiB for each connection, and
/// a client that takes little would be noticed late.
const SEND_BUFFER: u32 = 256 << 10;

/// Serve the web page and a bundle over HTTP.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep serve\n  onestep serve --dir dist --bundle runs/tiny/bundle --port 9000\n  \
                        onestep serve --bundle runs/tiny/bundle --cors http://localhost:3000 --compress\n\n\
                        The files are listed once, at the start: restart after building the page again. Hidden files, links and \
                        special files are not served.\n\n\
                        Without --cors, pages of other origins cannot read the files. With it, they fetch a bundle from its URL, for \
                        example http://localhost:8080/bundle/. Their img and script elements need the attribute crossorigin, \
                        unless every origin is allowed.\n\n\
                        Idle clients and clients that receive very slowly are disconnected. If there are too many clients, the one \
                        that has been idle or slow for longest is disconnected first.")]
pub struct Serve {
    /// Folder of the built page
    #[arg(long, value_name = "DIR", default_value = "dist")]
    dir: PathBuf,
    /// Folder of a bundle to serve under /bundle/
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// TCP port; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// IP address to listen on; 0.0.0.0 serves the whole network
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Origin that may read the files (CORS), such as https://example.org; * for all; may be repeated
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    cors: Vec<Origin>,
    /// Compress text and WebAssembly with gzip for clients that accept it; weights, images and byte ranges stay uncompressed
    #[arg(long)]
    compress: bool,
}

#[derive(Serialize)]
struct Listening<'a> {
    url: &'a str,
    port: u16,
    files: usize,
    bytes: u64,
}

impl Serve {
    /// Prints the URL and serves until it is interrupted.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let site = Site::list(&self.dir, self.bundle.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(FILE_THREADS)
            .build()
            .map_err(|e| Failure::new(Exit::Failed, format!("starting the server failed: {e}")))?;
        runtime.block_on(self.listen(site, shared))
    }

    async fn listen(&self, site: Site, shared: &Shared) -> Result<(), Failure> {
        let address = SocketAddr::new(self.host, self.port);
        let listener = bind(address).map_err(|e| self.cannot_listen(&e))?;
        let address = listener.local_addr().map_err(|e| self.cannot_listen(&e))?;
        let url = format!("http://{}/", if self.host.is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() });
        if !shared.quiet {
            output::message(&format!("serving {} files of {}; end with Ctrl-C", site.len(), self.dir.display()));
            if !self.host.is_loopback() {
                output::message("everyone who reaches this address can read them");
            }
            if self.cors.contains(&Origin::Any) {
                output::message("pages of every origin can read them, in a browser that reaches this address");
            }
        }
        if shared.json {
            output::json(&Listening { url: &url, port: address.port(), files: site.len(), bytes: site.bytes() })?;
        } else {
            output::data(&url)?;
        }
        let options = Options { loopback: self.host.is_loopback(), cors: self.cors.clone(), compress: self.compress };
        let mut connections = Connections::new(Arc::new(Answers::new(site, &options)));
        loop {
            match listener.accept().await {
                Ok((stream, _)) => connections.add(stream).await,
                // The client left before we took it.
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                // No descriptor or memory is free just now, which does not end the server.
                Err(_) => {
                    connections.close_most_expendable().await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn cannot_listen(&self, error: &io::Error) -> Failure {
        let address = SocketAddr::new(self.host, self.port);
        let (found, advice) = match error.kind() {
            ErrorKind::AddrInUse => {
                let other = self.port.checked_add(1).unwrap_or(8080);
                (
                    format!("port {} in use by another program", self.port),
                    format!("choose another one, for example --port {other}, or end that program"),
                )
            }
            ErrorKind::PermissionDenied => {
                (format!("no permission for port {}", self.port), "choose one above 1023, for example --port 8080".to_owned())
            }
            ErrorKind::AddrNotAvailable => {
                (format!("that {} is no address of this machine", self.host), "leave out --host to listen on this machine only".to_owned())
            }
            _ => (error.to_string(), "choose another --port or --host".to_owned()),
        };
        Failure::new(Exit::Failed, format!("listening on {address}: expected a free port, found {found}; {advice}"))
    }
}

/// As [`TcpListener::bind`], with a limit for what is on its way to each client, which its connections inherit.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Windows this would let two programs listen on one port.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
