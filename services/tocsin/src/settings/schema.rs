//! `[schema]`: a registry with the Confluent-compatible interface, and what its ids name.

use serde::Deserialize;
use std::collections::BTreeMap;
use tocsin_domain::wire::SchemaIds;
use tocsin_service::Secret;
use tocsin_service::config::{ConfigError, Document};

/// Where a registry is, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryOptions {
    /// `http://host:8081`, without a `/` at its end.
    pub url: String,
    /// Name and password; `None` if it asks for none.
    pub login: Option<(String, Secret)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    registry: Option<String>,
    username: Option<String>,
    #[serde(default)]
    password: Secret,
    #[serde(default)]
    ids: BTreeMap<String, String>,
}

/// Reads the section.
pub(super) fn read(
    document: &Document,
) -> Result<(SchemaIds, Option<RegistryOptions>), ConfigError> {
    let section: Section = document.section("schema")?;
    let ids = ids(&section);
    let registry = registry(section);
    let problems = [ids.as_ref().err().cloned(), registry.as_ref().err().cloned()];
    let found = (ids.unwrap_or_default(), registry.unwrap_or_default());
    super::unless(problems.into_iter().flatten(), document, "schema", found)
}

fn ids(section: &Section) -> Result<SchemaIds, String> {
    let mut named = Vec::new();
    for (id, name) in &section.ids {
        let id = id.parse::<u32>();
        named.push((id.map_err(|_| format!("ids: {name:?}: an id is a number"))?, name.as_str()));
    }
    SchemaIds::of_names(named).map_err(|error| format!("ids: {}", error.reason))
}

fn registry(section: Section) -> Result<Option<RegistryOptions>, String> {
    let login = match (section.username, section.password) {
        (None, password) if password.is_empty() => None,
        (Some(name), password) if !password.is_empty() && !name.contains(':') => {
            Some((name, password))
        }
        (Some(name), _) if name.contains(':') => {
            return Err("`username` may not have a colon: the registry would take what is behind it for the password".to_owned());
        }
        _ => return Err("`username` and `password` go together; one is missing".to_owned()),
    };
    match section.registry {
        Some(url) => Ok(Some(RegistryOptions { url: registry_url(&url)?, login })),
        None if login.is_some() => {
            Err("`username` is for a registry: name it, `registry = \"https://…\"`".to_owned())
        }
        None => Ok(None),
    }
}

/// A registry's address as it is used.
///
/// # Errors
/// What is wrong with it. A password in it is not repeated.
pub fn registry_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        None | Some("") => {
            Err("`registry` must be an address such as http://127.0.0.1:8081".to_owned())
        }
        Some(rest) if rest.contains('@') => {
            Err("`registry` holds a login: say `username` and `password_file` of [schema] instead"
                .to_owned())
        }
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Result<(SchemaIds, Option<RegistryOptions>), String> {
        let document = Document::parse(&format!("[schema]\n{text}"), "t.toml").unwrap();
        read(&document).map_err(|error| error.to_string())
    }

    #[test]
    fn a_registry_and_a_login_are_taken() {
        assert_eq!(schema(""), Ok((SchemaIds::default(), None)));
        let text = "registry = \"https://r:1/x/\"\nusername = \"u\"\npassword = \"geheim\"\n\
                    [schema.ids]\n7 = \"tocsin.Swipe\"";
        let (ids, registry) = schema(text).unwrap();
        let registry = registry.unwrap();
        assert_eq!((registry.url.as_str(), ids.iter().count()), ("https://r:1/x", 1));
        assert!(!format!("{registry:?}").contains("geheim"));
        assert_eq!(registry.login.unwrap().1.expose(), "geheim");
    }

    #[test]
    fn what_is_wrong_is_said_all_at_once() {
        for (text, wanted) in [
            ("registry = \"r:1\"", "must be an address"),
            ("registry = \"http://\"", "must be an address"),
            ("registry = \"http://u:geheim@r\"", "holds a login"),
            ("username = \"u\"", "go together"),
            ("password = \"geheim\"", "go together"),
            ("username = \"u:v\"\npassword = \"geheim\"", "a colon"),
            ("username = \"u\"\npassword = \"geheim\"", "name it"),
            ("regstry = \"x\"", "did you mean `registry`?"),
            ("registry = \"r\"\n[schema.ids]\nx = \"tocsin.Swipe\"", "an id is a number"),
            ("registry = \"r\"\n[schema.ids]\n1 = \"tocsin.Swoop\"", "must be an address"),
            ("[schema.ids]\n1 = \"tocsin.Swoop\"", "there is no schema \"tocsin.Swoop\""),
        ] {
            let error = schema(text).unwrap_err();
            assert!(error.contains(wanted) && !error.contains("geheim"), "{wanted}: {error}");
        }
    }
}
