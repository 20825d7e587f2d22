//! What pods are told by variables: keys that the configuration has, and files that are there.

use crate::{at, files, none, root, word, yaml};
use serde_norway::Value;
use std::collections::BTreeMap;
use std::path::Path;
use tocsin::settings::Settings;
use tocsin_domain::Micros;

/// The variables of a workload or of a patch for one, and where its volumes are mounted.
fn told(resource: &Value) -> (Vec<Value>, Vec<String>) {
    let container = at(resource, "spec.template.spec.containers.0");
    let list = |key| at(container, key).as_sequence().cloned().unwrap_or_default();
    let mounts = list("volumeMounts");
    let mounts = mounts.iter().map(|mount| word(at(mount, "mountPath")).to_owned());
    let kept = |variable: &Value| at(variable, "$patch").is_null();
    (list("env").into_iter().filter(kept).collect(), mounts.collect())
}

/// A key by its variable: `TOCSIN_LOG_CA_FILE` is `ca_file` of `[log]`.
fn key(variable: &str) -> Option<(&'static [&'static str], String)> {
    let sections: [(&str, &[&str]); 4] = [
        ("TOCSIN_LOG_", &["log"]),
        ("TOCSIN_STORE_", &["store"]),
        ("TOCSIN_SCHEMA_", &["schema"]),
        ("TOCSIN_CHANNELS_EMAIL_", &["channels", "email"]),
    ];
    let found =
        sections.iter().find_map(|(prefix, path)| Some((*path, variable.strip_prefix(prefix)?)));
    found.map(|(path, key)| (path, key.to_lowercase()))
}

/// Lays the variables over the configuration of the base, as the process does, with files that are there.
fn overlaid(variables: &BTreeMap<String, String>, secret: &Path) -> toml::Table {
    let mut document: toml::Table = crate::text("k8s/base/tocsin.toml").parse().unwrap();
    for (variable, value) in variables {
        let Some((path, key)) = key(variable) else { continue };
        let mut table = &mut document;
        for name in path {
            table = table
                .entry(*name)
                .or_insert_with(|| toml::Table::new().into())
                .as_table_mut()
                .unwrap();
        }
        let value = match value.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) if key.ends_with("_file") => secret.to_string_lossy().into_owned().into(),
            Err(_) => toml::Value::String(value.clone()),
        };
        table.insert(key, value);
    }
    document
}

#[test]
fn every_variable_is_a_key_and_every_secret_file_is_mounted() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, path) = (directory.path().join("secret"), directory.path().join("tocsin.toml"));
    std::fs::write(&secret, "x").unwrap();
    let manifests = files("k8s").into_iter().filter(|file| file.ends_with(".yaml"));
    let (mut problems, mut seen) = (Vec::new(), 0);
    for (file, resource) in manifests
        .flat_map(|file| yaml(&file).into_iter().map(move |resource| (file.clone(), resource)))
    {
        let (variables, mounts) = told(&resource);
        let value = |variable: &Value| match at(variable, "value") {
            Value::Null => "from a secret".to_owned(),
            value => word(value).to_owned(),
        };
        let variables: BTreeMap<String, String> =
            variables.iter().map(|one| (word(at(one, "name")).to_owned(), value(one))).collect();
        seen += variables.len();
        let text = overlaid(&variables, &secret).to_string();
        std::fs::write(&path, text).unwrap();
        if let Err(error) = Settings::load(&path, Micros(0)) {
            problems.push(format!("{file}: {error:#}"));
        }
        for (name, place) in &variables {
            let ours =
                key(name).is_some() || ["TOCSIN_SLOT", "TOCSIN_LOG"].contains(&name.as_str());
            if !ours {
                problems.push(format!("{file}: {name} sets nothing"));
            }
            let below = |mount: &String| place.starts_with(&format!("{mount}/"));
            if place.starts_with("/run/") && !mounts.iter().any(below) {
                problems.push(format!("{file}: {name} is {place}, where nothing is mounted"));
            }
        }
    }
    assert!(seen > 10, "only {seen} variables were found below {}", root().display());
    none(problems);
}

#[test]
fn a_variable_that_is_no_key_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tocsin.toml");
    let variables = BTreeMap::from([("TOCSIN_LOG_PASSWORT".to_owned(), "x".to_owned())]);
    std::fs::write(&path, overlaid(&variables, &path).to_string()).unwrap();
    let error = Settings::load(&path, Micros(0)).unwrap_err();
    assert!(format!("{error:#}").contains("passwort"), "{error:#}");
}
