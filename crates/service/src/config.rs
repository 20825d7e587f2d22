//! `tocsin.toml`, environment over file. Read once at start, then each service takes its section.
//!
//! The document keeps where each value stands, so that every error names a line. It refuses what
//! it does not know: a key that is not read is a wish that is not granted.

pub mod duration;
mod environment;
mod error;
mod secret;

pub use error::{ConfigError, suggest, with_hint};
pub use secret::Secret;

use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Error, ValueDeserializer};

/// A configuration file that is well-formed, with the environment laid over it.
#[derive(Debug)]
pub struct Document {
    name: String,
    text: String,
    directory: PathBuf,
    /// What is laid over the text; number i has the span `text.len() + 1 + i`.
    settings: Vec<Setting>,
}

/// A value that does not come from the text.
#[derive(Debug)]
struct Setting {
    path: Vec<String>,
    value: String,
    place: String,
}

impl Document {
    /// Reads `path`; without one, an empty file. Then lays `env` over it: `TOCSIN_LOG_SYNC` sets
    /// `sync` of `[log]`, `TOCSIN_CHANNELS_EMAIL_PASSWORD` sets `password` of `[channels.email]`,
    /// and with `_FILE` behind it the value is read from that file.
    ///
    /// # Errors
    /// If the file cannot be read or is not TOML, or a variable cannot be laid over it.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Document, ConfigError> {
        let mut document = match path {
            None => Document::parse("", "no configuration file")?,
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|e| {
                    ConfigError::new(
                        &name,
                        format!(
                            "cannot read the configuration file: {e}; name another with --config"
                        ),
                    )
                })?;
                let mut document = Document::parse(&text, &name)?;
                document.directory = path.parent().map(Path::to_owned).unwrap_or_default();
                document
            }
        };
        environment::overlay(&mut document, env)?;
        environment::read_secret_files(&mut document)?;
        Ok(document)
    }

    /// A document from `text`; errors call it `name`.
    ///
    /// # Errors
    /// Every place where it is not TOML.
    pub fn parse(text: &str, name: &str) -> Result<Document, ConfigError> {
        let (_, errors) = DeTable::parse_recoverable(text);
        let document = Document {
            name: name.to_owned(),
            text: text.to_owned(),
            directory: PathBuf::new(),
            settings: Vec::new(),
        };
        let problems = errors.iter().map(|error| document.explain(error, "", &(0..0)));
        problems.fold(ConfigError::default(), ConfigError::and).or_ok(document)
    }

    /// The section `key` as `T`; `T::default()` if there is none. For arrays of tables, prefer
    /// [`Document::list`], which finds the faults of all of them.
    ///
    /// # Errors
    /// The first fault, with its line and the keys that are allowed.
    pub fn section<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, ConfigError> {
        match self.table().get(key) {
            None => Ok(T::default()),
            Some(value) => self.read(value, key),
        }
    }

    /// The array of tables `[[key]]`, each read as a `T`; empty if there is none.
    ///
    /// # Errors
    /// The first fault of every one.
    pub fn list<T: DeserializeOwned>(&self, key: &str) -> Result<Vec<T>, ConfigError> {
        let table = self.table();
        let Some(value) = table.get(key) else { return Ok(Vec::new()) };
        let Some(items) = value.get_ref().as_array() else { return self.read(value, key) };
        let mut found = Vec::with_capacity(items.len());
        let mut errors = ConfigError::default();
        for item in items.iter() {
            let name = item.get_ref().get("name").and_then(|name| name.get_ref().as_str());
            let section = name.map_or(key.to_owned(), |name| format!("{key}.{name}"));
            match self.read(item, &section) {
                Ok(one) => found.push(one),
                Err(error) => errors = errors.and(error),
            }
        }
        errors.or_ok(found)
    }

    /// Refuses top-level keys that are not in `known`.
    ///
    /// # Errors
    /// All of them, each with the known key that is nearest.
    pub fn finish(&self, known: &[&str]) -> Result<(), ConfigError> {
        let table = self.table();
        let unknown = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        let problem = |key: &Spanned<DeString<'_>>| {
            let message = format!("unknown key `{}`", key.get_ref());
            let hint = error::hint(key.get_ref(), known.iter().copied());
            ConfigError::new(&self.place(&key.span()), message + &hint)
        };
        unknown.map(problem).fold(ConfigError::default(), ConfigError::and).or_ok(())
    }

    /// An error about something that was read from section `key`, for checks that only its owner
    /// can make. It names the line of the table in `[[key]]` whose `name` is `item`, or of `key`.
    pub fn problem(&self, key: &str, item: &str, message: impl Into<String>) -> ConfigError {
        let table = self.table();
        let section = table.get_key_value(key);
        let items = section.and_then(|(_, value)| value.get_ref().as_array());
        let named = |value: &&Spanned<DeValue<'_>>| {
            value.get_ref().get("name").and_then(|n| n.get_ref().as_str()) == Some(item)
        };
        let item_span = items.and_then(|all| all.iter().find(named)).map(Spanned::span);
        let span = item_span.or(section.map(|(key, _)| key.span()));
        let place = span.map_or(self.name.clone(), |span| self.place(&span));
        ConfigError::new(&place, message)
    }

    /// A path that the file names: relative ones start from the file's directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// The text with the settings over it. Read anew each time, because its values borrow from the
    /// text; a process asks a dozen times in its life.
    fn table(&self) -> DeTable<'_> {
        let mut table = DeTable::parse_recoverable(&self.text).0.into_inner();
        for (i, setting) in self.settings.iter().enumerate() {
            let at = self.text.len() + 1 + i;
            environment::set(&mut table, &setting.path, &setting.value, &(at..at));
        }
        table
    }

    fn read<T: DeserializeOwned>(
        &self,
        value: &Spanned<DeValue<'_>>,
        section: &str,
    ) -> Result<T, ConfigError> {
        T::deserialize(ValueDeserializer::from(value.clone()))
            .map_err(|error| self.explain(&error, section, &value.span()))
    }

    fn explain(&self, error: &Error, section: &str, around: &Range<usize>) -> ConfigError {
        let place = self.place(&error.span().unwrap_or(around.clone()));
        let within = if section.is_empty() { String::new() } else { format!("in {section}: ") };
        ConfigError::new(&place, within + &error::with_hint(error.message()))
    }

    /// `tocsin.toml:12`, or the variable that a value comes from.
    fn place(&self, span: &Range<usize>) -> String {
        match span.start.checked_sub(self.text.len() + 1) {
            Some(number) if number < self.settings.len() => self.settings[number].place.clone(),
            _ => {
                let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                format!("{}:{line}", self.name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Mail {
        host: String,
        port: u16,
        password: Secret,
        tls: Option<Tls>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Tls {
        StartTls,
        None,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Channels {
        email: Mail,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code)]
    struct Rule {
        name: String,
        above: f64,
    }

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Document, ConfigError> {
        let mut document = Document::parse(text, "t.toml")?;
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        environment::overlay(&mut document, env)?;
        Ok(document)
    }

    #[test]
    fn an_absent_section_is_the_default() {
        let document = Document::parse("", "t.toml").unwrap();
        assert_eq!(document.section::<Mail>("mail").unwrap(), Mail::default());
        assert!(document.list::<Rule>("rules").unwrap().is_empty());
    }

    #[test]
    fn errors_name_line_key_and_what_is_allowed() {
        for (text, wanted) in [
            (
                "a = 1\n[mail]\nprot = 25",
                "t.toml:3: in mail: unknown key `prot`; did you mean `port`? \
                 allowed: `host`, `port`, `password`, `tls`",
            ),
            ("[mail]\nport = \"x\"", "t.toml:2: in mail: invalid type: string \"x\", expected u16"),
            (
                "[mail]\ntls = \"non\"",
                "t.toml:2: in mail: unknown value `non`; did you mean `none`? \
                 allowed: `starttls`, `none`",
            ),
        ] {
            let document = Document::parse(text, "t.toml").unwrap();
            assert_eq!(document.section::<Mail>("mail").unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn a_list_finds_the_faults_of_all() {
        let text = "[[rules]]\nname = \"a\"\n[[rules]]\nname = \"b\"\nabove = true\n";
        let document = Document::parse(text, "t.toml").unwrap();
        let error = document.list::<Rule>("rules").unwrap_err().to_string();
        assert_eq!(
            error,
            "t.toml:1: in rules.a: missing key `above`\n\
             t.toml:5: in rules.b: invalid type: boolean `true`, expected f64"
        );
        let own = document.problem("rules", "b", "no").to_string();
        assert_eq!(own, "t.toml:3: no");
    }

    #[test]
    fn unknown_sections_are_refused_with_a_suggestion() {
        let document = Document::parse("[detector]\n[log]\n[zzz]", "t.toml").unwrap();
        assert!(document.finish(&["detector", "log", "zzz"]).is_ok());
        let error = document.finish(&["log", "detectors"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "t.toml:1: unknown key `detector`; did you mean `detectors`? \
             allowed: `log`, `detectors`\n\
             t.toml:3: unknown key `zzz`; allowed: `log`, `detectors`"
        );
    }

    #[test]
    fn what_is_no_toml_names_its_line() {
        let error = Document::parse("a = 1\nb = = 2\n", "t.toml").unwrap_err().to_string();
        assert!(error.starts_with("t.toml:2: "), "{error}");
    }

    #[test]
    fn the_environment_rules_and_is_named_in_errors() {
        let text = "[channels.email]\nhost = \"a\"\npassword = \"x\"\n";
        let env = [
            ("TOCSIN_CHANNELS_EMAIL_PASSWORD", "123"),
            ("TOCSIN_CHANNELS_EMAIL_PORT", "25"),
            ("TOCSIN_LOG", "debug"),
            ("TOCSIN_SERVICE_HOST", "10.0.0.1"),
        ];
        let document = load(text, &env).unwrap();
        let mail = document.section::<Channels>("channels").unwrap().email;
        assert_eq!((mail.host.as_str(), mail.port, mail.password.expose()), ("a", 25, "123"));
        assert!(document.finish(&["channels"]).is_ok());

        let document = load(text, &[("TOCSIN_CHANNELS_EMAIL_PROT", "25")]).unwrap();
        let error = document.section::<Channels>("channels").unwrap_err().to_string();
        assert!(error.starts_with("environment variable TOCSIN_CHANNELS_EMAIL_PROT: "), "{error}");
    }

    #[test]
    fn what_stands_where_a_secret_should_is_not_shown() {
        for value in [
            "7351",
            "-7351",
            "7351.5",
            "17351735173517351735",
            "7351735173517351735173517351",
            "73517351735173517351735173517351735173517351735173517351",
            "true",
            "7351-01-01",
            "[7351]",
            "{ a = 7351 }",
            "geheim7351",
        ] {
            let text = format!("[mail]\npassword = {value}\n");
            let document = Document::parse(&text, "t.toml");
            let error = document.and_then(|d| d.section::<Mail>("mail")).unwrap_err().to_string();
            assert!(error.starts_with("t.toml:2: ") && !error.contains(value), "{value}: {error}");
            assert!(!error.contains("7351"), "{value}: {error}");
        }
    }

    #[test]
    fn secrets_are_read_from_files_and_never_printed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tocsin.toml");
        std::fs::write(directory.path().join("pw"), "geheim\n").unwrap();
        std::fs::write(&path, "[channels.email]\npassword_file = \"pw\"\n").unwrap();
        let document = Document::load(Some(&path), std::iter::empty()).unwrap();
        let mail = document.section::<Channels>("channels").unwrap().email;
        assert_eq!(mail.password.expose(), "geheim");
        assert!(!format!("{mail:?} {}", mail.password).contains("geheim"));

        let file = directory.path().join("pw").display().to_string();
        let env = ("TOCSIN_CHANNELS_EMAIL_PASSWORD_FILE".to_owned(), file);
        let document = Document::load(None, std::iter::once(env)).unwrap();
        let mail = document.section::<Channels>("channels").unwrap().email;
        assert_eq!(mail.password.expose(), "geheim");

        let env = ("TOCSIN_CHANNELS_EMAIL_PASSWORD_FILE".to_owned(), "/none".to_owned());
        let error = Document::load(None, std::iter::once(env)).unwrap_err().to_string();
        assert!(error.contains("cannot read /none"), "{error}");
    }
}
