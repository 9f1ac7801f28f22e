//! Which pages of other origins may read what is served (`--cors`).

use std::str::FromStr;
use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{Method, Uri};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Time for which a browser may remember the answer to a preflight request.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Pages that may read what is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Every page.
    Any,
    /// The pages of one origin, spelled as browsers spell it in `Origin`.
    One(HeaderValue),
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected * or an origin such as https://example.org:8443: scheme, host and port, without a path";
        if text == "*" {
            return Ok(Self::Any);
        }
        let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
        let (Some(scheme), Some(authority), "" | "/", None) = (uri.scheme_str(), uri.authority(), uri.path(), uri.query()) else {
            return Err(EXPECTED);
        };
        let host = authority.host();
        // A browser leaves out the port that its scheme has anyway.
        let port = match (scheme, authority.port_u16()) {
            (_, None) | ("http", Some(80)) | ("https", Some(443)) => String::new(),
            (_, Some(port)) => format!(":{port}"),
        };
        // What is left over is a user's name or a broken port; `*` within a name would promise what the header cannot say.
        let rest = authority.as_str().strip_prefix(host).ok_or(EXPECTED)?;
        let whole = rest.is_empty() || authority.port_u16().is_some_and(|port| rest == format!(":{port}"));
        if host.is_empty() || !whole || host.contains('*') || text.contains(['#', ',']) {
            return Err(EXPECTED);
        }
        let origin = format!("{scheme}://{host}{port}").to_ascii_lowercase();
        HeaderValue::from_str(&origin).map(Self::One).map_err(|_| EXPECTED)
    }
}

/// What adds the headers for other origins and answers preflight requests; nothing without origins.
pub fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let listed: Option<Vec<HeaderValue>> = origins
        .iter()
        .map(|origin| match origin {
            Origin::Any => None,
            Origin::One(value) => Some(value.clone()),
        })
        .collect();
    // Only an answer that names the origin of its request differs from one request to the next.
    let (allowed, vary) = match listed {
        None => (AllowOrigin::any(), vec![]),
        Some(listed) => (AllowOrigin::list(listed), vec![header::ORIGIN]),
    };
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .vary(vary)
            .allow_methods([Method::GET, Method::HEAD])
            .allow_headers([header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH])
            .expose_headers([header::ACCEPT_RANGES, header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::ETAG])
            // Browsers ask for this before a page of the internet may reach a server on this machine.
            .allow_private_network(true)
            .max_age(PREFLIGHT_AGE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        assert_eq!("*".parse(), Ok(Origin::Any));
        for (text, want) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.org:443/", "https://example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://example.org:443", "http://example.org:443"),
            ("http://[::1]:80", "http://[::1]"),
            ("tauri://localhost", "tauri://localhost"),
        ] {
            assert_eq!(text.parse(), Ok(Origin::One(HeaderValue::from_static(want))), "{text}");
        }
        for bad in [
            "",
            "null",
            "example.org",
            "localhost:3000",
            "https://",
            "https://example.org/path",
            "https://example.org?x",
            "https://example.org/#x",
            "https://*.example.org",
            "https://user@example.org",
            "https://example.org:",
            "https://example.org:99999",
            "https://example.org:+1",
            "https://example.org\r\nX: y",
            "https://a,https://b",
            "**",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
