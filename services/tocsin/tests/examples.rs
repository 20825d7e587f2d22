//! The configurations that people copy are right: each is accepted, its sources take the files that
//! its first lines name, and the demo finds in its recorded data what an independent program found.

#![allow(clippy::unwrap_used, clippy::panic)] // a test ends by panicking

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tocsin::command::backtest::backtest;
use tocsin::settings::Settings;
use tocsin_domain::Micros;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn settings(path: &Path) -> Settings {
    let text = fs::read_to_string(path).unwrap();
    Settings::parse(&text, &path.display().to_string(), Micros(0)).unwrap()
}

fn found(config: &str, files: &[&str]) -> Value {
    let files: Vec<PathBuf> = files.iter().map(|file| root().join(file)).collect();
    let report = backtest(&settings(&root().join(config)), None, &files, Micros(0)).unwrap();
    serde_json::to_value(report).unwrap()
}

/// How many alerts a detector gave in a state.
fn count(report: &Value, detector: &str, state: &str) -> usize {
    let alerts = report["alerts"].as_array().unwrap().iter();
    alerts.filter(|a| a["detector"] == detector && a["state"] == state).count()
}

#[test]
fn every_example_is_accepted_and_takes_the_files_that_it_names() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let (settings, text) = (settings(&path), fs::read_to_string(&path).unwrap());
        assert!(!settings.watches.is_empty(), "{} tells nobody", path.display());
        let usage =
            text.lines().find_map(|line| line.strip_prefix("#   tocsin backtest --config "));
        for file in usage.unwrap_or_default().split_whitespace().skip(1) {
            let file = file.replace('*', "Dongsi");
            let takers = settings.sources.iter().filter(|s| s.takes(Path::new(&file))).count();
            assert_eq!(takers, 1, "{}: sources that take {file}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} files are named");
}

#[test]
fn the_first_rule_makes_the_two_mails_that_the_readme_promises() {
    let report = found("examples/first_rule.toml", &["examples/first_rule.csv"]);
    assert_eq!(report["events"], 6);
    assert_eq!(count(&report, "dusty", "raised"), 1);
    assert_eq!(count(&report, "dusty", "cleared"), 1);
    assert_eq!(report["watches"][0]["mails"].as_array().unwrap().len(), 2);
}

#[test]
fn the_demo_finds_what_an_independent_program_found_in_its_data() {
    let files = [
        "demo/alabama_pm25_2023.csv.gz",
        "demo/beijing_pm25_2013.csv.gz",
        "demo/online_retail_2010_12.csv.gz",
    ];
    let report = found("demo/tocsin.toml", &files);
    for (detector, raised, cleared) in
        [("pm25-unhealthy", 11, 11), ("beijing-dust", 19, 18), ("big-sellers", 9, 9)]
    {
        assert_eq!(count(&report, detector, "raised"), raised, "{detector}");
        assert_eq!(count(&report, detector, "cleared"), cleared, "{detector}");
    }
    assert_eq!(count(&report, "beijing-unusual", "raised"), 5);
    for (at, rows, filtered, no_value) in [(0, 931, 0, 0), (1, 1296, 0, 5), (2, 8501, 42, 0)] {
        let file = &report["sources"][at];
        let figures = [&file["rows"], &file["filtered"], &file["no_value"], &file["dead_letters"]];
        assert_eq!(figures, [rows, filtered, no_value, 0].map(Value::from).each_ref(), "{file}");
    }
    for key in ["dead_letters", "late_events", "duplicates"] {
        assert_eq!(report[key], 0, "{key}");
    }
    for watch in report["watches"].as_array().unwrap() {
        assert!(!watch["mails"].as_array().unwrap().is_empty(), "{watch} brings no mail");
    }
}
