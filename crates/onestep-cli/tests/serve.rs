//! `onestep serve` over raw sockets: what it gives, what it refuses, and how it bears bad clients.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PAGE: &str = "<!doctype html><title>page</title>";
const SECRET: &str = "nobody may read this";

/// A running server that ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder `site` with a page, a folder `bundle`, and beside them what must not be served.
fn folders() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("secret.txt", SECRET),
        ("site/index.html", PAGE),
        ("site/app.js", "1"),
        ("site/app.wasm", "\0asm"),
        ("site/ten.bin", "0123456789"),
        ("site/a b.txt", "spaced"),
        ("site/.hidden", SECRET),
        ("bundle/manifest.json", "{}"),
    ] {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(home.path().join("secret.txt"), home.path().join("site/link.txt")).unwrap();
    home
}

fn serve(home: &Path) -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onestep"))
        .args(["serve", "--port", "0", "--dir"])
        .arg(home.join("site"))
        .arg("--bundle")
        .arg(home.join("bundle"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("standard output")).read_line(&mut line).expect("an address");
    let port = line.trim().trim_end_matches('/').rsplit(':').next().and_then(|p| p.parse().ok()).unwrap_or_else(|| panic!("no address: {line:?}"));
    Server { child, port }
}

impl Server {
    /// Sends these bytes and reads until the server closes or falls silent.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n{headers}\r\n", self.port).as_bytes())
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn files_come_with_their_types_and_a_strict_policy() {
    let home = folders();
    let server = serve(home.path());
    for (path, kind, content) in [
        ("/", "text/html; charset=utf-8", PAGE),
        ("/index.html?x=1#y", "text/html; charset=utf-8", PAGE),
        ("/app.wasm", "application/wasm", "\0asm"),
        ("/app.js", "text/javascript; charset=utf-8", "1"),
        ("/a%20b.txt", "text/plain; charset=utf-8", "spaced"),
        ("/bundle/manifest.json", "application/json", "{}"),
    ] {
        let answer = server.get(path, "");
        assert_eq!(status(&answer), 200, "{path}: {answer}");
        assert!(answer.contains(&format!("content-type: {kind}\r\n")), "{path}: {answer}");
        assert!(answer.contains("script-src 'self' 'wasm-unsafe-eval'"), "{path}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{path}");
        assert_eq!(body(&answer), content, "{path}");
    }
    let head = server.raw(b"HEAD /ten.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(head.contains("content-length: 10") && body(&head).is_empty(), "{head}");
}

#[test]
fn parts_of_files() {
    let home = folders();
    let server = serve(home.path());
    for (range, code, content, note) in [
        ("bytes=0-3", 206, "0123", "content-range: bytes 0-3/10"),
        ("bytes=4-", 206, "456789", "content-range: bytes 4-9/10"),
        ("bytes=-2", 206, "89", "content-range: bytes 8-9/10"),
        ("bytes=8-100", 206, "89", "content-range: bytes 8-9/10"),
        ("bytes=10-", 416, "", "content-range: bytes */10"),
        ("bytes=0-1,3-4", 200, "0123456789", "content-length: 10"),
        ("bytes=x", 200, "0123456789", "content-length: 10"),
    ] {
        let answer = server.get("/ten.bin", &format!("Range: {range}\r\n"));
        assert_eq!(status(&answer), code, "{range}: {answer}");
        assert!(answer.contains(note), "{range}: {answer}");
        if code != 416 {
            assert_eq!(body(&answer), content, "{range}");
        }
    }
    let answer = server.get("/ten.bin", "");
    let tag = answer.lines().find_map(|l| l.strip_prefix("etag: ")).expect("a tag").to_owned();
    assert_eq!(status(&server.get("/ten.bin", &format!("If-None-Match: {tag}\r\n"))), 304);
    assert_eq!(status(&server.get("/ten.bin", &format!("If-Range: {tag}\r\nRange: bytes=0-0\r\n"))), 206);
    assert_eq!(status(&server.get("/ten.bin", "If-Range: \"other\"\r\nRange: bytes=0-0\r\n")), 200);
}

#[test]
fn nothing_outside_the_list_is_served() {
    let home = folders();
    let server = serve(home.path());
    let secret = home.path().join("secret.txt");
    let absolute = secret.to_str().unwrap();
    let up = [
        "..",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "%252e%252e",
        "..%00",
        "..;",
        "...",
        "..%c0%af",
        "\u{2025}",
        "..\\",
        "..%5c",
        "%c0%ae%c0%ae",
        "%uff0e%uff0e",
    ];
    let mut paths: Vec<String> = Vec::new();
    for dots in up {
        for slash in ["/", "%2f", "\\", "%5c", "//"] {
            paths.push(format!("/{dots}{slash}secret.txt"));
            paths.push(format!("/bundle/{dots}{slash}secret.txt"));
            paths.push(format!("/bundle{slash}{dots}{slash}{dots}{slash}secret.txt"));
        }
    }
    for odd in [
        "/.hidden",
        "/%2ehidden",
        "/link.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/bundle",
        "/bundle/",
        "/site/index.html",
        "/INDEX.HTML",
        "/index.html/",
        "/index.html/..",
        "/./index.html",
        "/index.html%00.js",
        "/index.html%20",
        "/file:///etc/passwd",
        "*",
    ] {
        paths.push(odd.to_owned());
    }
    paths.push(absolute.to_owned());
    paths.push(format!("/{absolute}"));
    for path in &paths {
        let answer = server.get(path, "");
        assert!(!answer.contains(SECRET) && !answer.contains("root:"), "{path}: {answer}");
        assert!(matches!(status(&answer), 400 | 403 | 404), "{path}: {answer}");
    }
    assert!(paths.len() > 200);
    assert_eq!(status(&server.get("/", "")), 200);
}

#[test]
fn odd_requests_are_refused_and_the_server_lives_on() {
    let home = folders();
    let server = serve(home.path());
    let long = "x".repeat(9000);
    let huge = "x".repeat(70_000);
    for (request, codes) in [
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), &[403][..]),
        ("GET / HTTP/1.1\r\nHost: localhost.evil.example\r\nConnection: close\r\n\r\n".to_owned(), &[403]),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), &[400, 403]),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), &[400, 403]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), &[400, 403]),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(), &[403]),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc".to_owned(), &[405]),
        ("DELETE /index.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(), &[405]),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(), &[403, 405]),
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), &[414]),
        (format!("GET /{huge} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), &[414, 431]),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {huge}\r\nConnection: close\r\n\r\n"), &[431]),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}Connection: close\r\n\r\n", "X: y\r\n".repeat(500)), &[431]),
        ("\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), &[400, 0]),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), &[400, 0]),
        ("GET  /  HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), &[400, 0]),
    ] {
        let answer = server.raw(request.as_bytes());
        let shown: String = request.chars().take(60).collect();
        assert!(codes.contains(&status(&answer)), "{shown:?}: {answer}");
        assert!(!answer.contains(PAGE), "{shown:?}");
    }
    let large = "x".repeat(60_000);
    assert_eq!(status(&server.get("/", &format!("X: {large}\r\n"))), 200);
    assert_eq!(status(&server.get("/", "")), 200);
}

#[test]
fn slow_clients_are_closed_and_others_are_served_meanwhile() {
    let home = folders();
    let server = serve(home.path());
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: lo").expect("the first bytes");
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(status(&server.get("/", "")), 200);
    }
    // The time for a head is 10 seconds; an answer or silence, and then the end.
    let begun = Instant::now();
    for stream in slow.iter_mut().take(5) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains(PAGE));
    }
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}

#[test]
fn a_busy_port_is_named() {
    let home = folders();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_onestep"))
        .args(["serve", "--port", &port, "--dir"])
        .arg(home.path().join("site"))
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&port) && error.contains("--port"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn folders_without_a_page_or_bundle_are_refused() {
    let home = folders();
    for arguments in [vec!["--dir".to_owned(), home.path().join("bundle").display().to_string()], vec!["--dir".to_owned(), "/nowhere".to_owned()]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_onestep")).args(["serve", "--port", "0"]).args(&arguments).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--dir"), "{arguments:?}");
    }
}
