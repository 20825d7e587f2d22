//! The channels that there are, and `[channels]` of `tocsin.toml`. To add a transport: a file in
//! `channels/` and two lines here, its module and its row in [`TRANSPORTS`].

pub mod email_smtp;
pub mod mailbox;

use crate::channel::Channel;
use crate::render::Site;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tocsin_service::config::{ConfigError, Secret, suggest};

/// The name of the only channel there is so far, as watches and deliveries say it.
pub const EMAIL: &str = "email";

/// Opens a transport; the path is where a mailbox puts its mails.
type Open = fn(&EmailSection, &Path) -> Result<Arc<dyn Channel>, String>;

/// Each transport of [`EMAIL`] by its name.
const TRANSPORTS: [(&str, Open); 2] = [("mailbox", mailbox::open), ("smtp", email_smtp::open)];

/// Section `[channels]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelsSection {
    /// Section `[channels.email]`.
    pub email: EmailSection,
}

/// Section `[channels.email]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailSection {
    /// `mailbox` or `smtp`.
    pub transport: String,
    /// Who writes: `Name <address>`.
    pub from: String,
    /// Where links lead; the address that the API listens on if there is none.
    pub base_url: Option<String>,
    /// The SMTP server.
    pub host: String,
    /// Its port; 587, 465 or 25 by [`EmailSection::tls`] if there is none.
    pub port: Option<u16>,
    /// How the connection is encrypted.
    pub tls: Encryption,
    /// Empty: do not log in.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// How many connections are open at a time.
    pub connections: usize,
}

impl Default for EmailSection {
    fn default() -> Self {
        Self {
            transport: "mailbox".to_owned(),
            from: "Tocsin <tocsin@localhost>".to_owned(),
            base_url: None,
            host: String::new(),
            port: None,
            tls: Encryption::Starttls,
            username: String::new(),
            password: Secret::default(),
            connections: 8,
        }
    }
}

/// How an SMTP connection is encrypted. Nothing falls back to less than what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Begins in the clear and must be upgraded.
    Starttls,
    /// From the first byte.
    Implicit,
    /// Never.
    None,
}

/// Every channel that is set up, and what all messages have in common.
#[derive(Clone)]
pub struct Channels {
    members: BTreeMap<String, Arc<dyn Channel>>,
    /// Who writes, and where links lead.
    pub site: Site,
}

impl Channels {
    /// No channel yet.
    pub fn new(site: Site) -> Channels {
        Channels { members: BTreeMap::new(), site }
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, name: &str, channel: Arc<dyn Channel>) -> Channels {
        self.members.insert(name.to_owned(), channel);
        self
    }

    /// The channel of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.members.get(name)
    }
}

/// Opens what the section asks for. Links lead to `listen_url` if it says nothing; a mailbox lies
/// in the directory `mailbox`.
///
/// # Errors
/// Every value that cannot be used, with what is allowed.
pub fn open(
    section: &ChannelsSection,
    listen_url: &str,
    mailbox: &Path,
) -> Result<Channels, ConfigError> {
    let email = &section.email;
    let base_url = email.base_url.as_deref().unwrap_or(listen_url);
    let site = Site::new(&email.from, base_url);
    match (site, transport(email, mailbox)) {
        (Ok(site), Ok(channel)) => Ok(Channels::new(site).with(EMAIL, channel)),
        (site, channel) => {
            let faults = site.err().into_iter().chain(channel.err());
            let problem = |fault: String| ConfigError::new("[channels.email]", fault);
            Err(faults.map(problem).fold(ConfigError::default(), ConfigError::and))
        }
    }
}

fn transport(email: &EmailSection, mailbox: &Path) -> Result<Arc<dyn Channel>, String> {
    match TRANSPORTS.iter().find(|(name, _)| *name == email.transport) {
        Some((_, open)) => open(email, mailbox),
        None => {
            let names = TRANSPORTS.map(|(name, _)| name);
            let meant = suggest(&email.transport, names.into_iter())
                .map(|name| format!(" did you mean `{name}`?"))
                .unwrap_or_default();
            let found = &email.transport;
            let allowed = names.join("`, `");
            Err(format!("unknown transport `{found}`;{meant} allowed: `{allowed}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_service::Document;

    fn opened(text: &str) -> Result<Channels, ConfigError> {
        let document = Document::parse(text, "t.toml")?;
        let section = document.section::<ChannelsSection>("channels")?;
        let directory = tempfile::tempdir().unwrap();
        open(&section, "http://127.0.0.1:8080", directory.path())
    }

    #[test]
    fn nothing_said_is_a_mailbox_with_links_to_this_machine() {
        let channels = opened("").unwrap();
        assert!(channels.get(EMAIL).is_some() && channels.get("webhook").is_none());
        assert_eq!(channels.site.base_url(), "http://127.0.0.1:8080");
        assert_eq!(channels.site.mail_domain(), "localhost");
    }

    #[test]
    fn everything_said_is_taken() {
        let text = "[channels.email]\ntransport = \"smtp\"\nfrom = \"A <a@example.org>\"\n\
            base_url = \"https://example.org/\"\nhost = \"127.0.0.1\"\nport = 25\ntls = \"none\"\n\
            username = \"u\"\npassword = \"p\"\nconnections = 2\n";
        let channels = opened(text).unwrap();
        assert_eq!(channels.site.base_url(), "https://example.org");
        assert_eq!(channels.site.mail_domain(), "example.org");
    }

    #[test]
    fn every_fault_is_told() {
        for (text, parts) in [
            ("transport = \"smpt\"\nfrom = \"nobody\"", vec!["did you mean `smtp`?", "nobody"]),
            ("base_url = \"example.org\"", vec!["http://"]),
            ("transport = \"smtp\"", vec!["host"]),
            ("transport = \"smtp\"\nhost = \"h\"\nconnections = 0", vec!["at least 1"]),
            ("tls = \"ssl\"", vec!["`starttls`, `implicit`, `none`"]),
            ("hots = \"h\"", vec!["did you mean `host`?"]),
        ] {
            let error = opened(&format!("[channels.email]\n{text}\n")).err().unwrap().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
