//! `tocsin schema`: whether the versions of each schema fit each other, and whether a registry has
//! ours; and to register them.

use crate::cli::{SchemaArgs, SchemaCommand};
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::registry::{LEVEL, Registry, RegistryError, Version, subjects};
use crate::settings::{RegistryOptions, Settings, registry_url};
use serde_json::{Value, json};
use std::io::Write;
use tocsin_domain::wire::catalogue::{FACTS, Known};
use tocsin_domain::wire::{compatible, fingerprint};

/// Runs one of them.
///
/// # Errors
/// Wrong configuration, or a registry that refuses (exit code 3) or does not answer (4); schemas that
/// do not fit, or are not registered (5).
pub fn run(command: &SchemaCommand) -> anyhow::Result<()> {
    match command {
        SchemaCommand::Check(args) => check(args),
        SchemaCommand::Register(args) => register(args),
    }
}

/// How one schema, or one subject, stands.
struct Line {
    name: String,
    state: String,
    id: Option<u32>,
    is_right: bool,
}

fn check(args: &SchemaArgs) -> anyhow::Result<()> {
    let registry = registry(args)?;
    let schemas: Vec<Line> = FACTS.iter().map(kept).collect();
    let mut held = Vec::new();
    if let Some(registry) = &registry {
        for (subject, known) in subjects() {
            held.push(standing(registry, subject, known)?);
        }
    }
    let wrong = schemas.iter().chain(&held).filter(|line| !line.is_right).count();
    match args.json {
        true => say(&format!("{}\n", json!({ "schemas": all(&schemas), "subjects": all(&held) })))?,
        false => say(&(table("schema", &schemas) + &table("subject", &held)))?,
    }
    if wrong > 0 {
        let text = format!(
            "{wrong} schemas are not as they should be; `tocsin schema register` registers what fits and sets the compatibility, and schemas/README.md says what may change"
        );
        return Err(Exit::error(Kind::Problems, text));
    }
    Ok(())
}

fn register(args: &SchemaArgs) -> anyhow::Result<()> {
    let Some(registry) = registry(args)? else {
        let text = "there is no registry to register in: name it by `registry` of [schema] with --config, or with --registry";
        return Err(Exit::error(Kind::Configuration, text));
    };
    let mut lines = Vec::new();
    for (name, known) in subjects() {
        let id = Some(registry.register(&name, known.schema)?);
        lines.push(Line { name, state: "registered".to_owned(), id, is_right: true });
    }
    match args.json {
        true => say(&format!("{}\n", json!({ "subjects": all(&lines) }))),
        false => say(&table("subject", &lines)),
    }
}

/// The registry that is named; a login is for the one of the configuration only.
fn registry(args: &SchemaArgs) -> anyhow::Result<Option<Registry>> {
    let settings = Settings::if_any(args.config.as_deref(), facts::now())?;
    let Some(asked) = &args.registry else {
        return Ok(settings.registry.as_ref().map(Registry::new));
    };
    let url = registry_url(asked)
        .map_err(|error| Exit::error(Kind::Configuration, format!("--registry: {error}")))?;
    let configured = settings.registry.filter(|configured| configured.url == url);
    let options = configured.unwrap_or(RegistryOptions { url, login: None });
    Ok(Some(Registry::new(&options)))
}

/// Whether the versions that the program knows fit each other.
fn kept(known: &Known) -> Line {
    let versions = known.versions();
    let found = compatible(&versions);
    let state = match &found {
        Ok(()) => format!("compatible, {} kept", versions.len()),
        Err(error) => format!("incompatible: {}", error.reason),
    };
    Line { name: known.file.to_owned(), state, id: None, is_right: found.is_ok() }
}

/// How a subject of the registry stands to our schema.
fn standing(registry: &Registry, name: String, known: &Known) -> Result<Line, RegistryError> {
    let versions = registry.versions(&name)?;
    let ours = |version: &&Version| {
        version.is_avro() && fingerprint(&version.schema) == Ok(known.fingerprint)
    };
    if let Some(version) = versions.iter().rev().find(ours) {
        let (level, version, id) = (registry.level(&name)?, version.version, Some(version.id));
        let is_right = level == LEVEL;
        let state = match is_right {
            true => format!("registered as version {version}"),
            // What does not fit would be let in beside it.
            false => format!("registered as version {version}, held to {level:?}, not {LEVEL}"),
        };
        return Ok(Line { name, state, id, is_right });
    }
    let state = if versions.is_empty() {
        "not registered".to_owned()
    } else {
        // The registry may be told to look at the latest version only, or at none.
        let texts = versions.iter().map(|version| version.schema.as_str());
        let between = compatible(&texts.chain([known.schema]).collect::<Vec<_>>());
        let mut objections = registry.objections(&name, known.schema)?;
        objections.extend(between.err().map(|error| error.reason));
        match objections.is_empty() {
            true => "not registered, compatible".to_owned(),
            false => format!("incompatible: {}", objections.join("; ")),
        }
    };
    Ok(Line { name, state, id: None, is_right: false })
}

fn all(lines: &[Line]) -> Vec<Value> {
    let one = |line: &Line| json!({ "name": line.name, "state": line.state, "id": line.id, "ok": line.is_right });
    lines.iter().map(one).collect()
}

/// Columns as wide as they need to be; nothing if there are no lines.
fn table(what: &str, lines: &[Line]) -> String {
    let widest = |of: fn(&Line) -> &str| lines.iter().map(|line| of(line).chars().count()).max();
    let Some(names) = widest(|line| &line.name) else { return String::new() };
    let states = widest(|line| &line.state).unwrap_or_default().clamp(5, 60);
    let mut text = format!("{what:names$}  {:states$}  id\n", "state");
    for line in lines {
        let id = line.id.map_or("-".to_owned(), |id| id.to_string());
        text.push_str(&format!("{:names$}  {:states$}  {id}\n", line.name, line.state));
    }
    text
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
