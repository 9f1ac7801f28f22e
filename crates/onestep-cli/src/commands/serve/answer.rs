//! What a request is answered with.

use std::io::SeekFrom;
use std::time::UNIX_EPOCH;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::fs::File;
use tokio::io::AsyncSeekExt;

use super::byte_range::ByteRange;
use super::file_body::FileBody;
use super::site::{Served, Site};

/// Bytes of an address; more is answered with 414.
const MAX_ADDRESS_BYTES: usize = 8 << 10;

/// No script, style, worker, picture or connection from elsewhere; nothing inline; WebAssembly allowed. The picture that was
/// made is shown from memory, hence `blob:` for pictures.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; \
     img-src 'self' blob: data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers requests for the files of a site.
pub struct Answers {
    site: Site,
    loopback: bool,
}

type Answer = Response<FileBody>;

impl Answers {
    /// `loopback`: we listen on this machine only, so a request that names another host comes from a page that wants to read
    /// what is not its own (DNS rebinding), and is refused.
    pub fn new(site: Site, loopback: bool) -> Self {
        Self { site, loopback }
    }

    /// The answer to a request. Whatever the request is, there is one.
    pub async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let mut answer = self.choose(request.method(), request.uri(), request.headers()).await;
        let headers = answer.headers_mut();
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (header::CACHE_CONTROL, "no-cache"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    async fn choose(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Answer {
        if uri.path_and_query().map_or(0, |p| p.as_str().len()) > MAX_ADDRESS_BYTES {
            return plain(StatusCode::URI_TOO_LONG, "This address is too long.");
        }
        if self.loopback && !names_this_machine(uri, headers) {
            return plain(StatusCode::FORBIDDEN, "This server answers to localhost only.");
        }
        if method != Method::GET && method != Method::HEAD {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "There are files to read here, and nothing else.");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match decoded(uri.path()).as_deref().and_then(|address| self.site.get(address)) {
            Some(served) => file(served, method, headers).await,
            None => plain(StatusCode::NOT_FOUND, "There is no such file here."),
        }
    }
}

async fn file(served: &Served, method: &Method, headers: &HeaderMap) -> Answer {
    let gone = || plain(StatusCode::NOT_FOUND, "This file was there when the server started; start it again.");
    let Ok(mut file) = File::open(&served.file).await else { return gone() };
    let Ok(metadata) = file.metadata().await else { return gone() };
    if !metadata.is_file() {
        return gone();
    }
    let length = metadata.len();
    let changed = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
    let tag = format!("\"{length:x}-{changed:x}\"");

    if headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|known| matches_tag(known, &tag)) {
        let mut answer = Response::new(FileBody::text(""));
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        insert(&mut answer, header::ETAG, &tag);
        return answer;
    }
    // A range of another version than the one asked about would be put together with the wrong rest.
    let same_version = headers.get(header::IF_RANGE).is_none_or(|v| v.as_bytes() == tag.as_bytes());
    let asked = headers.get(header::RANGE).filter(|_| same_version && method == Method::GET).and_then(|v| v.to_str().ok());
    let (status, first, count) = match ByteRange::parse(asked, length) {
        ByteRange::Whole => (StatusCode::OK, 0, length),
        ByteRange::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        ByteRange::Outside => {
            let mut answer = plain(StatusCode::RANGE_NOT_SATISFIABLE, "This part lies outside the file.");
            insert(&mut answer, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return answer;
        }
    };
    let body = if method == Method::HEAD {
        FileBody::text("")
    } else {
        if first > 0 && file.seek(SeekFrom::Start(first)).await.is_err() {
            return gone();
        }
        FileBody::File { file, left: count }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    insert(&mut answer, header::CONTENT_TYPE, served.media_type);
    insert(&mut answer, header::CONTENT_LENGTH, &count.to_string());
    insert(&mut answer, header::ACCEPT_RANGES, "bytes");
    insert(&mut answer, header::ETAG, &tag);
    if status == StatusCode::PARTIAL_CONTENT {
        insert(&mut answer, header::CONTENT_RANGE, &format!("bytes {first}-{}/{length}", first + count - 1));
    }
    answer
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

fn matches_tag(known: &str, tag: &str) -> bool {
    known.split(',').map(|t| t.trim().trim_start_matches("W/")).any(|t| t == tag || t == "*")
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
        assert!(!matches_tag("\"a\"", "\"b\""));
    }
}
