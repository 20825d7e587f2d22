//! Mail by SMTP. Connections are kept and used again. Up to the first byte of the message nothing
//! can have been taken, so whatever goes wrong is deferred; after it, only an answer is certain.
//!
//! The library's own pool is not used: an attempt that is dropped half-way would put its
//! connection back, and the next message would read answers that belong to the last one.

use super::{EmailSection, Encryption};
use crate::channel::{Channel, Message, Outcome, Sending};
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long an attempt waits for a free connection, and for the commands before the message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connecting, encrypting and logging in may take, and how long the answer to a message.
/// All together stay within a sender's deadline.
const LONG: Duration = Duration::from_secs(20);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// After this pause a connection is asked whether it still lives before it is used.
const DOUBT: Duration = Duration::from_secs(1);
/// Servers end a connection after some number of messages; this is below the usual ones.
const USES: u32 = 50;

/// A client of the section's server. Connects when there is something to send.
pub(super) fn open(section: &EmailSection, _: &Path) -> Result<Arc<dyn Channel>, String> {
    if section.host.is_empty() {
        return Err("transport = \"smtp\" needs host: the name of the mail server".to_owned());
    }
    if section.connections == 0 {
        return Err("connections must be at least 1, found 0".to_owned());
    }
    let tls = match section.tls {
        Encryption::None => None,
        _ => Some(TlsParameters::new(section.host.clone()).map_err(|error| {
            format!("cannot use TLS with {:?}: {error}; use a host name", section.host)
        })?),
    };
    let login = (!section.username.is_empty())
        .then(|| Credentials::new(section.username.clone(), section.password.expose().to_owned()));
    let default_port = match section.tls {
        Encryption::Starttls => 587,
        Encryption::Implicit => 465,
        Encryption::None => 25,
    };
    Ok(Arc::new(Smtp {
        host: section.host.clone(),
        port: section.port.unwrap_or(default_port),
        encryption: section.tls,
        tls,
        login,
        hello: ClientId::default(),
        room: Semaphore::new(section.connections),
        idle: Mutex::default(),
    }))
}

struct Smtp {
    host: String,
    port: u16,
    encryption: Encryption,
    tls: Option<TlsParameters>,
    login: Option<Credentials>,
    hello: ClientId,
    room: Semaphore,
    idle: Mutex<Vec<Line>>,
}

/// A connection between two messages. While a message is under way the attempt owns it, so that it
/// is closed and not used again if the attempt is dropped.
struct Line {
    connection: AsyncSmtpConnection,
    since: Instant,
    used: u32,
}

impl Channel for Smtp {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            match self.transmit(message).await {
                Ok(receipt) => Outcome::Sent(receipt),
                Err(outcome) => outcome,
            }
        })
    }
}

impl Smtp {
    async fn transmit(&self, message: &Message) -> Result<String, Outcome> {
        let Ok(Ok(_room)) = timeout(PATIENCE, self.room.acquire()).await else {
            return Err(Outcome::Deferred(
                "all connections to the mail server are busy".to_owned(),
            ));
        };
        let mut line = match self.idle_line().await {
            Some(line) => line,
            None => self.connect().await?,
        };
        let (from, to) = (address(&message.from)?, address(&message.to)?);
        prepare(&mut line.connection, from, to, message.bytes.is_ascii()).await?;
        let answer = match timeout(LONG, line.connection.message(&message.bytes)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(answered(&error).unwrap_or_else(|| unknown(&error))),
            Err(_) => return Err(unknown(&"no answer to the message in time")),
        };
        let receipt = format!("{} {}", answer.code(), answer.first_line().unwrap_or_default());
        self.keep(line);
        Ok(receipt)
    }

    /// A connection that was used before and still lives.
    async fn idle_line(&self) -> Option<Line> {
        loop {
            let mut line = self.lines().pop()?;
            let idle = line.since.elapsed();
            if idle < DOUBT
                || idle < IDLE && timeout(DOUBT, line.connection.test_connected()).await == Ok(true)
            {
                return Some(line);
            }
        }
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, mut line: Line) {
        line.used += 1;
        line.since = Instant::now();
        if line.used < USES {
            self.lines().push(line);
        }
    }

    async fn connect(&self) -> Result<Line, Outcome> {
        let connecting = async {
            let implicit = self.tls.clone().filter(|_| self.encryption == Encryption::Implicit);
            let server = (self.host.as_str(), self.port);
            let mut connection = AsyncSmtpConnection::connect_tokio1(
                server,
                Some(LONG),
                &self.hello,
                implicit,
                None,
            )
            .await?;
            if let (Encryption::Starttls, Some(tls)) = (self.encryption, &self.tls) {
                connection.starttls(tls.clone(), &self.hello).await?;
            }
            if let Some(login) = &self.login {
                connection.auth(DEFAULT_MECHANISMS, login).await?;
            }
            Ok::<_, Error>(connection)
        };
        let place = format!("{}:{}", self.host, self.port);
        match timeout(LONG, connecting).await {
            Ok(Ok(connection)) => Ok(Line { connection, since: Instant::now(), used: 0 }),
            // Even a 5xx is about us and not about the recipient: a password can be mended.
            Ok(Err(error)) => Err(Outcome::Deferred(format!("cannot connect to {place}: {error}"))),
            Err(_) => {
                Err(Outcome::Deferred(format!("cannot connect to {place}: no answer in time")))
            }
        }
    }
}

fn address(text: &str) -> Result<Address, Outcome> {
    text.parse().map_err(|error| Outcome::Refused(format!("the address cannot be used: {error}")))
}

/// Everything before the message's first byte.
async fn prepare(
    connection: &mut AsyncSmtpConnection,
    from: Address,
    to: Address,
    ascii: bool,
) -> Result<(), Outcome> {
    let mut parameters = Vec::new();
    let international = [&from, &to].iter().any(|a| !AsRef::<str>::as_ref(a).is_ascii());
    for (needed, extension, parameter) in [
        (international, Extension::SmtpUtfEight, MailParameter::SmtpUtfEight),
        (!ascii, Extension::EightBitMime, MailParameter::Body(MailBodyParameter::EightBitMime)),
    ] {
        if needed && !connection.server_info().supports_feature(extension) {
            return Err(Outcome::Refused(format!("the mail server does not support {extension}")));
        }
        parameters.extend(needed.then_some(parameter));
    }
    let commands = async {
        connection.command(Mail::new(Some(from), parameters)).await?;
        connection.command(Rcpt::new(to, Vec::new())).await?;
        connection.command(Data).await
    };
    match timeout(PATIENCE, commands).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(answered(&error)
            .unwrap_or_else(|| Outcome::Deferred(format!("the connection failed: {error}")))),
        Err(_) => Err(Outcome::Deferred("the mail server does not answer".to_owned())),
    }
}

/// The outcome if the server answered no.
fn answered(error: &Error) -> Option<Outcome> {
    if error.is_permanent() {
        Some(Outcome::Refused(format!("the mail server refused it: {error}")))
    } else if error.is_transient() {
        Some(Outcome::Deferred(format!("the mail server put it off: {error}")))
    } else {
        None
    }
}

fn unknown(why: &dyn std::fmt::Display) -> Outcome {
    Outcome::Unknown(format!("the message left and no answer came: {why}"))
}
