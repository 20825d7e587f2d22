//! The live client: makes one call with its credentials and brings back what was answered, within
//! limits of time and size. It follows no redirect, tries nothing twice, and shows no secret.

use super::guard::{Guard, Inside};
use super::request;
use crate::upstream::{Answer, Call};
use flate2::read::MultiGzDecoder;
use reqwest::{Response, header};
use std::io::Read;
use std::sync::OnceLock;
use std::time::Duration;
use tocsin_domain::Micros;
use tocsin_service::config::Secret;
use tokio::runtime::Runtime;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The most bytes of an answer, as it comes and unpacked.
pub const ANSWER_CAP: usize = 64 << 20;
/// How often a caller that waits is asked whether to go on.
const LOOK: Duration = Duration::from_millis(100);

/// What came back, whole and unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// `Retry-After`, from now.
    pub retry_after: Option<Duration>,
    /// `Location`.
    pub location: Option<String>,
    /// `ETag`.
    pub etag: String,
    /// `Last-Modified`.
    pub last_modified: String,
    /// Everything else.
    pub body: Vec<u8>,
}

impl Reply {
    /// As an upstream judges it.
    pub fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            content_type: &self.content_type,
            retry_after: self.retry_after,
            body: &self.body,
        }
    }
}

/// Why nothing came back that can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer, or not all of it: later perhaps.
    Later(String),
    /// It can never be sent: the configuration is wrong.
    Refused(String),
    /// An answer that cannot be taken, with its first bytes.
    Broken(String, Vec<u8>),
    /// The caller did not want to wait.
    Stopped,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// A key that stays, or the one that the last login gave.
    pub token: Secret,
    /// For a login.
    pub client_id: String,
    /// For a login.
    pub secret: Secret,
}

impl Credentials {
    /// The text without what must not be shown, however an address or JSON writes it.
    pub fn hide(&self, text: &str) -> String {
        // Shorter ones would be found everywhere.
        let secrets = [&self.token, &self.secret].map(|secret| secret.expose().as_bytes());
        let secrets: Vec<&[u8]> = secrets.into_iter().filter(|secret| secret.len() >= 4).collect();
        let (mut rest, mut shown) = (text.as_bytes(), Vec::with_capacity(text.len()));
        while let Some((first, behind)) = rest.split_first() {
            let hidden = secrets.iter().find_map(|secret| covered(rest, secret));
            match hidden {
                Some(length) => {
                    shown.extend_from_slice(b"***");
                    rest = &rest[length..];
                }
                None => {
                    shown.push(*first);
                    rest = behind;
                }
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// The same of an address. Its path is what was asked for, and is left as it is.
    pub fn hide_in_query(&self, url: &str) -> String {
        let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
        format!("{path}{}", self.hide(query))
    }
}

/// How many of the first bytes of `text` are the secret: as it is, encoded as in addresses, or escaped as
/// in JSON, each byte in its own way.
fn covered(text: &[u8], secret: &[u8]) -> Option<usize> {
    let Some((byte, left)) = secret.split_first() else { return Some(0) };
    let lengths = [
        (text.first() == Some(byte)).then_some(1),
        (unescaped(text) == Some(u32::from(*byte))).then_some(3),
        (text.first() == Some(&b'+') && *byte == b' ').then_some(1),
        (text.first() == Some(&b'\\') && text.get(1) == Some(byte)).then_some(2),
    ];
    lengths.into_iter().flatten().find_map(|length| Some(length + covered(&text[length..], left)?))
}

/// The byte that `%2F` and its like stand for.
fn unescaped(text: &[u8]) -> Option<u32> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    Some(digit(high)? * 16 + digit(low)?)
}

/// What an answer was called when it came last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Its `ETag`.
    pub etag: &'a str,
    /// Its `Last-Modified`.
    pub last_modified: &'a str,
}

/// Makes calls, one at a time.
pub struct Client {
    http: reqwest::Client,
    guard: Guard,
    runtime: Runtime,
}

impl Client {
    /// A client that says `contact` of itself and waits `timeout` for a whole answer.
    ///
    /// # Errors
    /// If the system gives no runtime or no certificates.
    pub fn new(contact: &str, timeout: Duration) -> Result<Client, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let agent = match contact {
            "" => concat!("tocsin/", env!("CARGO_PKG_VERSION")).to_owned(),
            contact => format!(concat!("tocsin/", env!("CARGO_PKG_VERSION"), " (+{})"), contact),
        };
        let guard = Guard::default();
        let http = reqwest::Client::builder()
            .dns_resolver(guard.clone())
            .user_agent(agent)
            .tls_backend_preconfigured(trust()?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT.min(timeout))
            .timeout(timeout)
            .build();
        Ok(Client {
            http: http.map_err(|e| format!("cannot ask over HTTP: {e}"))?,
            guard,
            runtime: runtime.map_err(|e| format!("cannot ask over HTTP: {e}"))?,
        })
    }

    /// Makes the call; gives up as soon as `go_on` says no.
    ///
    /// # Errors
    /// What keeps it from an answer.
    pub fn send(
        &self,
        call: &Call,
        credentials: &Credentials,
        known: Known<'_>,
        now: Micros,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Reply, Failure> {
        let request = request::build(call, credentials, known)?;
        let inside =
            |inside: &Inside| Failure::Refused(format!("cannot ask {}: {inside}", call.url));
        self.guard.watch(request.url(), call.away).map_err(|error| inside(&error))?;
        let work = async {
            let response = self.http.execute(request).await;
            let response = response.map_err(|error| {
                let found =
                    causes(&error).find_map(|cause| cause.downcast_ref::<Inside>()).cloned();
                found.map_or_else(|| lost(error), |found| inside(&found))
            })?;
            receive(response, now).await
        };
        self.runtime.block_on(async {
            tokio::pin!(work);
            loop {
                match tokio::time::timeout(LOOK, &mut work).await {
                    Ok(done) => return done,
                    Err(_) if go_on() => {}
                    Err(_) => return Err(Failure::Stopped),
                }
            }
        })
    }
}

/// Whom this machine trusts, read once. Where there is nobody, only what has no TLS can be asked.
fn trust() -> Result<rustls::ClientConfig, String> {
    static TRUST: OnceLock<Result<rustls::ClientConfig, String>> = OnceLock::new();
    TRUST.get_or_init(read_trust).clone()
}

fn read_trust() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("cannot ask over TLS: {e}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Reads an answer to its end, but no further than the limit.
async fn receive(mut response: Response, now: Micros) -> Result<Reply, Failure> {
    let text = |name: header::HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut reply = Reply {
        status: response.status().as_u16(),
        content_type: text(header::CONTENT_TYPE),
        retry_after: retry_after(&text(header::RETRY_AFTER), now),
        location: Some(text(header::LOCATION)).filter(|text| !text.is_empty()),
        etag: text(header::ETAG),
        last_modified: text(header::LAST_MODIFIED),
        body: Vec::new(),
    };
    let packed = text(header::CONTENT_ENCODING).eq_ignore_ascii_case("gzip");
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if reply.body.len() + chunk.len() > ANSWER_CAP {
            return Err(too_long(reply.body));
        }
        reply.body.extend_from_slice(&chunk);
    }
    if packed { unpack(reply) } else { Ok(reply) }
}

/// Unpacks the body, but no further than the limit.
fn unpack(mut reply: Reply) -> Result<Reply, Failure> {
    let mut plain = Vec::new();
    let packed = std::mem::take(&mut reply.body);
    let read = MultiGzDecoder::new(&*packed).take(ANSWER_CAP as u64 + 1).read_to_end(&mut plain);
    match read {
        Ok(read) if read > ANSWER_CAP => Err(too_long(packed)),
        Ok(_) => Ok(Reply { body: plain, ..reply }),
        Err(e) => Err(Failure::Broken(format!("the answer cannot be unpacked: {e}"), packed)),
    }
}

fn too_long(bytes: Vec<u8>) -> Failure {
    let reason = format!("the answer has more than {ANSWER_CAP} bytes, which is the limit");
    Failure::Broken(reason, bytes)
}

/// The library's own text shows the address with its credentials.
fn lost(error: reqwest::Error) -> Failure {
    let what = match &error {
        e if e.is_timeout() => "no answer in time",
        e if e.is_connect() => "cannot connect",
        _ => "the answer broke off",
    };
    let error = error.without_url();
    let cause = causes(&error).last();
    Failure::Later(cause.map_or(what.to_owned(), |cause| format!("{what}: {cause}")))
}

/// What is behind an error, down to the first cause.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
}

/// Seconds, or a date.
fn retry_after(text: &str, now: Micros) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(Micros(at.as_microsecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_however_they_are_written() {
        let (token, secret) = ("s3 c/%+ü\"".to_owned().into(), "%25x".to_owned().into());
        let credentials = Credentials { token, secret, ..Credentials::default() };
        for (text, wanted) in [
            ("it is s3 c/%+ü\".", "it is ***."),
            ("?a=s3+c%2F%25%2B%C3%BC%22&b", "?a=***&b"),
            ("?a=s3%20c%2f%25%2b%c3%bc%22&b", "?a=***&b"),
            ("?a=%733%20c/%25+ü\"", "?a=***"),
            (r#"{"url":"s3 c\/%+ü\""}"#, r#"{"url":"***"}"#),
            ("%25x %2525x %2525%78", "*** *** ***"),
            ("s3 s3 c/%+ü s3 c/%+", "s3 s3 c/%+ü s3 c/%+"),
            ("%", "%"),
            ("é", "é"),
        ] {
            assert_eq!(credentials.hide(text), wanted, "{text}");
        }
        let path = "https://u/%25x?q=%25x&a=%2525x";
        assert_eq!(credentials.hide_in_query(path), "https://u/%25x?q=***&a=***");
        let short = Credentials { token: "abc".to_owned().into(), ..Credentials::default() };
        assert_eq!((short.hide("abc"), short.hide_in_query("abc")), ("abc".into(), "abc".into()));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Micros::parse("1994-11-06T08:49:30Z").unwrap();
        for (text, wanted) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now).map(|d| d.as_secs()), wanted, "{text}");
        }
    }
}
