//! `[store]`: where the tables are.

use serde::Deserialize;
use tocsin_service::Secret;
use tocsin_service::config::{ConfigError, Document};

/// Which store, and how it is reached.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// One SQLite file in the data directory.
    Embedded,
    /// ScyllaDB or Apache Cassandra.
    Cql(CqlSettings),
}

/// How a CQL database is reached and used.
#[derive(Clone, Debug)]
pub struct CqlSettings {
    /// `host:port` of some of its nodes.
    pub contact_points: Vec<String>,
    /// Where the tables are.
    pub keyspace: String,
    /// Who logs in; `None` for no login.
    pub login: Option<(String, Secret)>,
    /// Whose words are spoken.
    pub dialect: Dialect,
    /// Copies of each row, if the keyspace is to be created.
    pub replication_factor: u32,
    /// The data centre in which they are; `None` for a cluster of a single one.
    pub datacenter: Option<String>,
}

/// Whose CQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// ScyllaDB.
    #[default]
    Scylla,
    /// Apache Cassandra.
    Cassandra,
}

const DEFAULT_PORT: u16 = 9042;

#[derive(Default, Deserialize)]
struct KindSection {
    #[serde(default)]
    kind: Kind,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Embedded,
    Cql,
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
    dialect: Dialect,
    replication_factor: Option<u32>,
    datacenter: Option<String>,
}

/// Reads the section.
pub(super) fn read(document: &Document) -> Result<StoreSettings, ConfigError> {
    match document.section::<KindSection>("store")?.kind {
        Kind::Embedded => {
            document.section::<EmbeddedSection>("store").map(|_| StoreSettings::Embedded)
        }
        Kind::Cql => {
            let section: CqlSection = document.section("store")?;
            let mut problems = Vec::new();
            let settings = cql(section, &mut problems);
            let problem = |text| document.problem("store", "", format!("in store: {text}"));
            let errors = problems.into_iter().map(problem);
            errors
                .fold(ConfigError::default(), ConfigError::and)
                .or_ok(StoreSettings::Cql(settings))
        }
    }
}

fn cql(section: CqlSection, problems: &mut Vec<&'static str>) -> CqlSettings {
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
    CqlSettings {
        contact_points: points.into_iter().map(with_port).collect(),
        keyspace,
        login: section.username.map(|name| (name, section.password)),
        dialect: section.dialect,
        replication_factor: section.replication_factor.unwrap_or(1),
        datacenter: section.datacenter,
    }
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
        assert!(cql.login.is_none() && cql.datacenter.is_none());
    }

    #[test]
    fn everything_said_is_taken() {
        let text = "kind = \"cql\"\ncontact_points = [\"a:1\"]\nkeyspace = \"k_1\"\n\
            username = \"u\"\npassword = \"geheim\"\ndialect = \"cassandra\"\n\
            replication_factor = 3\ndatacenter = \"dc1\"\n";
        let Ok(StoreSettings::Cql(cql)) = store(text) else { panic!("cql was asked for") };
        assert_eq!((cql.dialect, cql.replication_factor), (Dialect::Cassandra, 3));
        let (name, password) = cql.login.as_ref().unwrap();
        assert_eq!((name.as_str(), password.expose()), ("u", "geheim"));
        assert!(!format!("{cql:?}").contains("geheim"));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        for (keys, wanted) in [
            ("kind = \"cql\"", "`contact_points` is missing"),
            ("kind = \"sql\"", "did you mean `cql`?"),
            ("contact_points = \"a\"", "allowed: `kind`"),
            ("kind = \"cql\"\ncontact_points = \"a\"\nkeyspace = \"a-b\"", "`keyspace` must be"),
            ("kind = \"cql\"\ncontact_points = \"a\"\nusername = \"u\"", "go together"),
            ("kind = \"cql\"\ncontact_points = \"a\"\npassword = \"p\"", "go together"),
            ("kind = \"cql\"\ncontact_points = \"a\"\nreplication_factor = 0", "at least 1"),
        ] {
            let error = store(keys).unwrap_err();
            assert!(error.contains(wanted), "{wanted:?} is not in {error}");
        }
    }
}
