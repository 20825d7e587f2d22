//! The live client: makes one call with its credentials and brings back what was answered, within
//! limits of time and size. It follows no redirect, tries nothing twice, and shows no secret.

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
    /// The text without what must not be shown.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in [&self.token, &self.secret] {
            // Shorter ones would be found everywhere.
            if secret.expose().len() >= 4 {
                text = text.replace(secret.expose(), "***");
            }
        }
        text
    }
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
        let http = reqwest::Client::builder()
            .user_agent(agent)
            .tls_backend_preconfigured(trust()?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT.min(timeout))
            .timeout(timeout)
            .build();
        Ok(Client {
            http: http.map_err(|e| format!("cannot ask over HTTP: {e}"))?,
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
        let work = async {
            let response = self.http.execute(request).await.map_err(lost)?;
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
    let cause = std::iter::successors(std::error::Error::source(&error), |e| e.source()).last();
    Failure::Later(cause.map_or(what.to_owned(), |cause| format!("{what}: {cause}")))
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
