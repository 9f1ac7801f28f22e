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

/// A folder `site` with a page, a folder `bundle`, and next to them what must not be served.
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
        ("site/folder/inner/deep.txt", "deep"),
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
    serve_with(home, &[])
}

fn serve_with(home: &Path, options: &[&str]) -> Server {
    start(Command::new(env!("CARGO_BIN_EXE_onestep")).args(["serve", "--port", "0"]).args(options), home)
}

/// Starts `command`, the program with all arguments but the folders.
fn start(command: &mut Command, home: &Path) -> Server {
    let mut child = command
        .arg("--dir")
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
    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).expect("a connection")
    }

    /// Sends these bytes and reads until the server closes or falls silent.
    fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    fn raw(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&self.exchange(bytes)).into_owned()
    }

    /// A request with this method; its head as text and its body.
    fn request(&self, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n{headers}\r\n", self.port);
        let answer = self.exchange(request.as_bytes());
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no head for {path}")) + 4;
        let head = String::from_utf8(answer[..end].to_vec()).expect("a head in ASCII");
        let body = if head.contains("transfer-encoding: chunked") { joined(&answer[end..]) } else { answer[end..].to_vec() };
        (head, body)
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n{headers}\r\n", self.port).as_bytes())
    }
}

/// A body without the lengths of its chunks.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|w| w == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        body.extend_from_slice(&chunks[end + 2..end + 2 + length]);
        if length == 0 {
            return body;
        }
        chunks = &chunks[end + 2 + length + 2..];
    }
    assert!(chunks.is_empty(), "a body that does not end");
    body
}

/// The value of a header, if the head of an answer has it once.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut values = head.lines().filter_map(|line| line.split_once(": ")).filter(|(n, _)| *n == name).map(|(_, value)| value);
    let value = values.next();
    assert!(values.next().is_none(), "{name} twice: {head}");
    value
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
            let mut stream = server.connect();
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

#[cfg(target_os = "linux")]
#[test]
fn special_files_are_neither_listed_nor_read() {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mkdirat, mknodat};

    let home = folders();
    let site = home.path().join("site");
    let server = serve(home.path());
    for name in ["ten.bin", "app.js", "app.wasm", "a b.txt"] {
        assert_eq!(status(&server.get(&format!("/{}", name.replace(' ', "%20")), "")), 200, "{name}");
        fs::remove_file(site.join(name)).unwrap();
    }
    mknodat(CWD, site.join("ten.bin"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = UnixListener::bind(site.join("app.js")).unwrap();
    mkdirat(CWD, site.join("app.wasm"), Mode::RWXU).unwrap();
    // The device that gives zeros without end; only some users may make one.
    let device = mknodat(CWD, site.join("a b.txt"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 5));
    if let Err(error) = device {
        eprintln!("no device is tried: {error}");
    }
    let paths = ["/ten.bin", "/app.js", "/app.wasm", "/a%20b.txt"];
    // More often than the server has threads for files.
    for _ in 0..20 {
        for path in paths {
            assert_eq!(status(&server.get(path, "")), 404, "{path}");
        }
    }
    assert_eq!(status(&server.get("/", "")), 200);
    let again = serve(home.path());
    for path in paths {
        assert!(again.get(path, "").contains("no such file"), "{path}");
    }
}

#[cfg(unix)]
#[test]
fn links_that_replace_files_or_folders_are_not_followed() {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    let home = folders();
    let site = home.path().join("site");
    let outside = home.path().join("outside");
    fs::create_dir_all(outside.join("inner")).unwrap();
    fs::write(outside.join("inner/deep.txt"), SECRET).unwrap();
    fs::write(outside.join("deep.txt"), SECRET).unwrap();
    let server = serve(home.path());
    let refused = |path: &str| {
        let answer = server.get(path, "");
        assert!(status(&answer) == 404 && !answer.contains(SECRET), "{path}: {answer}");
    };

    assert_eq!(body(&server.get("/folder/inner/deep.txt", "")), "deep");
    for target in [home.path().join("secret.txt"), "app.js".into(), "nowhere".into(), "ten.bin".into()] {
        fs::remove_file(site.join("ten.bin")).unwrap();
        symlink(target, site.join("ten.bin")).unwrap();
        refused("/ten.bin");
    }
    fs::rename(site.join("folder"), site.join("away")).unwrap();
    symlink(&outside, site.join("folder")).unwrap();
    refused("/folder/inner/deep.txt");
    fs::remove_file(site.join("folder")).unwrap();
    fs::create_dir(site.join("folder")).unwrap();
    symlink(&outside, site.join("folder/inner")).unwrap();
    refused("/folder/inner/deep.txt");
    fs::remove_dir_all(site.join("folder")).unwrap();
    fs::rename(site.join("away"), site.join("folder")).unwrap();
    assert_eq!(body(&server.get("/folder/inner/deep.txt", "")), "deep");

    // The same while somebody exchanges the folder all the time.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            symlink(&outside, site.join("link")).unwrap();
            while !done.load(Ordering::Relaxed) {
                fs::rename(site.join("folder"), site.join("away")).unwrap();
                fs::rename(site.join("link"), site.join("folder")).unwrap();
                fs::rename(site.join("folder"), site.join("link")).unwrap();
                fs::rename(site.join("away"), site.join("folder")).unwrap();
            }
        });
        let answers: Vec<String> = (0..500).map(|_| server.get("/folder/inner/deep.txt", "")).collect();
        done.store(true, Ordering::Relaxed);
        for answer in answers {
            assert!(matches!(status(&answer), 200 | 404) && !answer.contains(SECRET), "{answer}");
        }
    });
}

/// Lets this process have so many sockets, or as many as it may.
#[cfg(unix)]
fn raise_descriptor_limit(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let granted = wanted.min(maximum.unwrap_or(wanted));
    if current.is_some_and(|c| c < granted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(granted), maximum }).unwrap();
    }
    current.unwrap_or(granted).max(granted)
}

#[cfg(unix)]
#[test]
fn silent_connections_make_room_for_others() {
    let home = folders();
    let server = serve(home.path());
    let descriptors = usize::try_from(raise_descriptor_limit(2000)).unwrap_or(2000);
    let count = 1200.min(descriptors - 200);
    let silent: Vec<TcpStream> = (0..count).map(|_| server.connect()).collect();
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(status(&server.get("/", "")), 200);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    // One after the other was closed for those that came later; the server has places for 480.
    let closed = silent
        .iter()
        .take_while(|stream| {
            stream.set_nonblocking(true).unwrap();
            matches!((&mut &**stream).read(&mut [0]), Ok(0))
        })
        .count();
    assert!(closed + 480 >= count, "{closed} of {count}");
}

#[cfg(unix)]
#[test]
fn clients_that_do_not_read_make_room_for_others() {
    const LARGE: u64 = 64 << 20;
    let home = folders();
    fs::File::create(home.path().join("site/large.bin")).unwrap().set_len(LARGE).unwrap();
    // With so few descriptors there are 32 places.
    let limited = ["-c", "ulimit -n 128; exec \"$0\" serve --port 0 \"$@\"", env!("CARGO_BIN_EXE_onestep")];
    let server = start(Command::new("sh").args(limited), home.path());
    let request = b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n";
    std::thread::scope(|scope| {
        let mut good = server.connect();
        good.write_all(request).unwrap();
        let reader = scope.spawn(move || {
            let mut received = 0;
            let mut part = vec![0; 1 << 20];
            while received < LARGE {
                let read = good.read(&mut part).expect("a client that reads is not closed");
                assert!(read > 0, "closed after {received} bytes");
                received += read as u64;
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let _stalled: Vec<TcpStream> = (0..50)
            .map(|_| {
                let mut stream = server.connect();
                stream.write_all(request).unwrap();
                stream
            })
            .collect();
        for _ in 0..10 {
            let begun = Instant::now();
            let mut stream = server.connect();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(status(&answer), 200);
            // Those that came last are closed after one second at the earliest.
            assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_client_that_takes_a_byte_now_and_then_is_closed() {
    let home = folders();
    fs::File::create(home.path().join("site/large.bin")).unwrap().set_len(64 << 20).unwrap();
    let server = serve(home.path());
    let mut stream = server.connect();
    stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let begun = Instant::now();
    // What has arrived can be read after the end; whether the connection is broken is known at once.
    while stream.take_error().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(120), "still open");
        stream.read_exact(&mut [0; 100]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(status(&server.get("/", "")), 200);
}

#[test]
fn pages_of_listed_origins_may_read() {
    let home = folders();
    let listed = serve_with(home.path(), &["--cors", "https://one.example", "--cors", "http://localhost:3000"]);
    let preflight = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: if-range,range\r\n";
    for origin in ["https://one.example", "http://localhost:3000"] {
        let (head, _) = listed.request("OPTIONS", "/bundle/manifest.json", &format!("Origin: {origin}\r\n{preflight}"));
        assert_eq!(status(&head), 200, "{head}");
        assert_eq!(header(&head, "access-control-allow-origin"), Some(origin));
        assert_eq!(header(&head, "access-control-allow-methods"), Some("GET,HEAD"));
        assert!(header(&head, "access-control-allow-headers").is_some_and(|h| h.contains("range") && h.contains("if-range")), "{head}");
        assert!(header(&head, "access-control-max-age").is_some(), "{head}");

        let (head, content) = listed.request("GET", "/ten.bin", &format!("Origin: {origin}\r\nRange: bytes=2-4\r\n"));
        assert_eq!((status(&head), content.as_slice()), (206, &b"234"[..]), "{head}");
        assert_eq!(header(&head, "access-control-allow-origin"), Some(origin));
        assert_eq!(header(&head, "vary").map(str::to_ascii_lowercase).as_deref(), Some("origin"));
        assert_eq!(header(&head, "cross-origin-resource-policy"), Some("cross-origin"));
        assert!(header(&head, "access-control-expose-headers").is_some_and(|h| h.contains("content-range") && h.contains("etag")), "{head}");
        assert_eq!(header(&head, "access-control-allow-credentials"), None);
    }
    for origin in ["https://two.example", "https://one.example.evil.example", "http://one.example", "https://one.example:8443", "null"] {
        for (method, more) in [("OPTIONS", preflight), ("GET", ""), ("HEAD", "")] {
            let (head, _) = listed.request(method, "/ten.bin", &format!("Origin: {origin}\r\n{more}"));
            assert_eq!(status(&head), 200, "{origin}: {head}");
            assert_eq!(header(&head, "access-control-allow-origin"), None, "{origin}");
            assert_eq!(header(&head, "cross-origin-resource-policy"), Some("same-origin"), "{origin}");
            assert!(header(&head, "vary").is_some_and(|v| v.eq_ignore_ascii_case("origin")), "{origin}: {head}");
        }
    }
    let (head, _) = listed.request("GET", "/ten.bin", "");
    assert_eq!(header(&head, "cross-origin-resource-policy"), Some("same-origin"));

    // What is no preflight request, or names a foreign host, is refused as ever.
    for (request, code) in [
        ("OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://one.example\r\n", 405),
        ("OPTIONS / HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: GET\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://one.example\r\n", 405),
        ("OPTIONS / HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://one.example\r\nAccess-Control-Request-Method: GET\r\n", 403),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://one.example\r\n", 403),
    ] {
        let answer = listed.raw(format!("{request}Connection: close\r\n\r\n").as_bytes());
        assert_eq!(status(&answer), code, "{request}: {answer}");
        assert!(!answer.contains("access-control-"), "{request}: {answer}");
    }

    let any = serve_with(home.path(), &["--cors", "*"]);
    for more in ["", "Origin: https://two.example\r\n", "Origin: null\r\n"] {
        let (head, _) = any.request("GET", "/ten.bin", more);
        assert_eq!(header(&head, "access-control-allow-origin"), Some("*"), "{more}");
        assert_eq!(header(&head, "cross-origin-resource-policy"), Some("cross-origin"), "{more}");
        assert_eq!(header(&head, "vary"), None, "{more}");
    }

    let none = serve(home.path());
    let (head, _) = none.request("GET", "/ten.bin", "Origin: https://one.example\r\n");
    assert!(!head.contains("access-control-") && !head.contains("vary:"), "{head}");
    assert_eq!(header(&head, "cross-origin-resource-policy"), Some("same-origin"));
    assert_eq!(status(&none.request("OPTIONS", "/", &format!("Origin: https://one.example\r\n{preflight}")).0), 405);
}

#[test]
fn origins_that_no_browser_sends_are_refused() {
    for origin in ["example.org", "https://example.org/path", "https://*.example.org", "null", ""] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_onestep")).args(["serve", "--port", "0", "--cors", origin]).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{origin}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--cors"), "{origin}");
    }
}

#[test]
fn text_is_compressed_on_demand_and_weights_never() {
    let home = folders();
    let text = "all work and no play ".repeat(500);
    for name in ["index.html", "app.js", "style.css", "data.json", "app.wasm", "README.md", "weights.bin", "weights.safetensors", "image.png"] {
        fs::write(home.path().join("site").join(name), &text).unwrap();
    }
    let server = serve_with(home.path(), &["--compress"]);
    let gzip = "Accept-Encoding: br, gzip;q=0.9\r\n";
    for path in ["/", "/app.js", "/style.css", "/data.json", "/app.wasm", "/README.md"] {
        let (head, content) = server.request("GET", path, gzip);
        assert_eq!(header(&head, "content-encoding"), Some("gzip"), "{path}: {head}");
        assert_eq!((header(&head, "content-length"), header(&head, "accept-ranges")), (None, None), "{path}");
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&content[..]).read_to_string(&mut unpacked).unwrap();
        assert!(unpacked == text && content.len() < text.len() / 10, "{path}: {} bytes", content.len());

        let tag = header(&head, "etag").expect("a tag").to_owned();
        assert!(tag.starts_with("W/\""), "{tag}");
        let (same, content) = server.request("HEAD", path, gzip);
        for name in ["content-encoding", "content-length", "content-type", "etag", "vary"] {
            assert_eq!(header(&same, name), header(&head, name), "{path}: {name}");
        }
        assert!(content.is_empty(), "{path}");
        let (known, content) = server.request("GET", path, &format!("{gzip}If-None-Match: {tag}\r\n"));
        assert_eq!((status(&known), header(&known, "etag"), content.len()), (304, Some(tag.as_str()), 0), "{path}: {known}");

        let (part, content) = server.request("GET", path, &format!("{gzip}Range: bytes=4-7\r\n"));
        assert_eq!((status(&part), content.as_slice()), (206, &b"work"[..]), "{path}: {part}");
        let (whole, content) = server.request("GET", path, &format!("{gzip}Range: bytes=4-7\r\nIf-Range: {tag}\r\n"));
        assert_eq!((status(&whole), content.len()), (200, text.len()), "{path}: {whole}");
        for more in ["", "Accept-Encoding: br\r\n", "Accept-Encoding: gzip;q=0\r\n"] {
            let (plain, content) = server.request("GET", path, more);
            assert_eq!((status(&plain), content.len()), (200, text.len()), "{path}: {more}");
            assert_eq!(header(&plain, "content-encoding"), None, "{path}: {more}");
            assert_eq!(header(&plain, "vary"), Some("accept-encoding"), "{path}: {more}");
        }
        for answer in [&head, &known, &part, &whole] {
            assert_eq!(header(answer, "vary"), Some("accept-encoding"), "{path}: {answer}");
        }
        for answer in [&part, &whole] {
            assert_eq!(header(answer, "content-encoding"), None, "{path}: {answer}");
        }
    }
    for path in ["/weights.bin", "/weights.safetensors", "/image.png", "/bundle/manifest.json"] {
        let (head, _) = server.request("GET", path, gzip);
        assert_eq!((header(&head, "content-encoding"), header(&head, "vary")), (None, None), "{path}: {head}");
        assert!(header(&head, "etag").is_some_and(|tag| tag.starts_with('"')) && header(&head, "content-length").is_some(), "{path}: {head}");
    }
    let (refusal, _) = server.request("GET", "/app.js", "Accept-Encoding: identity;q=0, br\r\n");
    assert!(status(&refusal) == 406 && header(&refusal, "etag").is_none(), "{refusal}");

    let never = serve(home.path());
    for more in [gzip, "Accept-Encoding: identity;q=0, br\r\n"] {
        let (head, content) = never.request("GET", "/app.js", more);
        assert_eq!((status(&head), content.len()), (200, text.len()), "{head}");
        assert_eq!((header(&head, "content-encoding"), header(&head, "vary")), (None, None), "{head}");
    }
    let both = serve_with(home.path(), &["--compress", "--cors", "https://one.example"]);
    let (head, _) = both.request("GET", "/app.js", &format!("{gzip}Origin: https://one.example\r\n"));
    let varies: Vec<String> = head.lines().filter_map(|l| l.strip_prefix("vary: ")).map(str::to_ascii_lowercase).collect();
    assert!(varies.contains(&"origin".to_owned()) && varies.contains(&"accept-encoding".to_owned()), "{head}");
    assert_eq!(header(&head, "content-encoding"), Some("gzip"));
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
