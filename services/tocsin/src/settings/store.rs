//! `[store]`: where the tables are.

use serde::Deserialize;
use std::path::PathBuf;
use tocsin_service::Secret;
use tocsin_service::config::{ConfigError, Document};
use tocsin_store::cql::{CqlOptions, Dialect, Replication, Tls};

/// Which store, and how it is reached.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// One SQLite file in the data directory.
    Embedded,
    /// ScyllaDB or Apache Cassandra.
    Cql(Box<CqlOptions>),
}

const DEFAULT_PORT: u16 = 9042;

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Embedded,
    Cql,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DialectWord {
    #[default]
    Scylla,
    Cassandra,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddedSection {
    #[serde(rename = "kind")]
    _kind: Option<Kind>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CqlSection {
    #[serde(rename = "kind")]
    _kind: Option<Kind>,
    contact_points: Option<super::Addresses>,
    keyspace: Option<String>,
    username: Option<String>,
    #[serde(default)]
    password: Secret,
    #[serde(default)]
    tls: bool,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    verify_address: Option<bool>,
    #[serde(default)]
    dialect: DialectWord,
    replication_factor: Option<u8>,
    datacenter: Option<String>,
}

/// Reads the section.
pub(super) fn read(document: &Document) -> Result<StoreSettings, ConfigError> {
    match super::kind(document, "store")? {
        Kind::Embedded => {
            document.section::<EmbeddedSection>("store").map(|_| StoreSettings::Embedded)
        }
        Kind::Cql => {
            let section: CqlSection = document.section("store")?;
            let mut problems = Vec::new();
            let settings = cql(section, document, &mut problems);
            super::unless(problems, document, "store", StoreSettings::Cql(Box::new(settings)))
        }
    }
}

fn cql(section: CqlSection, document: &Document, problems: &mut Vec<&'static str>) -> CqlOptions {
    let tls = tls(&section, document, problems);
    let points = section.contact_points.as_ref().map(super::Addresses::all).unwrap_or_default();
    if points.is_empty() {
        problems.push("`contact_points` is missing: addresses of the database, `host:port`");
    }
    let keyspace = section.keyspace.unwrap_or_else(|| "tocsin".to_owned());
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let fits = keyspace.len() <= 48 && keyspace.starts_with(|c: char| c.is_ascii_lowercase());
    if !fits || !keyspace.chars().all(word) {
        problems.push(
            "`keyspace` must be a lower-case letter, then letters, digits or `_`; at most 48",
        );
    }
    if section.replication_factor == Some(0) {
        problems.push("`replication_factor` must be at least 1");
    }
    if section.username.is_some() == section.password.is_empty() {
        problems.push("`username` and `password` go together; one is missing");
    }
    let with_port = |address: String| match address.rsplit_once(':') {
        Some(_) => address,
        None => format!("{address}:{DEFAULT_PORT}"),
    };
    let copies = section.replication_factor.unwrap_or(1);
    CqlOptions {
        contact_points: points.into_iter().map(with_port).collect(),
        tls,
        user: section.username,
        password: (!section.password.is_empty()).then(|| section.password.expose().to_owned()),
        dialect: match section.dialect {
            DialectWord::Scylla => Dialect::Scylla,
            DialectWord::Cassandra => Dialect::Cassandra,
        },
        replication: match &section.datacenter {
            Some(name) => Replication::Datacenters(vec![(name.clone(), copies)]),
            None => Replication::Simple(copies),
        },
        datacenter: section.datacenter,
        ..CqlOptions::new("", &keyspace)
    }
}

/// How the database is spoken to, and who must answer.
fn tls(section: &CqlSection, document: &Document, problems: &mut Vec<&'static str>) -> Option<Tls> {
    let path = |file: &PathBuf| document.resolve(file);
    let identity = section.certificate_file.as_ref().zip(section.key_file.as_ref());
    let files = [&section.ca_file, &section.certificate_file, &section.key_file];
    if !section.tls {
        if files.iter().any(|file| file.is_some()) || section.verify_address.is_some() {
            problems.push(
                "`ca_file`, `certificate_file`, `key_file` and `verify_address` need `tls = true`",
            );
        }
        return None;
    }
    if section.certificate_file.is_some() != section.key_file.is_some() {
        problems.push("`certificate_file` and `key_file` go together; one is missing");
    }
    let Some(ca) = &section.ca_file else {
        problems.push(
            "`ca_file` is missing, and `tls` is true: the certificates of the authorities that signed those of the nodes, in PEM form",
        );
        return None;
    };
    Some(Tls {
        ca: path(ca),
        identity: identity.map(|(certificate, key)| (path(certificate), path(key))),
        verify_address: section.verify_address.unwrap_or(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(keys: &str) -> Result<StoreSettings, String> {
        let document = Document::parse(&format!("[store]\n{keys}"), "t.toml").unwrap();
        read(&document).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_is_enough() {
        assert!(matches!(store(""), Ok(StoreSettings::Embedded)));
        let Ok(StoreSettings::Cql(cql)) = store("kind = \"cql\"\ncontact_points = \"a, b:1\"\n")
        else {
            panic!("cql was asked for");
        };
        assert_eq!(cql.contact_points, ["a:9042", "b:1"]);
        assert_eq!((cql.keyspace.as_str(), cql.dialect), ("tocsin", Dialect::Scylla));
        assert_eq!(cql.replication, Replication::Simple(1));
        assert!(
            cql.tls.is_none()
                && cql.user.is_none()
                && cql.password.is_none()
                && cql.datacenter.is_none()
        );
    }

    #[test]
    fn everything_said_is_taken() {
        let text = "kind = \"cql\"\ncontact_points = [\"a:1\"]\nkeyspace = \"k_1\"\n\
            username = \"u\"\npassword = \"geheim\"\ndialect = \"cassandra\"\n\
            replication_factor = 3\ndatacenter = \"dc1\"\ntls = true\nca_file = \"/ca.pem\"\n\
            certificate_file = \"/c.pem\"\nkey_file = \"/k.pem\"\nverify_address = false\n";
        let Ok(StoreSettings::Cql(cql)) = store(text) else { panic!("cql was asked for") };
        assert_eq!(cql.dialect, Dialect::Cassandra);
        assert_eq!(cql.replication, Replication::Datacenters(vec![("dc1".to_owned(), 3)]));
        assert_eq!((cql.user.as_deref(), cql.password.as_deref()), (Some("u"), Some("geheim")));
        assert!(!format!("{cql:?}").contains("geheim"));
        let identity = Some(("/c.pem".into(), "/k.pem".into()));
        assert_eq!(cql.tls, Some(Tls { ca: "/ca.pem".into(), identity, verify_address: false }));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        for (keys, wanted) in [
            ("kind = \"cql\"", "`contact_points` is missing"),
            ("kind = \"cqll\"", "did you mean `cql`?"),
            ("contact_points = \"a\"", "allowed: `kind`"),
            ("kind = \"cql\"\ncontact_points = \"a\"\nkeyspace = \"a-b\"", "`keyspace` must be"),
            ("kind = \"cql\"\ncontact_points = \"a\"\nusername = \"u\"", "go together"),
            ("kind = \"cql\"\ncontact_points = \"a\"\npassword = \"p\"", "go together"),
            ("kind = \"cql\"\ncontact_points = \"a\"\nreplication_factor = 0", "at least 1"),
            ("kind = \"cql\"\ncontact_points = \"a\"\ntls = true", "`ca_file` is missing"),
            ("kind = \"cql\"\ncontact_points = \"a\"\nca_file = \"c\"", "need `tls = true`"),
            ("kind = \"cql\"\ncontact_points = \"a\"\nverify_address = false", "need `tls = true`"),
            (
                "kind = \"cql\"\ncontact_points = \"a\"\ntls = true\nca_file = \"c\"\nkey_file = \"k\"",
                "go together",
            ),
        ] {
            let error = store(keys).unwrap_err();
            assert!(error.contains(wanted), "{wanted:?} is not in {error}");
        }
    }
}
