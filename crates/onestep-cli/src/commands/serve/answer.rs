//! What a request is answered with.

use std::convert::Infallible;
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::Extensions;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_http::compression::Compression;

use super::byte_range::ByteRange;
use super::cors::{self, Origin};
use super::file_body::FileBody;
use super::open::open_regular;
use super::site::{Served, Site};

/// Bytes of an address; more is answered with 414.
const MAX_ADDRESS_BYTES: usize = 8 << 10;
/// Bytes of a file from which compressing it is worth while.
const MIN_COMPRESSED_BYTES: u64 = 1 << 10;
/// Answers that are compressed at once; further ones are sent as they are. One thread does it all, so that more would only delay
/// each other and every other answer.
const MAX_COMPRESSIONS: usize = 8;

/// No script, style, worker, image or connection from elsewhere; nothing inline; WebAssembly allowed. The image that was
/// made is shown from memory, hence `blob:` for images.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; \
     img-src 'self' blob: data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How requests are answered.
#[derive(Debug)]
pub struct Options {
    /// We listen on this machine only, so a request that names another host comes from a page that wants to read what is not its
    /// own (DNS rebinding), and is refused.
    pub loopback: bool,
    /// Other origins that may read the answers.
    pub cors: Vec<Origin>,
    /// Text and WebAssembly are compressed for clients that take it.
    pub compress: bool,
}

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

type Answer = Response<FileBody>;
type FileService = BoxCloneSyncService<Request<Incoming>, Response<AnswerBody>, Infallible>;

/// Answers requests for the files of a site.
pub struct Answers {
    loopback: bool,
    cors: bool,
    files: FileService,
}

impl Answers {
    /// Answers for the files of `site`.
    pub fn new(site: Site, options: &Options) -> Self {
        let files = Arc::new(Files { site, compressions: options.compress.then(|| Arc::new(Semaphore::new(MAX_COMPRESSIONS))) });
        let files = service_fn(move |request: Request<Incoming>| {
            let files = Arc::clone(&files);
            async move { Ok::<_, Infallible>(files.answer(request.method(), request.uri(), request.headers()).await) }
        });
        let files = if options.compress { compressed(files) } else { FileService::new(files.map_response(boxed)) };
        let cors = cors::layer(&options.cors);
        Self { loopback: options.loopback, cors: cors.is_some(), files: cors.map_or(files.clone(), |c| FileService::new(c.layer(files))) }
    }

    /// The answer to a request. Whatever the request is, there is one.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        let mut answer = match self.refusal(&request) {
            Some(refusal) => boxed(refusal),
            None => match self.files.clone().oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
        };
        let headers = answer.headers_mut();
        // A page of another origin that may read an answer may also embed it.
        let embedders = if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) { "cross-origin" } else { "same-origin" };
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), embedders),
            (header::CACHE_CONTROL, "no-cache"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    /// The answer to a request that is refused whatever files there are.
    fn refusal(&self, request: &Request<Incoming>) -> Option<Answer> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        if uri.path_and_query().map_or(0, |p| p.as_str().len()) > MAX_ADDRESS_BYTES {
            return Some(plain(StatusCode::URI_TOO_LONG, "This address is too long."));
        }
        if self.loopback && !names_this_machine(uri, headers) {
            return Some(plain(StatusCode::FORBIDDEN, "This server answers to localhost only."));
        }
        // Without both headers it is no preflight request, whatever the layer for other origins makes of it.
        let preflight = self.cors
            && method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if method != Method::GET && method != Method::HEAD && !preflight {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "There are files to read here, and nothing else.");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(answer);
        }
        None
    }
}

/// Compresses the answers of `files` that are marked as [`Compressible`].
fn compressed<S>(files: S) -> FileService
where
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    let marked = |_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions| extensions.get::<Compressible>().is_some();
    FileService::new(Compression::new(files).compress_when(marked).map_response(|answer| {
        if answer.status() != StatusCode::NOT_ACCEPTABLE {
            return boxed(answer);
        }
        let mut refusal = plain(StatusCode::NOT_ACCEPTABLE, "A file comes as it is or with gzip, and the request excludes both.");
        insert(&mut refusal, header::VARY, header::ACCEPT_ENCODING.as_str());
        boxed(refusal)
    }))
}

fn boxed<B>(answer: Response<B>) -> Response<AnswerBody>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    answer.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// Marks an answer that is to be compressed if the client takes it.
#[derive(Debug, Clone, Copy)]
struct Compressible;

struct Files {
    site: Site,
    /// Places for answers that are compressed; absent if none ever is.
    compressions: Option<Arc<Semaphore>>,
}

impl Files {
    async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Answer {
        let Some(served) = decoded(uri.path()).and_then(|address| self.site.get(&address)) else {
            return plain(StatusCode::NOT_FOUND, "There is no such file here.");
        };
        match self.file(served, method, headers).await {
            Ok(answer) => answer,
            Err(_) => plain(StatusCode::NOT_FOUND, "This file was there when the server started; start it again."),
        }
    }

    async fn file(&self, served: &Served, method: &Method, headers: &HeaderMap) -> io::Result<Answer> {
        let (mut file, metadata) = open(served).await?;
        let length = metadata.len();
        let compressions = self.compressions.as_ref().filter(|_| served.is_text() && length >= MIN_COMPRESSED_BYTES);
        let tag = tag(&metadata, compressions.is_some());

        let mut answer = Response::new(FileBody::default());
        if compressions.is_some() {
            insert(&mut answer, header::VARY, header::ACCEPT_ENCODING.as_str());
        }
        if headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|known| matches_tag(known, &tag)) {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            insert(&mut answer, header::ETAG, &tag);
            return Ok(answer);
        }
        // A range of another version than the one asked about would be put together with the wrong rest, and a weak tag does not
        // tell versions apart to the byte.
        let same_version = headers.get(header::IF_RANGE).is_none_or(|v| compressions.is_none() && v.as_bytes() == tag.as_bytes());
        let asked = headers.get(header::RANGE).filter(|_| same_version && method == Method::GET).and_then(|v| v.to_str().ok());
        let (first, count) = match ByteRange::parse(asked, length) {
            ByteRange::Whole => (0, length),
            ByteRange::Part(first, last) => {
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                insert(&mut answer, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
                (first, last - first + 1)
            }
            ByteRange::Outside => {
                let mut answer = plain(StatusCode::RANGE_NOT_SATISFIABLE, "This part lies outside the file.");
                insert(&mut answer, header::CONTENT_RANGE, &format!("bytes */{length}"));
                return Ok(answer);
            }
        };
        insert(&mut answer, header::CONTENT_TYPE, served.media_type);
        insert(&mut answer, header::CONTENT_LENGTH, &count.to_string());
        insert(&mut answer, header::ACCEPT_RANGES, "bytes");
        insert(&mut answer, header::ETAG, &tag);
        let permit = compressions
            .filter(|_| headers.contains_key(header::ACCEPT_ENCODING) && !headers.contains_key(header::RANGE))
            .and_then(|permits| Arc::clone(permits).try_acquire_owned().ok());
        if permit.is_some() {
            answer.extensions_mut().insert(Compressible);
        }
        if method == Method::GET {
            file.seek(SeekFrom::Start(first))?;
            *answer.body_mut() = FileBody::file(file, count, permit);
        }
        Ok(answer)
    }
}

/// Opens a file and finds out about it, where waiting for a disk keeps nobody else waiting.
async fn open(served: &Served) -> io::Result<(File, Metadata)> {
    let (folder, relative) = (Arc::clone(&served.folder), served.relative.clone());
    tokio::task::spawn_blocking(move || open_regular(&folder, &relative)).await.map_err(io::Error::other)?
}

/// What tells two versions of a file apart. A strong tag promises the same bytes, which differ with the encoding.
fn tag(metadata: &Metadata, weak: bool) -> String {
    let changed = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
    format!("{}\"{:x}-{changed:x}\"", if weak { "W/" } else { "" }, metadata.len())
}

fn insert(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn plain(status: StatusCode, sentence: &'static str) -> Answer {
    let mut answer = Response::new(FileBody::text(format!("{sentence}\n")));
    *answer.status_mut() = status;
    insert(&mut answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}

/// Whether a list of tags holds `tag`, strong or weak.
fn matches_tag(known: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.split(',').map(opaque).any(|t| t == opaque(tag) || t == "*")
}

/// Whether every host that the request names is this machine. A request without any names none and is refused.
fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut named: Vec<Option<&str>> = headers.get_all(header::HOST).iter().map(|v| v.to_str().ok()).collect();
    if let Some(authority) = uri.authority() {
        named.push(Some(authority.as_str()));
    }
    !named.is_empty() && named.into_iter().all(|host| host.is_some_and(is_this_machine))
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || is_port(port) => return address == "::1",
            _ => return false,
        },
        None => match host.find(':') {
            Some(at) if is_port(&host[at..]) => &host[..at],
            Some(_) => return false,
            None => host,
        },
    };
    let name = name.to_ascii_lowercase();
    name == "127.0.0.1" || name == "localhost" || (name.ends_with(".localhost") && name.len() > ".localhost".len())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| !digits.is_empty() && digits.parse::<u16>().is_ok() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// A path with `%41` and the like turned into characters, once. Nothing that is not UTF-8 or holds control characters.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let [high, low, after @ ..] = tail else { return None };
            let digit = |d: &u8| char::from(*d).to_digit(16);
            bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|path| !path.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:9000", "[::1]", "[::1]:80", "onestep.localhost:8080"] {
            assert!(is_this_machine(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:",
            "localhost:x",
            "localhost:+1",
            "localhost:99999",
            "user@localhost",
            "[::1",
            "[::2]",
            "[::1]x",
            ".localhost",
            "0.0.0.0",
            "127.0.0.1@evil.example",
        ] {
            assert!(!is_this_machine(bad), "{bad}");
        }
    }

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decoded("/a%20b").as_deref(), Some("/a b"));
        assert_eq!(decoded("/%252e%252e/x").as_deref(), Some("/%2e%2e/x"));
        for bad in ["/%", "/%4", "/%zz", "/%00", "/%ff", "/%0d%0a"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn tags_match_in_lists() {
        assert!(matches_tag("\"a\", W/\"b\"", "\"b\""));
        assert!(matches_tag("*", "\"b\""));
        assert!(matches_tag("W/\"b\"", "W/\"b\"") && matches_tag("\"b\"", "W/\"b\""));
        assert!(!matches_tag("\"a\"", "\"b\""));
    }
}
