//! Serving HTTP to whoever comes, also to those who mean ill: so many connections, heads of so many
//! bytes, and none that takes for ever. What is answered is the router's; a slow body is its, too.

use crate::Stop;
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

/// The most connections at a time; who comes then waits.
const CONNECTIONS: usize = 1_024;
/// How long the head of a request may take, and a connection be idle.
const HEAD: Duration = Duration::from_secs(30);
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
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
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
                    connection(stream, router, &stop).await;
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
    _ = room.acquire_many(CONNECTIONS as u32).await;
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, stop: &Stop) {
    // An answer is one small packet, and nobody shall wait for a second one.
    _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    http.max_headers(HEADERS).max_buf_size(HEAD_BYTES);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
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
    use axum::routing::get;
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr};

    fn ask(at: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        _ = stream.write_all(bytes);
        _ = stream.shutdown(Shutdown::Write);
        let mut answer = String::new();
        _ = stream.read_to_string(&mut answer);
        answer.lines().next().unwrap_or_default().to_owned()
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
