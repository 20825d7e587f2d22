//! Who asks whom: the upstream's host and the credentials as they are configured. A one-way hash of
//! both tells whether it is still the same account. Credentials that stand in files are read again, as
//! there are some that others renew every few hours.

use super::client::Credentials;
use crate::settings::SourceConfig;
use crate::upstream::Upstream;
use reqwest::Url;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use tocsin_domain::Id;
use tocsin_service::config::Secret;

/// An account at an upstream.
#[derive(Clone, Debug)]
pub struct Account {
    /// Host and port of the upstream.
    pub host: String,
    client_id: String,
    token: Kept,
    secret: Kept,
}

/// A secret, and the file that it is in if it is in one.
#[derive(Clone, Debug, Default)]
struct Kept {
    secret: Secret,
    file: Option<PathBuf>,
}

impl Account {
    /// The account that `config` says for its upstream.
    pub fn new(config: &SourceConfig, upstream: &dyn Upstream) -> Account {
        let kept = |secret: &Option<Secret>, file: &Option<PathBuf>| Kept {
            secret: secret.clone().unwrap_or_default(),
            file: file.clone(),
        };
        Account {
            host: host(config, upstream),
            client_id: config.client_id.clone().unwrap_or_default(),
            token: kept(&config.token, &config.token_file),
            secret: kept(&config.secret, &config.secret_file),
        }
    }

    /// A hash of all of it, from which nothing of it can be found.
    pub fn mark(&self) -> String {
        let [token, secret] =
            [&self.token, &self.secret].map(|kept| Sha256::digest(kept.secret.expose()));
        let parts = [self.host.as_bytes(), self.client_id.as_bytes(), &token, &secret];
        Id::of("account", &parts).to_string()
    }

    /// Reads the files again; says whether something else stands in them. What cannot be read, or is
    /// empty, is just being written: the secret stays as it was.
    pub fn reread(&mut self) -> bool {
        let mut is_other = false;
        for kept in [&mut self.token, &mut self.secret] {
            let found = kept.file.as_deref().and_then(|file| read(file).ok());
            if let Some(found) = found.filter(|found| !found.is_empty() && *found != kept.secret) {
                kept.secret = found;
                is_other = true;
            }
        }
        is_other
    }

    /// Puts them where calls take them from.
    pub fn fill(&self, credentials: &mut Credentials) {
        credentials.token = self.token.secret.clone();
        credentials.secret = self.secret.secret.clone();
    }

    fn has_credentials(&self) -> bool {
        !self.token.secret.is_empty() || !self.secret.secret.is_empty()
    }
}

/// The secret in a file, without the end of its line.
///
/// # Errors
/// Those of the file system.
pub(super) fn read(file: &Path) -> io::Result<Secret> {
    let text = std::fs::read_to_string(file)?;
    Ok(Secret::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Where the first call goes, with whatever it can be asked.
fn host(config: &SourceConfig, upstream: &dyn Upstream) -> String {
    let searches = config.searches.iter().map(|search| search.text());
    let url = searches.chain(["", "a"]).find_map(|search| upstream.first(search).ok());
    let url = url.and_then(|call| Url::parse(&call.url).ok());
    let place = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    place.map_or_else(|| config.kind.clone(), |(host, port)| format!("{host}:{port}"))
}

/// What is wrong with sources that ask with the same credentials: each has a ledger of its own, so
/// together they spend the sum of their budgets.
pub fn shared(configured: &[SourceConfig]) -> Vec<String> {
    let mut by_account: BTreeMap<String, (String, Vec<&SourceConfig>)> = BTreeMap::new();
    for config in configured {
        if let Ok(Some(polling)) = config.polling()
            && polling.account.has_credentials()
        {
            let host = polling.account.host.clone();
            let entry = by_account.entry(polling.account.mark());
            entry.or_insert_with(|| (host, Vec::new())).1.push(config);
        }
    }
    by_account.values().filter_map(|(host, sources)| told(host, sources)).collect()
}

fn told(host: &str, sources: &[&SourceConfig]) -> Option<String> {
    let limited = |one: &&SourceConfig| one.budget.is_some() || one.per_minute.is_some();
    if sources.len() < 2 || !sources.iter().any(limited) {
        return None;
    }
    let budget = |one: &&SourceConfig| match one.budget {
        Some(budget) => format!("`{}` with a budget of {budget}", one.name),
        None => format!("`{}` without a budget", one.name),
    };
    let names = sources.iter().map(budget).collect::<Vec<_>>().join(", ");
    Some(format!(
        "several sources ask {host} with the same credentials: {names}. `budget` and `per_minute` \
         are counted for each source alone; give each a share of what the upstream allows, or make \
         one source of them with all their `searches`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::{self, testing::config};

    fn account(more: &str) -> Account {
        let text = format!("name = \"s\"\nkind = \"waqi\"\nevery = \"1h\"\n{more}");
        let config = config(&text);
        Account::new(&config, &*sources::upstream(&config).unwrap().unwrap())
    }

    #[test]
    fn an_account_is_a_host_and_credentials_and_its_mark_tells_neither() {
        let mark = account("token = \"secret77\"").mark();
        assert!(mark.len() == 36 && !format!("{:?}", account("token = \"s77\"")).contains("s77"));
        for (more, same) in [
            ("token = \"secret77\"\nsearches = [\"beijing\"]\nbudget = 7", true),
            ("token = \"secret77\"\naddress = \"https://api.waqi.info/\"", true),
            ("token = \"secret78\"", false),
            ("secret = \"secret77\"", false),
            ("token = \"secret77\"\nclient_id = \"me\"", false),
            ("token = \"secret77\"\naddress = \"http://127.0.0.1:9\"", false),
            ("", false),
        ] {
            assert_eq!(account(more).mark() == mark, same, "{more}");
        }
        assert_eq!(account("").host, "api.waqi.info:443");
    }

    #[test]
    fn what_stands_in_a_file_by_now_counts_unless_it_is_just_being_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "one\n").unwrap();
        let mut source = config("name = \"s\"\nkind = \"waqi\"\nevery = \"1h\"");
        source.token_file = Some(file.clone());
        source.read_secrets(&|path| path.to_owned()).unwrap();
        let mut account = source.polling().unwrap().unwrap().account;
        let (mark, mut credentials) = (account.mark(), Credentials::default());
        assert!(!account.reread());
        std::fs::write(&file, "").unwrap();
        assert!(!account.reread());
        std::fs::remove_file(&file).unwrap();
        assert!(!account.reread() && account.mark() == mark);
        std::fs::write(&file, "two").unwrap();
        assert!(account.reread() && !account.reread() && account.mark() != mark);
        account.fill(&mut credentials);
        assert_eq!(credentials.token.expose(), "two");
    }

    #[test]
    fn sources_that_spend_the_budget_of_one_key_twice_are_told() {
        let source = |name: &str, more: &str| {
            config(&format!("name = \"{name}\"\nkind = \"waqi\"\nevery = \"1h\"\n{more}"))
        };
        let key = |key: &str, more: &str| format!("token = \"{key}\"\n{more}");
        let with = |a: String, b: String| shared(&[source("a", &a), source("b", &b)]);
        let both = with(key("k1", "budget = 500"), key("k1", ""));
        assert_eq!(both.len(), 1);
        let wanted = "ask api.waqi.info:443 with the same credentials: `a` with a budget of 500, \
                      `b` without a budget.";
        assert!(both[0].contains(wanted) && !both[0].contains("k1"), "{}", both[0]);
        for (a, b) in [
            (key("k1", "budget = 500"), key("k2", "budget = 500")),
            (key("k1", ""), key("k1", "")),
            ("budget = 5".to_owned(), "budget = 5".to_owned()),
        ] {
            assert!(with(a.clone(), b.clone()).is_empty(), "{a} {b}");
        }
    }
}
