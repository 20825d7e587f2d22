//! The environment over the file. Only sections whose depth is known can be set: a variable's
//! underscores do not say where one key ends and the next begins. Other variables that begin with
//! `TOCSIN_` are left alone, because Kubernetes sets some for every service of that name.

use super::{ConfigError, Document, Setting};
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const PREFIX: &str = "TOCSIN_";

/// Sections that variables can set, and how many names stand between section and key.
const SECTIONS: [(&str, usize); 4] = [("log", 0), ("store", 0), ("schema", 0), ("channels", 1)];

/// Keys that hold a secret: they are never read as numbers, and `<key>_file` names a file.
const SECRETS: [&str; 3] = ["password", "token", "secret"];

/// Lays every variable that sets something over the document.
pub(super) fn overlay(
    document: &mut Document,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    let mut errors = ConfigError::default();
    for (variable, value) in env {
        let Some(path) = path_of(&variable) else { continue };
        let place = format!("environment variable {variable}");
        if set(&mut document.table(), &path, &value, &(0..0)) {
            document.settings.push(Setting { path, value, place });
        } else {
            let message = "cannot be set, because the file has no table there";
            errors = errors.and(ConfigError::new(&place, message));
        }
    }
    errors.or_ok(())
}

/// Replaces `password_file = "…"` and its like by the secret that the file holds. Relative paths
/// start from the configuration file's directory.
pub(super) fn read_secret_files(document: &mut Document) -> Result<(), ConfigError> {
    let mut found = Vec::new();
    find_secret_files(document, &document.table(), &[], &mut found);
    let mut errors = ConfigError::default();
    for setting in found {
        match setting {
            Ok(setting) => document.settings.push(setting),
            Err(error) => errors = errors.and(error),
        }
    }
    errors.or_ok(())
}

/// `TOCSIN_CHANNELS_EMAIL_BASE_URL` → `channels`, `email`, `base_url`.
fn path_of(variable: &str) -> Option<Vec<String>> {
    let rest = variable.strip_prefix(PREFIX)?.to_lowercase();
    if rest == "tenant" {
        return Some(vec![rest]);
    }
    let (section, rest) = rest.split_once('_')?;
    let (_, depth) = SECTIONS.iter().find(|(name, _)| *name == section)?;
    let names: Vec<&str> = rest.splitn(depth + 1, '_').collect();
    let whole = names.len() == depth + 1 && names.iter().all(|name| !name.is_empty());
    whole.then(|| std::iter::once(section).chain(names).map(str::to_owned).collect())
}

/// Sets a key; `false` if something that is no table is in the way.
pub(super) fn set<'a>(
    table: &mut DeTable<'a>,
    path: &[String],
    value: &'a str,
    span: &Range<usize>,
) -> bool {
    let [key, rest @ ..] = path else { return false };
    let named = Spanned::new(span.clone(), Cow::Owned(key.clone()));
    if rest.is_empty() {
        // What was set for the other way to give the same value no longer counts.
        table.remove(format!("{key}_file").as_str());
        if let Some(plain) = key.strip_suffix("_file") {
            table.remove(plain);
        }
        table.remove(key.as_str());
        table.insert(named, Spanned::new(span.clone(), typed(key, value)));
        return true;
    }
    if !table.contains_key(key.as_str()) {
        let empty = DeValue::Table(DeTable::new());
        table.insert(named, Spanned::new(span.clone(), empty));
    }
    match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => set(inner, rest, value, span),
        _ => false,
    }
}

/// Variables are text: what reads as a whole number or a truth value is one, unless it is a secret.
fn typed<'a>(key: &str, value: &'a str) -> DeValue<'a> {
    let parsed = (!SECRETS.contains(&key)).then(|| DeValue::parse(value).ok()).flatten();
    match parsed.map(Spanned::into_inner) {
        Some(number @ (DeValue::Integer(_) | DeValue::Boolean(_))) => number,
        _ => DeValue::String(Cow::Borrowed(value)),
    }
}

fn find_secret_files(
    document: &Document,
    table: &DeTable<'_>,
    path: &[String],
    found: &mut Vec<Result<Setting, ConfigError>>,
) {
    let below = |key: &str| path.iter().cloned().chain([key.to_owned()]).collect::<Vec<_>>();
    for secret in SECRETS {
        if let Some(value) = table.get(format!("{secret}_file").as_str()) {
            let place = document.place(&value.span());
            let text = match table.contains_key(secret) {
                true => Err(format!("`{secret}` and `{secret}_file` are both set; leave out one")),
                false => read_secret(document, secret, value.get_ref()),
            };
            found.push(match text {
                Ok(value) => Ok(Setting { path: below(secret), value, place }),
                Err(message) => Err(ConfigError::new(&place, message)),
            });
        }
    }
    for (key, value) in table.iter() {
        if let DeValue::Table(inner) = value.get_ref() {
            find_secret_files(document, inner, &below(key.get_ref()), found);
        }
    }
}

fn read_secret(document: &Document, secret: &str, file: &DeValue<'_>) -> Result<String, String> {
    let file = file.as_str().ok_or_else(|| {
        format!("`{secret}_file` is a {}; it must be the path of a file, as text", file.type_str())
    })?;
    let text = std::fs::read_to_string(document.directory.join(file));
    let text = text.map_err(|e| format!("cannot read {file}, which `{secret}_file` names: {e}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
