//! The keys of `[[sources]]` about asking: what, how often, how much, and who asks.

use super::account::{self, Account};
use super::client::Credentials;
use super::ledger::Limits;
use super::request;
use crate::settings::{EventKind, SourceConfig};
use crate::sources;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tocsin_domain::upstream::Asked;
use tocsin_service::config::duration;

/// How often a search is asked if nobody says otherwise.
const EVERY: Duration = Duration::from_mins(10);
/// How long an answer may take if nobody says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many pages of an answer are read if nobody says otherwise.
const PAGES: u32 = 50;

/// How long something takes, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Length(#[serde(deserialize_with = "duration::deserialize")] pub Duration);

/// One of `searches`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a text, or a table with `search` and `every`")]
pub enum Search {
    /// As often as the source says.
    Text(String),
    /// As often as it says itself.
    Table(SearchTable),
}

impl Search {
    /// What is asked for.
    pub fn text(&self) -> &str {
        match self {
            Search::Text(search) | Search::Table(SearchTable { search, .. }) => search,
        }
    }
}

/// A search with an interval of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchTable {
    /// What is asked for.
    pub search: String,
    /// How often.
    pub every: Option<Length>,
}

/// What an answer over HTTP, or the value of a record, is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One value, an array, or an object a line.
    #[default]
    Json,
    /// Delimited text.
    Csv,
    /// RSS or Atom.
    Rss,
    /// Avro, framed by a registry's id or in single-object encoding.
    Avro,
}

/// How a source is asked.
#[derive(Clone, Debug)]
pub struct Polling {
    /// What is asked for from the start, and how often.
    pub searches: Vec<(String, Duration)>,
    /// How often what others ask for is asked, if they do not say.
    pub every: Duration,
    /// What may be spent.
    pub limits: Limits,
    /// How many pages of one answer are read.
    pub pages: u32,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Who asks.
    pub credentials: Credentials,
    /// The same, as it is configured, and whom.
    pub account: Account,
    /// Where the upstream's people find out who asks; an address.
    pub contact: String,
    /// Where raw answers are kept.
    pub archive: Option<PathBuf>,
}

impl SourceConfig {
    /// Whether it is asked, and not only read from files.
    pub fn is_polled(&self) -> bool {
        self.every.is_some() || !self.searches.is_empty()
    }

    /// How it is asked; `None` if it is not.
    ///
    /// # Errors
    /// What is wrong with its keys.
    pub fn polling(&self) -> Result<Option<Polling>, String> {
        let asks = sources::KINDS.iter().any(|one| one.name == self.kind && one.upstream.is_some());
        if !asks {
            return self.nobody_to_ask();
        }
        if !self.is_polled() {
            return Ok(None);
        }
        self.check()?;
        let Some(upstream) = sources::upstream(self)? else { return Ok(None) };
        let every = self.every.map_or(EVERY, |every| every.0);
        let mut searches: Vec<(String, Duration)> = self
            .searches
            .iter()
            .map(|one| match one {
                Search::Text(search) => (search.clone(), every),
                Search::Table(one) => (one.search.clone(), one.every.map_or(every, |own| own.0)),
            })
            .collect();
        for (search, _) in &searches {
            upstream.first(search).map_err(|e| format!("`searches`: {search:?}: {e}"))?;
        }
        if searches.is_empty() && upstream.first("").is_ok() {
            searches.push((String::new(), every));
        }
        let credentials = Credentials {
            token: self.token.clone().unwrap_or_default(),
            client_id: self.client_id.clone().unwrap_or_default(),
            secret: self.secret.clone().unwrap_or_default(),
        };
        let search = searches.iter().find_map(|(search, _)| upstream.first(search).ok());
        let first = upstream.login().or(search).unwrap_or_default();
        request::complete(first.auth, &credentials)?;
        let gap = self.per_minute.map_or(Duration::ZERO, |n| Duration::from_mins(1) / n.max(1));
        Ok(Some(Polling {
            searches,
            every,
            limits: Limits { budget: self.budget, gap },
            pages: self.pages.unwrap_or(PAGES),
            timeout: self.timeout.map_or(TIMEOUT, |timeout| timeout.0),
            credentials,
            account: Account::new(self, &*upstream),
            contact: self.contact.clone().unwrap_or_default(),
            archive: self.archive.clone(),
        }))
    }

    /// Keys about asking mean nothing where nobody can be asked.
    fn nobody_to_ask(&self) -> Result<Option<Polling>, String> {
        let given = [
            ("searches", !self.searches.is_empty()),
            ("every", self.every.is_some()),
            ("budget", self.budget.is_some()),
            ("per_minute", self.per_minute.is_some()),
            ("timeout", self.timeout.is_some()),
            ("token", self.token.is_some()),
            ("client_id", self.client_id.is_some()),
            ("secret", self.secret.is_some()),
            ("contact", self.contact.is_some()),
            ("archive", self.archive.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(None),
            Some((key, _)) => Err(format!(
                "`{key}` is for sources that are asked, and nobody can be asked for kind `{}`; \
                use kind `http`, or leave it out",
                self.kind
            )),
        }
    }

    fn check(&self) -> Result<(), String> {
        let many = matches!(self.event, Some(EventKind::OrderRow | EventKind::DatasetRow));
        if many && self.id.is_none() {
            let text = "`id` is missing: the upstream's own id of a row, as the same answer comes \
                again and again, and its rows move";
            return Err(text.to_owned());
        }
        let own = self.searches.iter().filter_map(|search| match search {
            Search::Table(SearchTable { every, .. }) => *every,
            Search::Text(_) => None,
        });
        if own.chain(self.every).any(|every| every.0 < Duration::from_secs(1)) {
            return Err("`every` must be a second or more".to_owned());
        }
        let mut names: Vec<&str> = self.searches.iter().map(Search::text).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("`searches` has {:?} twice", pair[0])),
            None if self.budget == Some(0) || self.per_minute == Some(0) => {
                Err("`budget` and `per_minute` must be 1 or more".to_owned())
            }
            None if self.pages == Some(0) => Err("`pages` must be 1 or more".to_owned()),
            None => Ok(()),
        }
    }

    /// Takes the secrets from the files that are named, and notes where these are.
    ///
    /// # Errors
    /// A file that cannot be read; a secret that is given twice.
    pub(crate) fn read_secrets(
        &mut self,
        resolve: &dyn Fn(&Path) -> PathBuf,
    ) -> Result<(), String> {
        let pairs = [
            ("token", &mut self.token_file, &mut self.token),
            ("secret", &mut self.secret_file, &mut self.secret),
        ];
        for (key, file, secret) in pairs {
            let Some(file) = file else { continue };
            if secret.is_some() {
                return Err(format!("`{key}` and `{key}_file` are both set; leave out one"));
            }
            *file = resolve(file);
            let read = account::read(file);
            *secret = Some(read.map_err(|e| {
                format!("cannot read {}, which `{key}_file` names: {e}", file.display())
            })?);
        }
        Ok(())
    }
}

/// A search that is asked, from what is known of it.
pub(super) fn wanted(source: &str, search: &str, every: Duration, known: Option<Asked>) -> Asked {
    let mut asked = known.unwrap_or_default();
    source.clone_into(&mut asked.source);
    search.clone_into(&mut asked.search);
    // Who wants it more often now does not wait for the old interval's end.
    let before = asked.interval();
    asked.every = every.as_secs().max(1);
    if asked.failures == 0 && every < before {
        asked.due_at = asked.asked_at.map(|at| at.plus(every));
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::config;
    use tocsin_service::config::Secret;

    const SOURCE: &str = "name = \"s\"\nkind = \"http\"\nevent = \"listing\"\nlisting = \"{id}\"\n\
        price = \"1\"\ncurrency = \"EUR\"\naddress = \"http://u/?q={search}\"\n";

    fn polling(more: &str) -> Result<Option<Polling>, String> {
        config(&format!("{SOURCE}{more}")).polling()
    }

    #[test]
    fn searches_have_an_interval_of_their_own_or_that_of_the_source() {
        assert!(polling("").unwrap().is_none(), "read from files only");
        for (more, wanted) in [
            ("searches = [\"a\"]", vec![("a", 600)]),
            (
                "every = \"2m\"\nsearches = [\"a\", { search = \"b\", every = \"1h\" }]",
                vec![("a", 120), ("b", 3_600)],
            ),
            ("every = \"2m\"\n[[searches]]\nsearch = \"c\"", vec![("c", 120)]),
            ("every = \"2m\"", vec![]),
        ] {
            let found = polling(more).unwrap().unwrap().searches;
            let found: Vec<_> =
                found.iter().map(|(s, every)| (s.as_str(), every.as_secs())).collect();
            assert_eq!(found, wanted, "{more}");
        }
        let one = SOURCE.replace("?q={search}", "all");
        let one = config(&format!("{one}every = \"1h\"")).polling().unwrap().unwrap();
        assert_eq!(one.searches, [(String::new(), Duration::from_hours(1))]);
    }

    #[test]
    fn what_cannot_be_asked_is_refused_at_the_start() {
        let csv = "name = \"s\"\nkind = \"csv\"\nevent = \"listing\"\nbudget = 5";
        assert!(
            config(csv).polling().unwrap_err().contains("`budget` is for sources that are asked")
        );
        for (more, wanted) in [
            ("searches = [\"\"]", "nothing to search for"),
            ("searches = [\"a\", \"a\"]", "has \"a\" twice"),
            ("every = \"10ms\"", "a second or more"),
            ("every = \"1m\"\nbudget = 0", "1 or more"),
            ("every = \"1m\"\npages = 0", "1 or more"),
            ("searches = [\"a\"]\nauth = \"bearer\"", "it needs a `token`"),
            ("searches = [\"a\"]\nauth = \"basic\"\nclient_id = \"me\"", "and a `secret`"),
        ] {
            let error = polling(more).unwrap_err();
            assert!(error.contains(wanted), "{more}: {error}");
        }
        let ebay = "name = \"s\"\nkind = \"ebay\"\nmarketplace = \"EBAY_US\"\nevery = \"1h\"";
        let error = config(ebay).polling().unwrap_err();
        assert!(error.contains("it needs a `client_id`"), "{error}");
        let rows = SOURCE.replace("\"listing\"\nlisting", "\"order-row\"\nsubject");
        let error = config(&format!("{rows}every = \"1m\"")).polling().unwrap_err();
        assert!(error.contains("`id` is missing"), "{error}");
    }

    #[test]
    fn secrets_come_from_files() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), "s3cret\n").unwrap();
        let mut source = config(&format!("{SOURCE}token_file = \"key\""));
        source.read_secrets(&|path| directory.path().join(path)).unwrap();
        assert_eq!(source.token.as_ref().map(Secret::expose), Some("s3cret"));
        assert!(!format!("{source:?}").contains("s3cret"));
        assert_eq!(source.token_file, Some(directory.path().join("key")), "it is read again");
        let twice = source.read_secrets(&|path| path.to_owned()).unwrap_err();
        assert!(twice.contains("both set"), "{twice}");
    }
}
