//! A schema registry with the Confluent-compatible interface, as far as Tocsin asks it: which versions
//! a subject has, whether another fits, and to register it. It deletes nothing.

use crate::exit::{Exit, Kind};
use crate::settings::RegistryOptions;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;
use tocsin_domain::topics::Topics;
use tocsin_domain::wire::catalogue::{self, Known};
use ureq::Agent;
use ureq::http::{Method, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked of every subject: any version reads what any other wrote.
pub const LEVEL: &str = "FULL_TRANSITIVE";

/// The registry's own numbers: there is no such subject or schema, or nothing is said of its
/// compatibility.
const NOTHING: [u64; 3] = [40401, 40403, 40408];

/// Each topic's subject (`<topic>-value`) with the schema of its values, in the order of topics.yaml.
pub fn subjects() -> Vec<(String, &'static Known)> {
    let known = |topic: &str, file: Option<&str>| {
        Some((format!("{topic}-value"), catalogue::by_file(file?).ok()?))
    };
    Topics::builtin().iter().filter_map(|t| known(&t.name, t.schema.as_deref())).collect()
}

/// A registry.
pub struct Registry {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

/// One version of a subject.
#[derive(Debug, Deserialize)]
pub struct Version {
    /// The number that frames values.
    pub id: u32,
    /// Counts within the subject.
    pub version: u32,
    /// The schema's text.
    pub schema: String,
    #[serde(default, rename = "schemaType")]
    kind: Option<String>,
}

impl Version {
    /// Whether it is an Avro schema, which a registry does not need to say.
    pub fn is_avro(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == "AVRO")
    }
}

/// What an id names.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// An Avro schema.
    Schema(String),
    /// Nothing that can be read with, and why.
    Nothing(String),
}

/// Why the registry did not do what it was asked.
#[derive(Debug)]
pub enum RegistryError {
    /// Nobody answers, or not now.
    Away(String),
    /// It will not do that, or is no registry.
    Refused(String),
    /// The schema does not fit those that it has.
    Incompatible(String),
}

impl From<RegistryError> for anyhow::Error {
    fn from(error: RegistryError) -> anyhow::Error {
        match error {
            RegistryError::Away(text) => Exit::error(Kind::Unreachable, text),
            RegistryError::Refused(text) => Exit::error(Kind::Configuration, text),
            RegistryError::Incompatible(text) => Exit::error(Kind::Problems, text),
        }
    }
}

impl Registry {
    /// The registry at that address. It is not asked anything yet.
    pub fn new(options: &RegistryOptions) -> Registry {
        let tls = TlsConfig::builder().root_certs(trusted(&options.url)).build();
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .tls_config(tls)
            .build()
            .into();
        let header = |login: &(String, tocsin_service::Secret)| {
            format!("Basic {}", STANDARD.encode(format!("{}:{}", login.0, login.1.expose())))
        };
        let authorization = options.login.as_ref().map(header);
        Registry { agent, url: options.url.clone(), authorization }
    }

    /// Every version of a subject, oldest first; none if there is no such subject.
    ///
    /// # Errors
    /// If the registry does not answer, or refuses.
    pub fn versions(&self, subject: &str) -> Result<Vec<Version>, RegistryError> {
        let path = format!("/subjects/{subject}/versions");
        let numbers: Option<Vec<u32>> = self.found(Method::GET, &path, None)?;
        let one = |number| {
            let version = self.found(Method::GET, &format!("{path}/{number}"), None)?;
            version.ok_or_else(|| self.odd(&path, "a version that it named is gone; try again"))
        };
        numbers.unwrap_or_default().into_iter().map(one).collect()
    }

    /// The schema that an id names.
    ///
    /// # Errors
    /// If the registry does not answer, or refuses.
    pub fn schema(&self, id: u32) -> Result<Named, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            schema: String,
            #[serde(default, rename = "schemaType")]
            kind: Option<String>,
            #[serde(default)]
            references: Vec<Value>,
        }
        let path = format!("/schemas/ids/{id}");
        let Some(answer) = self.found::<Answer>(Method::GET, &path, None)? else {
            return Ok(Named::Nothing(format!(
                "the schema registry {} has no schema {id}",
                self.url
            )));
        };
        let kind = answer.kind.unwrap_or_else(|| "AVRO".to_owned());
        Ok(match (kind.as_str(), answer.references.is_empty()) {
            ("AVRO", true) => Named::Schema(answer.schema),
            ("AVRO", false) => Named::Nothing(format!(
                "schema {id} refers to other subjects of the schema registry, which is not supported: register it whole"
            )),
            (kind, _) => {
                Named::Nothing(format!("schema {id} is of type {kind}; only AVRO is read"))
            }
        })
    }

    /// Why the registry would not take the schema beside the latest version; empty if it would.
    ///
    /// # Errors
    /// If the registry does not answer, or refuses.
    pub fn objections(&self, subject: &str, schema: &str) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            is_compatible: bool,
            #[serde(default)]
            messages: Vec<String>,
        }
        let path = format!("/compatibility/subjects/{subject}/versions/latest?verbose=true");
        let body = json!({ "schema": schema });
        match self.found::<Answer>(Method::POST, &path, Some(&body))? {
            Some(Answer { is_compatible: false, messages }) if messages.is_empty() => {
                Ok(vec!["the registry does not say why".to_owned()])
            }
            Some(Answer { is_compatible: false, messages }) => Ok(messages),
            _ => Ok(Vec::new()),
        }
    }

    /// Registers a schema, of which every version must fit every other from then on; gives its id,
    /// the same one if it is there already.
    ///
    /// # Errors
    /// If the registry does not answer or refuses, or the schema does not fit those that are there.
    pub fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            id: u32,
        }
        let path = format!("/subjects/{subject}/versions");
        let is_new = self.found::<Value>(Method::GET, &path, None)?.is_none();
        // Of what is not there yet, some registries do not take it.
        if !is_new {
            self.require(subject)?;
        }
        let body = json!({ "schema": schema });
        let answer: Option<Answer> = self.found(Method::POST, &path, Some(&body))?;
        let Answer { id } = answer.ok_or_else(|| self.odd(&path, "it takes no new subjects"))?;
        if is_new {
            self.require(subject)?;
        }
        Ok(id)
    }

    /// What the registry asks of new versions of a subject, or of every subject if it says nothing
    /// of this one; empty if it says nothing at all.
    ///
    /// # Errors
    /// If the registry does not answer, or refuses.
    pub fn level(&self, subject: &str) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "compatibilityLevel")]
            level: String,
        }
        let path = format!("/config/{subject}?defaultToGlobal=true");
        let answer: Option<Answer> = self.found(Method::GET, &path, None)?;
        Ok(answer.map(|answer| answer.level).unwrap_or_default())
    }

    fn require(&self, subject: &str) -> Result<(), RegistryError> {
        let path = format!("/config/{subject}");
        let body = json!({ "compatibility": LEVEL });
        let set: Option<Value> = self.found(Method::PUT, &path, Some(&body))?;
        set.map(drop).ok_or_else(|| self.odd(&path, "the subject is gone; try again"))
    }

    /// The answer; `None` if there is no such subject.
    fn found<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<T>, RegistryError> {
        let (status, text) = self.ask(method, path, body).map_err(|error| {
            RegistryError::Away(format!(
                "the schema registry does not answer: {}{path}: {error}; see whether it runs, and `registry` in [schema]",
                self.url
            ))
        })?;
        let number = || serde_json::from_str::<Value>(&text).ok()?.get("error_code")?.as_u64();
        match status {
            200..300 => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| self.odd(path, &format!("{error} in {:?}", cut(&text)))),
            404 if number().is_some_and(|number| NOTHING.contains(&number)) => Ok(None),
            _ => Err(self.refusal(status, path, &text)),
        }
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, String), ureq::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("Accept", "application/vnd.schemaregistry.v1+json, application/json")
            .header("Content-Type", "application/vnd.schemaregistry.v1+json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut answer = match body {
            Some(body) => self.agent.run(request.body(body.to_string())?)?,
            None => self.agent.run(request.body(())?)?,
        };
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    }

    fn refusal(&self, status: u16, path: &str, text: &str) -> RegistryError {
        let (at, said) = (format!("{}{path}", self.url), cut(text));
        match status {
            409 => RegistryError::Incompatible(format!(
                "the schema registry does not take the schema, it does not fit those that are there: {at}: {said}; see schemas/README.md for what may change"
            )),
            401 | 403 => RegistryError::Refused(format!(
                "the schema registry does not let us in: {at}: {status} {said}; see `username` and `password` in [schema]"
            )),
            404 => RegistryError::Refused(format!(
                "there is no schema registry at {at}: {status} {said}; `registry` in [schema] must be the address of a Confluent-compatible interface, with its path if it has one"
            )),
            429 | 500.. => RegistryError::Away(format!(
                "the schema registry cannot answer now: {at}: {status} {said}; try again"
            )),
            _ => RegistryError::Refused(format!(
                "the schema registry refuses: {at}: {status} {said}"
            )),
        }
    }

    fn odd(&self, path: &str, what: &str) -> RegistryError {
        RegistryError::Refused(format!(
            "the schema registry answers what cannot be understood: {}{path}: {what}; see `registry` in [schema]",
            self.url
        ))
    }
}

/// Whom this machine trusts, so that a registry may have a certificate of the house; as mail and Kafka.
fn trusted(url: &str) -> RootCerts {
    if !url.starts_with("https://") {
        return RootCerts::WebPki;
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a trusted certificate of this machine cannot be read");
    }
    RootCerts::new_with_certs(
        &found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect::<Vec<_>>(),
    )
}

/// As much of an answer as helps somebody who reads it, on one line.
fn cut(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    #[test]
    fn every_topic_with_a_schema_is_a_subject() {
        let subjects = subjects();
        let with = Topics::builtin().iter().filter(|topic| topic.schema.is_some()).count();
        assert_eq!(subjects.len(), with);
        assert_eq!(subjects[0].0, "aqi.readings-value");
        assert_eq!(subjects[0].1.name, "tocsin.Reading");
    }

    #[test]
    fn a_login_is_sent_and_not_shown() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            (&stream).write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").unwrap();
            head
        });
        let login = Some(("ada".to_owned(), "geheim".to_owned().into()));
        let error = Registry::new(&RegistryOptions { url, login }).versions("x-value").unwrap_err();
        let head = asked.join().unwrap();
        assert_eq!(head[0], "GET /subjects/x-value/versions HTTP/1.1");
        assert!(
            head.iter().any(|h| h.eq_ignore_ascii_case("authorization: Basic YWRhOmdlaGVpbQ=="))
        );
        assert!(matches!(&error, RegistryError::Refused(text) if !text.contains("geheim")));
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let options = RegistryOptions { url: "http://r:1".to_owned(), login: None };
        let registry = Registry::new(&options);
        assert_eq!(cut("<p>\n  no"), "<p> no");
        for (status, says) in [
            (401, "`password` in [schema]"),
            (403, "`password` in [schema]"),
            (404, "with its path"),
            (409, "schemas/README.md"),
            (422, "422 nonsense"),
            (429, "try again"),
            (503, "try again"),
        ] {
            let error = anyhow::Error::from(registry.refusal(status, "/x", "nonsense"));
            let error = error.to_string();
            assert!(error.contains(says) && error.contains("http://r:1/x"), "{status}: {error}");
        }
    }
}
