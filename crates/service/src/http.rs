//! Serving HTTP to whoever comes, also to those who mean ill: so many connections, heads of so many
//! bytes, and none that takes for ever. What is answered is the router's; a slow body is its, too.

use crate::Stop;
use crate::linger::Lingering;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// How many, and how long.
#[derive(Clone, Copy)]
struct Limits {
    /// The most connections at a time; who comes then waits.
    connections: u32,
    /// How long the head of a request may take, and a connection be idle.
    head: Duration,
}

const LIMITS: Limits = Limits { connections: 1_024, head: Duration::from_secs(30) };
/// The most headers of a request.
const HEADERS: usize = 100;
/// The most bytes of a head.
const HEAD_BYTES: usize = 64 << 10;
/// How long to wait when the system gives no more connections.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is told to stop, and then until every request that has begun is answered.
///
/// # Errors
/// If the system takes no listener.
pub async fn serve(listener: std::net::TcpListener, router: Router, stop: Stop) -> io::Result<()> {
    serve_within(LIMITS, listener, router, stop).await
}

async fn serve_within(
    limits: Limits,
    listener: std::net::TcpListener,
    router: Router,
    stop: Stop,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(limits.connections as usize));
    loop {
        let Ok(seat) = room.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.wait() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                tokio::spawn(async move {
                    connection(limits, stream, router, &stop).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection now");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Every seat is free when every connection has ended.
    drop(listener);
    _ = room.acquire_many(limits.connections).await;
    Ok(())
}

async fn connection(limits: Limits, stream: TcpStream, router: Router, stop: &Stop) {
    // An answer is one small packet, and nobody shall wait for a second one.
    _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head);
    http.max_headers(HEADERS).max_buf_size(HEAD_BYTES);
    let service = TowerToHyperService::new(router);
    let stream = TokioIo::new(Lingering::new(stream, stop.clone()));
    let mut connection = pin!(http.serve_connection(stream, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use std::io::{Read, Write};
    use std::net::SocketAddr;

    fn ask(at: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        _ = stream.write_all(bytes);
        let mut answer = String::new();
        _ = stream.read_to_string(&mut answer);
        answer
    }

    /// Serves until the end of the test.
    fn start(limits: Limits) -> (tokio::runtime::Runtime, SocketAddr) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/refuse", post(async || (StatusCode::UNAUTHORIZED, "no token was shown")))
            .route("/take", post(async |body: Bytes| body.len().to_string()));
        runtime.spawn(serve_within(limits, listener, router, Stop::new()));
        (runtime, at)
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";

    #[test]
    fn whoever_is_slow_has_an_end_and_holds_up_nobody() {
        let (_runtime, at) = start(Limits { connections: 8, head: Duration::from_millis(400) });
        let open = |head: &[u8]| {
            let mut stream = std::net::TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream.write_all(head).unwrap();
            stream
        };
        // A head that never ends, one that has not begun, and a connection that is kept for nothing.
        let mut slow = vec![open(b"GET / HTTP/1.1\r\nhost: t\r\nx: "), open(b"")];
        slow.push(open(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n"));
        for _ in 0..20 {
            _ = slow[0].write_all(b"y");
            assert!(ask(at, GET).contains("200 OK"), "others are served meanwhile");
        }
        // More than there are seats: who comes then waits for the end of those, and is served.
        slow.extend((0..16).map(|_| open(b"GET /")));
        assert!(ask(at, GET).contains("200 OK"));
        for (number, mut stream) in slow.into_iter().enumerate() {
            let ended = stream.read_to_end(&mut Vec::new());
            let timed_out = ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            assert!(!timed_out, "connection {number} is never ended");
        }
    }

    #[test]
    fn who_is_refused_before_its_body_was_read_hears_why() {
        let (_runtime, at) = start(LIMITS);
        let body = vec![b'x'; 8 << 20];
        let lengths = [(body.len(), 20), (9_999_999_999, 2)];
        for (length, times) in lengths {
            for _ in 0..times {
                let mut stream = std::net::TcpStream::connect(at).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                write!(
                    stream,
                    "POST /refuse HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n"
                )
                .unwrap();
                // Whoever sends first and listens then is most of the clients that there are.
                stream.write_all(&body).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
                assert!(answer.ends_with("no token was shown"), "{answer}");
            }
        }
        // A connection whose body was read is kept.
        let take =
            |more| format!("POST /take HTTP/1.1\r\nhost: t\r\n{more}content-length: 3\r\n\r\nabc");
        let answers = ask(at, (take("") + &take("connection: close\r\n")).as_bytes());
        assert_eq!(answers.matches("200 OK").count(), 2, "{answers}");
    }

    #[test]
    fn heads_that_are_too_much_are_refused_and_the_end_is_soft() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, stop) = (listener.local_addr().unwrap(), Stop::new());
        let router = Router::new().route("/", get(async || "here"));
        let served = runtime.spawn(serve(listener, router, stop.clone()));
        let head =
            |more: &str| format!("GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{more}\r\n");
        let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
        let long = format!("x: {}\r\n", "y".repeat(300_000));
        for (more, status) in [("", "200 OK"), (&many, "431"), (&long, "431")] {
            let answer = ask(at, head(more).as_bytes());
            assert!(answer.contains(status), "{status} is not in {answer}");
        }
        assert!(ask(at, b"nonsense\r\n\r\n").contains("400"));
        stop.stop();
        runtime.block_on(served).unwrap().unwrap();
        assert!(std::net::TcpStream::connect(at).is_err(), "nobody listens any more");
    }
}
