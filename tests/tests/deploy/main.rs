//! What a cluster is deployed with: that the files fit together, fit the program, and hold to what
//! is asked of them. It reads files only; `scripts/deploy-check` asks the validators of others.

#![allow(clippy::unwrap_used, clippy::panic)] // a test ends by panicking

mod compose;
mod dashboards;
mod kubernetes;
mod metrics;
mod network;
mod program;
mod push;
mod rules;
mod variables;

use serde_norway::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a YAML file, merge keys applied.
fn yaml(path: &str) -> Vec<Value> {
    let source = text(path);
    let documents = serde_norway::Deserializer::from_str(&source);
    let read = |document| {
        let mut value: Value = serde::Deserialize::deserialize(document).unwrap();
        // What is merged may itself merge: once for each storey.
        for _ in 0..3 {
            value.apply_merge().unwrap();
        }
        value
    };
    documents.map(read).collect()
}

/// Every file under a folder, as a path from the root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap().map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// Everything that this is about.
fn all_files() -> Vec<String> {
    let mut found = files("deploy");
    found.extend(files("k8s"));
    found.push("docker-compose.yml".to_owned());
    found
}

/// The value at a path of keys and indexes, `spec.containers.0.image`; null if there is none.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| match key.parse::<usize>() {
        Ok(index) => value.get(index).unwrap_or(&Value::Null),
        Err(_) => value.get(key).unwrap_or(&Value::Null),
    })
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn words(value: &Value) -> Vec<String> {
    let items = value.as_sequence().into_iter().flatten();
    items.map(|item| word(item).to_owned()).collect()
}

/// Fails with every problem at once.
#[track_caller]
fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
