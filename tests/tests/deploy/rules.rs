//! Alerts: over metrics that there are, explained, tested, and each with its section in the runbook.

use crate::metrics::{exported, faults};
use crate::{at, none, root, text, word, yaml};
use serde_norway::Value;
use std::collections::BTreeSet;

fn alerts() -> Vec<Value> {
    let rules = yaml("deploy/prometheus/rules.yml").remove(0);
    let groups = at(&rules, "groups").as_sequence().unwrap().clone();
    let rules = |group: Value| at(&group, "rules").as_sequence().unwrap().clone();
    groups.into_iter().flat_map(rules).collect()
}

#[test]
fn every_rule_is_over_metrics_that_the_program_exports() {
    let exported = exported();
    let problems = alerts().into_iter().flat_map(|rule| {
        let name = word(at(&rule, "alert")).to_owned();
        let found = faults(word(at(&rule, "expr")), &exported).into_iter();
        found.map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>()
    });
    none(problems.collect());
}

#[test]
fn every_alert_says_what_it_means_and_where_to_read_on() {
    let mut problems = Vec::new();
    for rule in alerts() {
        let name = word(at(&rule, "alert"));
        let severity = word(at(&rule, "labels.severity"));
        if !["page", "ticket", "none"].contains(&severity) {
            problems.push(format!("{name}: its severity is {severity:?}"));
        }
        for annotation in ["summary", "description"] {
            if word(at(&rule, &format!("annotations.{annotation}"))).is_empty() {
                problems.push(format!("{name}: it has no {annotation}"));
            }
        }
        let runbook = word(at(&rule, "annotations.runbook"));
        if runbook != format!("docs/runbook.md#{}", name.to_lowercase()) {
            problems.push(format!("{name}: its runbook is {runbook:?}"));
        }
    }
    none(problems);
}

#[test]
fn the_runbook_has_a_section_for_every_alert_and_no_other() {
    let runbook = text("docs/runbook.md");
    let alerts: BTreeSet<String> =
        alerts().iter().map(|rule| word(at(rule, "alert")).to_owned()).collect();
    let mut sections = BTreeSet::new();
    for section in runbook.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap().to_owned();
        for part in ["**Means.**", "**Look at**", "**Do.**"] {
            assert!(section.contains(part), "{name} does not say {part}");
        }
        sections.insert(name);
    }
    assert_eq!(sections, alerts);
}

#[test]
fn every_alert_is_shown_firing_by_a_test() {
    let tests = text("deploy/prometheus/rules.test.yml");
    let untested = alerts().into_iter().map(|rule| word(at(&rule, "alert")).to_owned());
    none(untested.filter(|name| !tests.contains(name.as_str())).collect());
}

#[test]
fn the_links_of_its_documents_lead_somewhere() {
    let mut problems = Vec::new();
    for document in ["docs/runbook.md", "deploy/README.md"] {
        let folder = root().join(document).parent().unwrap().to_owned();
        let source = text(document);
        let targets = source.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets {
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { root().join(document) } else { folder.join(file) };
            let there = std::fs::read_to_string(&file).is_ok_and(|text| {
                let titles =
                    text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
                let mut titles = titles.map(|title| title.to_lowercase().replace(' ', "-"));
                section.is_empty() || titles.any(|title| title == section)
            });
            if !there {
                problems.push(format!("{document} links to {target}, which is missing"));
            }
        }
    }
    none(problems);
}
