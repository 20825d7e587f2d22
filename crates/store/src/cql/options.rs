//! Where the cluster is and how Tocsin's keyspace is made there. Says what is wrong with an option
//! before anything is asked of the network.

use super::tls::Tls;
use crate::store::StoreError;
use std::fmt;
use std::time::Duration;

/// Everything that a [`super::CqlStore`] is told.
#[derive(Clone)]
pub struct CqlOptions {
    /// `host:port` of some nodes; the others are found through them.
    pub contact_points: Vec<String>,
    /// The keyspace, Tocsin's alone: [`crate::Store::drop_all`] empties it. It is made if it does not
    /// exist. At most 48 of `a-z`, `0-9` and `_`; a letter first.
    pub keyspace: String,
    /// Who logs in, if the cluster asks.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<String>,
    /// How connections are encrypted; `None` for not at all.
    pub tls: Option<Tls>,
    /// The datacenter that is asked first. All, if none is named.
    pub datacenter: Option<String>,
    /// What the cluster is.
    pub dialect: Dialect,
    /// How often a row is kept; used when the keyspace is made.
    pub replication: Replication,
    /// Requests that are under way at one time, at least 1.
    pub concurrency: usize,
    /// How long a write is tried again, as long as the trouble may pass. A read: at most 5 s.
    pub patience: Duration,
}

impl CqlOptions {
    /// A keyspace on one node without a login, kept once: for development.
    pub fn new(contact_point: &str, keyspace: &str) -> CqlOptions {
        CqlOptions {
            contact_points: vec![contact_point.to_owned()],
            keyspace: keyspace.to_owned(),
            user: None,
            password: None,
            tls: None,
            datacenter: None,
            dialect: Dialect::Cassandra,
            replication: Replication::Simple(1),
            concurrency: 256,
            patience: Duration::from_secs(30),
        }
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let refuse = |reason: String| Err(StoreError::Failed { doing: "open", reason });
        if self.contact_points.is_empty() {
            return refuse("no contact point is named; give host:port of at least one node".into());
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let name = &self.keyspace;
        let letter = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !letter || name.len() > 48 || !name.chars().all(allowed) {
            return refuse(format!(
                "{name:?} is no name of a keyspace; take at most 48 of a-z, 0-9 and _, a letter first"
            ));
        }
        if self.user.is_some() != self.password.is_some() {
            return refuse("a user needs a password, and a password a user; give both".into());
        }
        let copies = match &self.replication {
            Replication::Simple(copies) => vec![("the keyspace", *copies)],
            Replication::Datacenters(list) => {
                list.iter().map(|(name, copies)| (name.as_str(), *copies)).collect()
            }
        };
        match copies.iter().find(|(name, copies)| *copies == 0 || name.contains('\'')) {
            Some((name, copies)) => refuse(format!("{name} cannot have {copies} copies of a row")),
            None if copies.is_empty() => refuse("no datacenter is to have copies of a row".into()),
            None => Ok(()),
        }
    }
}

/// The password stays out of logs.
impl fmt::Debug for CqlOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CqlOptions")
            .field("contact_points", &self.contact_points)
            .field("keyspace", &self.keyspace)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .field("dialect", &self.dialect)
            .field("replication", &self.replication)
            .finish_non_exhaustive()
    }
}

/// What speaks CQL at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Apache Cassandra 5.
    Cassandra,
    /// ScyllaDB. The keyspace has no tablets: not every release that has them can also compare and
    /// set, which is how only one process at a time changes the tables.
    Scylla,
}

/// How often a row is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// So many copies, on any nodes.
    Simple(u8),
    /// So many copies in each of these datacenters.
    Datacenters(Vec<(String, u8)>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_refused_and_passwords_do_not_print() {
        let good = CqlOptions::new("127.0.0.1:9042", "tocsin");
        assert!(good.check().is_ok());
        let secret =
            CqlOptions { user: Some("u".into()), password: Some("hush".into()), ..good.clone() };
        assert!(secret.check().is_ok());
        assert!(!format!("{secret:?}").contains("hush"));
        let bad = [
            CqlOptions { contact_points: vec![], ..good.clone() },
            CqlOptions { keyspace: String::new(), ..good.clone() },
            CqlOptions { keyspace: "Tocsin".into(), ..good.clone() },
            CqlOptions { keyspace: "x; DROP".into(), ..good.clone() },
            CqlOptions { user: Some("u".into()), ..good.clone() },
            CqlOptions { replication: Replication::Simple(0), ..good.clone() },
            CqlOptions { replication: Replication::Datacenters(vec![]), ..good.clone() },
            CqlOptions { replication: Replication::Datacenters(vec![("'".into(), 1)]), ..good },
        ];
        for options in bad {
            assert!(options.check().is_err(), "{options:?}");
        }
    }
}
