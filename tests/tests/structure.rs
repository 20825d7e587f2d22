//! The source tree's own rules, read from the tree: who may list what, lists that are complete,
//! topics and schemas that fit, files that stay small, documents whose commands exist.
//! It builds and runs nothing.

#![allow(clippy::unwrap_used, clippy::panic)] // a test ends by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use tocsin_domain::topics::Topics;
use tocsin_stream::Topology;

/// A dependency, the members that may list it, and whether tests may too.
const MAY_LIST: &[(&str, &[&str], Tests)] = &[
    ("libfuzzer-sys", &["fuzz"], Tests::No),
    ("rdkafka", &["crates/stream"], Tests::No),
    ("lettre", &["services/notify"], Tests::No),
    ("reqwest", &["services/ingest"], Tests::No),
    ("scylla", &["crates/store"], Tests::No),
    ("openssl", &["crates/store", "crates/testkit"], Tests::Yes),
    ("rusqlite", &["crates/stream", "crates/store"], Tests::Yes),
    ("apache-avro", &["crates/domain"], Tests::Yes),
    ("ureq", &["services/tocsin"], Tests::Yes),
];

/// Who may depend on the services; nobody else, so that they share topics only.
const MAY_LIST_SERVICES: &[&str] = &["fuzz", "services/tocsin", "tests"];

/// The one exception: who reads the tables takes their description from who writes them.
const READS_TABLES: (&str, &str) = ("services/api", "tocsin-project");

/// Topics that are described before any service reads them.
const READ_BY_NOBODY_YET: &[&str] = &["datasets.rows", "social.swipes"];

/// The folders whose files must stand in the list of the same name: `sources/` in `sources.rs`.
const PLURAL: &[&str] = &["sources", "detectors", "projections", "channels", "services"];

/// Production lines of a file, before its unit tests.
const LINES_MAX: usize = 400;

/// The documents whose commands and links must exist.
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

/// Marks of unfinished work, spelt so that this file does not hold them.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("#[ig", "nore"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    Yes,
    No,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The workspace's members as paths from the root.
fn members() -> Vec<String> {
    let mut found = vec!["fuzz".to_owned(), "tests".to_owned()];
    for group in ["crates", "services"] {
        for entry in fs::read_dir(root().join(group)).unwrap() {
            found.push(format!("{group}/{}", entry.unwrap().file_name().into_string().unwrap()));
        }
    }
    found.sort();
    found
}

fn manifest(member: &str) -> toml::Table {
    text(format!("{member}/Cargo.toml")).parse().unwrap()
}

/// What a member lists in the tables of these names, those of a target included.
fn listed(member: &str, tables: &[&str]) -> BTreeSet<String> {
    let manifest = manifest(member);
    let targets = manifest.get("target").and_then(|t| t.as_table()).cloned().unwrap_or_default();
    let places = targets.values().filter_map(|t| t.as_table()).chain([&manifest]);
    places
        .flat_map(|place| tables.iter().filter_map(|name| place.get(*name)?.as_table()))
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// Every file under a folder of the root whose name ends so, as a path from the root.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path, ending));
        } else if path.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<String> {
    ["crates", "fuzz", "services", "tests"].iter().flat_map(|folder| files(folder, ".rs")).collect()
}

/// The lines before the unit tests, which end a file.
fn production(source: &str) -> impl Iterator<Item = &str> {
    source.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().lines()
}

/// Whether a file is there for tests only: in a place for tests, or a module of its parent's tests.
fn is_for_tests(file: &str) -> bool {
    let places = ["/tests/", "/benches/", "crates/testkit/", "/tests.rs", "/fixtures.rs"];
    places.iter().any(|place| file.contains(place))
}

/// Fails with every problem at once.
#[track_caller]
fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn dependencies_stay_where_they_belong() {
    let mut problems = Vec::new();
    for member in members() {
        let used = listed(&member, &["dependencies", "build-dependencies"]);
        let tested = listed(&member, &["dev-dependencies"]);
        for (name, allowed, tests) in MAY_LIST {
            let tests_may = *tests == Tests::Yes || allowed.contains(&member.as_str());
            let lists = used.contains(*name) || (tested.contains(*name) && !tests_may);
            if lists && !allowed.contains(&member.as_str()) {
                problems.push(format!("{member} lists {name}; only {allowed:?} may"));
            }
        }
    }
    none(problems);
}

#[test]
fn services_never_depend_on_each_other() {
    let services: BTreeMap<String, String> = members()
        .into_iter()
        .filter(|member| member.starts_with("services/"))
        .map(|member| (manifest(&member)["package"]["name"].as_str().unwrap().to_owned(), member))
        .collect();
    let mut problems = Vec::new();
    for member in members().iter().filter(|m| !MAY_LIST_SERVICES.contains(&m.as_str())) {
        for name in listed(member, &["dependencies", "build-dependencies"]) {
            if services.contains_key(&name) && (member.as_str(), name.as_str()) != READS_TABLES {
                problems.push(format!("{member} depends on the service {name}; share a topic"));
            }
        }
    }
    let api = listed("services/api", &["dependencies", "dev-dependencies"]);
    if api.contains("tocsin-notify") {
        problems.push("services/api lists tocsin-notify, even if only in tests".to_owned());
    }
    none(problems);
}

#[test]
fn every_manifest_takes_the_workspace_lints() {
    let workspace: toml::Table = text("Cargo.toml").parse().unwrap();
    let lint = &workspace["workspace"]["lints"]["rust"]["unsafe_code"];
    assert_eq!(lint.as_str(), Some("deny"));
    for member in members() {
        let inherits = manifest(&member).get("lints").and_then(|l| l.get("workspace")?.as_bool());
        assert_eq!(inherits, Some(true), "{member}/Cargo.toml needs [lints] workspace = true");
    }
}

/// The one module that calls librdkafka's C interface.
const UNSAFE: &str = "crates/stream/src/kafka/native.rs";

#[test]
fn only_one_module_may_be_unsafe() {
    let allows = |file: &String| {
        let source = text(file);
        source.lines().any(|line| line.contains("allow(") && line.contains("unsafe_code"))
    };
    let found: Vec<_> = rust_files().into_iter().filter(allows).collect();
    let wrong = found.into_iter().filter(|file| file != UNSAFE && !file.ends_with("structure.rs"));
    none(wrong.map(|file| format!("{file}: unsafe code stands in {UNSAFE} only")).collect());
}

#[test]
fn every_dependency_has_a_reason() {
    let cargo = text("Cargo.toml");
    let list = cargo.split("[workspace.dependencies]").nth(1).unwrap();
    let list = list.split("\n[").next().unwrap();
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let without: Vec<String> = lines
        .filter(|line| !line.contains("path = ") && !line.contains(" # "))
        .map(|line| format!("no reason (`# …`) stands beside: {line}"))
        .collect();
    none(without);
}

#[test]
fn a_member_of_a_plural_folder_stands_in_its_list_exactly_twice() {
    let mut problems = Vec::new();
    for service in members().iter().filter(|member| member.starts_with("services/")) {
        for plural in PLURAL {
            let folder = format!("{service}/src/{plural}");
            if !root().join(&folder).is_dir() {
                continue;
            }
            let list = text(format!("{folder}.rs"));
            for file in fs::read_dir(root().join(&folder)).unwrap() {
                let file = file.unwrap().file_name().into_string().unwrap();
                let name = file.trim_end_matches(".rs");
                let (module, path) = (format!("mod {name};"), format!("{name}::"));
                let for_tests = |visible| format!("#[cfg(test)]\n{visible}{module}");
                if ["", "pub(crate) "].iter().any(|v| list.contains(&for_tests(v))) {
                    continue;
                }
                let code = || production(&list).filter(|l| !l.trim_start().starts_with("//"));
                let modules = code().filter(|line| line.ends_with(&module)).count();
                let entries = code().filter(|line| mentions(line, &path)).count();
                if (modules, entries) != (1, 1) {
                    problems.push(format!(
                        "{folder}.rs has {modules} lines `{module}` and {entries} lines with \
                         `{path}`; one of each is the shape"
                    ));
                }
            }
        }
    }
    none(problems);
}

/// Whether a line holds the path, and not only as the end of a longer word.
fn mentions(line: &str, path: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(part_of_word))
}

#[test]
fn every_topic_has_its_schema_and_every_schema_its_topic() {
    let mut used = BTreeSet::new();
    let mut problems = Vec::new();
    let topics = Topics::parse(&text("topics.yaml")).unwrap();
    for topic in topics.iter() {
        let changelog = topic.name.ends_with(".changelog");
        match &topic.schema {
            None if changelog => {}
            None => {
                problems.push(format!("{} says `schema: state`, but is no changelog", topic.name))
            }
            Some(_) if changelog => {
                problems.push(format!("{} is a changelog: say `schema: state`", topic.name));
            }
            Some(file) => {
                used.insert(file.clone());
                if !root().join("schemas").join(file).is_file() {
                    problems.push(format!("{} names schemas/{file}, which is missing", topic.name));
                }
            }
        }
    }
    for entry in fs::read_dir(root().join("schemas")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if file.ends_with(".avsc") && !used.contains(&file) {
            problems.push(format!("schemas/{file} is the schema of no topic in topics.yaml"));
        }
    }
    none(problems);
}

fn topologies() -> Vec<Topology> {
    vec![
        tocsin_detect::topology(),
        tocsin_notify::matching::topology(),
        tocsin_notify::deliver::topology(),
        tocsin_notify::send::topology(),
        tocsin_project::topology(),
    ]
}

#[test]
fn every_topology_fits_topics_yaml() {
    let problems = topologies().iter().flat_map(|t| t.problems(Topics::builtin())).collect();
    none(problems);
}

#[test]
fn topics_yaml_names_no_reader_or_writer_that_is_none() {
    // The log itself is the last reader of what is set aside: every service may write these.
    let set_aside = ["dead.letters", "late.events"];
    let mut problems = Vec::new();
    for topology in topologies() {
        let tables = topology.tables.iter().map(|table| table.topic);
        let reads: BTreeSet<&str> =
            topology.inputs.iter().copied().chain(tables).chain(topology.changelog).collect();
        let writes: BTreeSet<&str> =
            topology.outputs.iter().copied().chain(topology.changelog).collect();
        for topic in Topics::builtin().iter() {
            let name = topic.name.as_str();
            let says = |list: &[String]| list.iter().any(|who| who == topology.service);
            let awaited = READ_BY_NOBODY_YET.contains(&name);
            if says(&topic.readers) && !reads.contains(name) && !awaited {
                problems.push(format!("topics.yaml: {} does not read {name}", topology.service));
            }
            if says(&topic.writers) && !writes.contains(name) && !set_aside.contains(&name) {
                problems.push(format!("topics.yaml: {} does not write {name}", topology.service));
            }
        }
    }
    none(problems);
}

#[test]
fn files_are_small_introduced_and_finished() {
    let mut problems = Vec::new();
    for file in rust_files() {
        let source = text(&file);
        let lines = production(&source).count();
        if lines > LINES_MAX && !is_for_tests(&file) {
            problems.push(format!("{file} has {lines} production lines; at most {LINES_MAX}"));
        }
        if !source.starts_with("//! ") {
            problems.push(format!("{file} does not begin with `//!`: say what it is"));
        }
        for (number, line) in source.lines().enumerate() {
            let unfinished = UNFINISHED.iter().find(|mark| line.contains(**mark));
            if let Some(mark) = unfinished {
                problems.push(format!("{file}:{} holds {mark}", number + 1));
            }
            if line.trim_start().starts_with("macro_rules!") {
                problems.push(format!("{file}:{} defines a macro of our own", number + 1));
            }
        }
    }
    none(problems);
}

#[test]
fn the_documents_name_only_what_exists() {
    let parts = ["", "/dlq", "/moving", "/watch"];
    let cli = parts.map(|part| text(format!("services/tocsin/src/cli{part}.rs"))).concat();
    let mut problems = Vec::new();
    for document in DOCUMENTS {
        let source = text(document);
        for line in commands(&source) {
            problems
                .extend(command_fault(line, &cli).map(|why| format!("{document}: {line}: {why}")));
        }
        for target in links(&source) {
            if !root().join(target).exists() {
                problems.push(format!("{document} links to {target}, which is missing"));
            }
        }
    }
    none(problems);
}

/// The lines of the shell blocks of a document, without comments and continuations.
fn commands(source: &str) -> Vec<&str> {
    let mut shell = false;
    let mut found = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            shell = language == "sh";
        } else if shell && !line.is_empty() && !line.starts_with('#') {
            found.push(line.split(" # ").next().unwrap_or(line).trim());
        }
    }
    found
}

/// What is wrong with a command: a script that is missing, a subcommand or an option that the
/// command line does not have, a file of ours that is not there.
fn command_fault(line: &str, cli: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ours = ["scripts/", "examples/", "demo/", "tests/", "schemas/", "docs/"];
    let globs = |word: &str| word.contains('*') || word.contains('<');
    for word in words.iter().filter(|w| ours.iter().any(|o| w.starts_with(o)) && !globs(w)) {
        if !root().join(word).exists() {
            return Some(format!("{word} does not exist"));
        }
    }
    let at = words.iter().position(|word| *word == "tocsin" || word.ends_with("/tocsin"))?;
    let rest: Vec<&str> = words[at + 1..].iter().copied().take_while(|w| *w != "|").collect();
    let command = rest.iter().find(|word| **word != "--")?;
    let is_variant = |l: &str| l.trim_start().starts_with(&format!("{}(", pascal(command)));
    if !command.starts_with("--") && !cli.lines().any(is_variant) {
        return Some(format!("tocsin has no subcommand {command}"));
    }
    let options = rest.iter().filter_map(|w| w.strip_prefix("--")).filter(|w| !w.is_empty());
    let mut missing =
        options.map(|option| option.split('=').next().unwrap_or(option)).filter(|o| {
            let field = format!(" {}:", o.replace('-', "_"));
            !cli.contains(&field) && !["help", "version"].contains(o)
        });
    missing.next().map(|option| format!("tocsin has no option --{option}"))
}

fn pascal(kebab: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    kebab.split('-').filter(|w| !w.is_empty()).map(word).collect()
}

/// The targets of a document's links that lie in the tree.
fn links(source: &str) -> Vec<&str> {
    let targets = source.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .map(|target| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let cli = "    WhyNot(A),\n    Demo(D),\n pub time_zone: String,";
    for (line, fault) in [
        ("tocsin demo --time-zone X", None),
        ("cargo run -p tocsin -- why-not x | jq --sort-keys .", None),
        ("scripts/test", None),
        ("scripts/tset", Some("scripts/tset does not exist")),
        ("tocsin dmeo", Some("tocsin has no subcommand dmeo")),
        ("tocsin demo --timezone X", Some("tocsin has no option --timezone")),
    ] {
        assert_eq!(command_fault(line, cli).as_deref(), fault, "{line}");
    }
    assert_eq!(
        commands("x\n```sh\n# a\nscripts/test  # b\n```\n```toml\ny\n```"),
        ["scripts/test"]
    );
    assert!(mentions("    threshold::KIND,", "threshold::"));
    assert!(!mentions("    my_threshold::KIND,", "threshold::"));
}

#[test]
fn the_first_rule_of_the_readme_is_the_example() {
    let example = text("examples/first_rule.toml");
    assert!(text("README.md").contains(&format!("```toml\n{example}```")));
}

#[test]
fn the_scripts_are_there_and_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for script in ["setup", "demo", "test", "fuzz", "demo-check", "deploy-check", "screenshots"] {
        let mode = fs::metadata(root().join("scripts").join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "scripts/{script} is not executable");
        assert!(text(format!("scripts/{script}")).lines().any(|l| l.starts_with("set -eu")));
    }
}
