//! A real SMTP server on this machine for tests: it counts what it accepted by Message-ID, keeps
//! the bytes, and fails as it was told. It delivers nothing and knows no TLS.

use crate::server::{Server, Shared};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Where in a conversation something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In answer to the recipient: the recipient decides about faults, so MAIL is answered well.
    Rcpt,
    /// In answer to DATA.
    Data,
    /// In answer to the message's last dot.
    Dot,
}

/// What shall go wrong with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The server answers with this code, 4xx or 5xx.
    Reply(Stage, u16),
    /// The server says nothing until [`SmtpServer::release`], then goes on.
    Hang(Stage),
    /// The message is accepted and kept, and the connection cut before the answer.
    CutAfterDot,
    /// The connection is cut here; nothing is kept.
    Cut(Stage),
    /// The answer to the last dot takes this long.
    Slow(Duration),
}

/// For each recipient, the faults of the first, second, … message; after them all goes well.
pub type Faults = HashMap<String, Vec<Fault>>;

/// A message that the server accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Without angle brackets; empty if there was none.
    pub message_id: String,
    /// The envelope's recipient.
    pub to: String,
    /// As it was sent, dots unstuffed, lines ending in CRLF.
    pub bytes: Vec<u8>,
    /// When it was accepted.
    pub at: Instant,
}

/// A server that runs until it is dropped.
pub struct SmtpServer(Server<State>);

#[derive(Default)]
struct State {
    faults: Faults,
    accepted: Vec<Mail>,
    hanging: usize,
}

impl SmtpServer {
    /// A server on a free port of 127.0.0.1. Fails if the system gives none.
    pub fn start(faults: Faults) -> io::Result<SmtpServer> {
        let state = State { faults, ..State::default() };
        Ok(SmtpServer(Server::start("smtp", state, converse)?))
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Every message accepted, in order.
    pub fn accepted(&self) -> Vec<Mail> {
        self.0.shared.look(|state| state.accepted.clone())
    }

    /// How often each Message-ID was accepted.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for mail in self.accepted() {
            *counts.entry(mail.message_id).or_default() += 1;
        }
        counts
    }

    /// Waits until `count` messages are accepted; whether they were within `patience`.
    pub fn wait_for(&self, count: usize, patience: Duration) -> bool {
        self.0.shared.wait(patience, |state| state.accepted.len() >= count)
    }

    /// Waits until `count` conversations hang; whether they did within `patience`.
    pub fn wait_for_hanging(&self, count: usize, patience: Duration) -> bool {
        self.0.shared.wait(patience, |state| state.hanging >= count)
    }

    /// Lets everything go on that hangs, now and later.
    pub fn release(&self) {
        self.0.shared.release();
    }
}

fn converse(stream: &TcpStream, shared: &Shared<State>) -> io::Result<()> {
    let (mut input, mut line) = (BufReader::new(stream), String::new());
    let mut session = Session { out: stream, shared, to: String::new(), fault: Fault::None };
    session.say("220 localhost ready")?;
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let verb = line.split([' ', '\r', '\n']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => session.say("250-localhost\r\n250-8BITMIME\r\n250 SMTPUTF8")?,
            "RCPT" => session.rcpt(between(&line, '<', '>'))?,
            "DATA" => {
                if session.answer(Stage::Data, "354 go on")? {
                    let bytes = read_message(&mut input)?;
                    session.dot(bytes)?;
                }
            }
            "QUIT" => return session.say("221 bye"),
            "HELO" | "MAIL" | "RSET" | "NOOP" => session.say("250 ok")?,
            _ => session.say("502 not here")?,
        }
    }
}

/// One client.
struct Session<'a> {
    out: &'a TcpStream,
    shared: &'a Shared<State>,
    to: String,
    fault: Fault,
}

impl Session<'_> {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(format!("{text}\r\n").as_bytes())
    }

    /// Answers as the fault says; whether the client may go on.
    fn answer(&mut self, stage: Stage, good: &str) -> io::Result<bool> {
        match self.fault {
            Fault::Reply(at, code) if at == stage => {
                self.say(&format!("{code} as told"))?;
                return Ok(false);
            }
            Fault::Hang(at) if at == stage => {
                self.shared.change(|state| state.hanging += 1);
                self.shared.wait_for_release();
                self.shared.change(|state| state.hanging -= 1);
            }
            Fault::Cut(at) if at == stage => return Err(io::ErrorKind::ConnectionAborted.into()),
            _ => {}
        }
        self.say(good)?;
        Ok(true)
    }

    fn rcpt(&mut self, to: &str) -> io::Result<()> {
        self.to = to.to_owned();
        self.fault = self.shared.change(|state| match state.faults.get_mut(to) {
            Some(faults) if !faults.is_empty() => faults.remove(0),
            _ => Fault::None,
        });
        self.answer(Stage::Rcpt, "250 ok").map(drop)
    }

    /// The message is kept before it is acknowledged, as an honest server does.
    fn dot(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        if let Fault::Slow(time) = self.fault {
            std::thread::sleep(time);
        }
        let kept = !matches!(self.fault, Fault::Reply(Stage::Dot, _) | Fault::Cut(Stage::Dot));
        if kept {
            let (message_id, to, at) = (message_id(&bytes), self.to.clone(), Instant::now());
            let mail = Mail { message_id, to, bytes, at };
            self.shared.change(|state| state.accepted.push(mail));
        }
        match self.fault {
            Fault::CutAfterDot => Err(io::ErrorKind::ConnectionAborted.into()),
            _ => self.answer(Stage::Dot, "250 2.0.0 kept").map(drop),
        }
    }
}

fn read_message(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let (mut message, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn message_id(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let field = head.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"));
    field.map(|line| between(line, '<', '>').to_owned()).unwrap_or_default()
}

fn between(text: &str, open: char, close: char) -> &str {
    let inner = text.split_once(open).map_or("", |(_, rest)| rest);
    inner.split_once(close).map_or("", |(inner, _)| inner)
}
