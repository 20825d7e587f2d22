//! A real HTTP server on this machine for tests: it plays an upstream, counts and keeps what it was
//! asked, and fails as it was told. It knows no TLS, and every connection carries one request.

use crate::server::{Server, Shared};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One request, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query as they stand in the request.
    pub target: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// What was posted.
    pub body: Vec<u8>,
}

impl Asked {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A parameter of the query as it stands, still encoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// A header; empty if it was not sent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What shall go wrong with one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Nothing is said until [`UpstreamServer::release`], then the answer.
    Hang,
    /// The connection is cut after so many bytes of the body.
    CutAfter(usize),
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// Beside `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// As it goes over the wire.
    pub body: Vec<u8>,
    /// What shall go wrong.
    pub fault: Fault,
}

impl Reply {
    /// An answer of a status with a text.
    pub fn status(status: u16, body: &str) -> Reply {
        Reply { status, body: body.as_bytes().to_vec(), ..Reply::default() }
    }

    /// 200 with a body of a kind.
    pub fn ok(content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
        let reply = Reply { status: 200, body: body.into(), ..Reply::default() };
        reply.with("Content-Type", content_type)
    }

    /// 200 with JSON.
    pub fn json(body: impl Into<Vec<u8>>) -> Reply {
        Reply::ok("application/json", body)
    }

    /// A redirect.
    pub fn to(location: &str) -> Reply {
        Reply::status(302, "").with("Location", location)
    }

    /// So many megabytes of blanks, packed into a thousandth.
    pub fn bomb(megabytes: usize) -> Reply {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        let blanks = vec![b' '; 1 << 20];
        let done = (0..megabytes).try_for_each(|_| packed.write_all(&blanks));
        let body = done.and_then(|()| packed.finish()).unwrap_or_default();
        Reply::json(body).with("Content-Encoding", "gzip")
    }

    /// The same, packed.
    #[must_use]
    pub fn packed(mut self) -> Reply {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let done = packed.write_all(&self.body);
        self.body = done.and_then(|()| packed.finish()).unwrap_or_default();
        self.with("Content-Encoding", "gzip")
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, cut off after so many bytes of its body.
    #[must_use]
    pub fn cut_after(self, bytes: usize) -> Reply {
        Reply { fault: Fault::CutAfter(bytes), ..self }
    }

    /// The same, once the server is released.
    #[must_use]
    pub fn hang(self) -> Reply {
        Reply { fault: Fault::Hang, ..self }
    }

    /// The same with an `ETag`, or 304 for who has it already.
    #[must_use]
    pub fn unless_known(self, etag: &str, asked: &Asked) -> Reply {
        if asked.header("if-none-match") == etag {
            return Reply::status(304, "").with("ETag", etag);
        }
        self.with("ETag", etag)
    }
}

type Answer = Arc<Mutex<dyn FnMut(&Asked) -> Reply + Send>>;

/// A server that runs until it is dropped.
pub struct UpstreamServer(Server<State>);

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    asked: Vec<Asked>,
}

impl UpstreamServer {
    /// A server on a free port of 127.0.0.1. Fails if the system gives none.
    pub fn start() -> io::Result<UpstreamServer> {
        Ok(UpstreamServer(Server::start("upstream", State::default(), converse)?))
    }

    /// `http://127.0.0.1:port`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// Answers every request to `path` by what `answer` says; other paths are 404.
    pub fn on(&self, path: &str, answer: impl FnMut(&Asked) -> Reply + Send + 'static) {
        let answer: Answer = Arc::new(Mutex::new(answer));
        self.0.shared.change(|state| state.answers.insert(path.to_owned(), answer));
    }

    /// Answers the first, second, … request to `path`; the last answer goes on for ever.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let mut left: Vec<Reply> = replies.into_iter().collect();
        left.reverse();
        let mut last = Reply::status(404, "nothing is scripted here");
        self.on(path, move |_| {
            last = left.pop().unwrap_or_else(|| last.clone());
            last.clone()
        });
    }

    /// Every request so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.0.shared.look(|state| state.asked.clone())
    }

    /// How many requests there were to `path`.
    pub fn count(&self, path: &str) -> usize {
        let to_path = |asked: &&Asked| asked.path() == path;
        self.0.shared.look(|state| state.asked.iter().filter(to_path).count())
    }

    /// Waits until there were `count` requests of any kind; whether there were within `patience`.
    pub fn wait_for(&self, count: usize, patience: Duration) -> bool {
        self.0.shared.wait(patience, |state| state.asked.len() >= count)
    }

    /// Lets everything go on that hangs, now and later.
    pub fn release(&self) {
        self.0.shared.release();
    }
}

fn converse(stream: &TcpStream, shared: &Shared<State>) -> io::Result<()> {
    let asked = read_request(&mut BufReader::new(stream))?;
    let answer = shared.change(|state| {
        state.asked.push(asked.clone());
        state.answers.get(asked.path()).cloned()
    });
    let reply = match answer {
        Some(answer) => (answer.lock().unwrap_or_else(PoisonError::into_inner))(&asked),
        None => Reply::status(404, "there is nothing here"),
    };
    if reply.fault == Fault::Hang {
        shared.wait_for_release();
    }
    write_reply(stream, &reply)
}

fn read_request(input: &mut impl BufRead) -> io::Result<Asked> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Asked { method, target, headers, body })
}

fn write_reply(mut out: &TcpStream, reply: &Reply) -> io::Result<()> {
    let Reply { status, headers, body, fault } = reply;
    let mut head = format!("HTTP/1.1 {status} as told\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if *status != 304 {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    out.write_all((head + "\r\n").as_bytes())?;
    match fault {
        Fault::CutAfter(bytes) => out.write_all(&body[..body.len().min(*bytes)]),
        _ => out.write_all(body),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends by panicking")]
    use super::*;
    use std::io::Read;
    use std::net::Ipv4Addr;

    fn ask(server: &UpstreamServer, target: &str, more: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.0.port)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n{more}\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn answers_as_it_was_told_and_counts() {
        let server = UpstreamServer::start().unwrap();
        server.script("/a", [Reply::status(500, "no"), Reply::json("{}")]);
        server.on("/b", |asked| Reply::json("[]").unless_known("\"1\"", asked));
        assert!(ask(&server, "/a?x=1", "").starts_with("HTTP/1.1 500 "));
        for _ in 0..2 {
            assert!(ask(&server, "/a?x=2", "").ends_with("\r\n\r\n{}"));
        }
        assert!(ask(&server, "/b", "").contains("ETag: \"1\""));
        assert!(ask(&server, "/b", "If-None-Match: \"1\"\r\n").starts_with("HTTP/1.1 304 "));
        assert!(ask(&server, "/c", "").starts_with("HTTP/1.1 404 "));
        assert_eq!((server.count("/a"), server.asked().len()), (3, 6));
        assert_eq!(server.asked()[1].query("x"), Some("2"));
        server.script("/cut", [Reply::json("abcdef").cut_after(2)]);
        assert!(ask(&server, "/cut", "").ends_with("Content-Length: 6\r\n\r\nab"));
    }
}
