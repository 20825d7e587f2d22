//! What the program exports, and which metrics and labels a PromQL expression asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tocsin_domain::Micros;
use tocsin_domain::delivery::DeliveryState;
use tocsin_service::Metrics;

/// Labels that Prometheus gives each target.
const OF_THE_TARGET: [&str; 3] = ["job", "instance", "component"];

/// Metrics of Prometheus itself, whose labels are not ours.
const OF_PROMETHEUS: [&str; 2] = ["up", "ALERTS"];

/// Labels whose every value is known.
const CLOSED: [&str; 3] = ["service", "state", "outcome"];

/// One selector of an expression, `name{label="value"}`, operators left out.
#[derive(Debug, PartialEq)]
struct Selector {
    name: String,
    labels: Vec<(String, String)>,
}

/// What an expression asks for.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    selectors: Vec<Selector>,
    /// Labels of `by (…)` and its like.
    groups: Vec<String>,
}

/// The metrics of the program, each with its labels and their values.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Every metric that there is, counted once with every word that a closed label can hold.
pub fn exported() -> Exported {
    let (metrics, moment) = (Metrics::new(), Duration::from_millis(1));
    let services = [
        "ingest",
        tocsin_detect::topology().service,
        tocsin_notify::matching::topology().service,
        tocsin_notify::deliver::topology().service,
        tocsin_notify::send::topology().service,
        tocsin_project::topology().service,
    ];
    for service in services {
        metrics.records(service, 1);
        for outcome in ["processed", "filtered", "duplicate", "late", "dead"] {
            metrics.outcome(service, outcome, 1);
        }
        metrics.late_events(service, 1);
        metrics.watermark(service, Micros(1));
        metrics.consumer_lag(service, "orders.rows", 0, Some(1));
        metrics.assigned_partitions(service, 1);
        metrics.partitions_waiting(service, 1);
        metrics.restore_left(service, 1, Some(moment));
        metrics.restored(service, moment);
        metrics.committed(service, moment);
        metrics.aborted(service);
        metrics.snapshot_age(service, moment);
        metrics.loop_turned(service, Micros(1));
    }
    metrics.came_in("push", "push:shop", [("processed", 1), ("filtered", 1), ("dead", 1)]);
    metrics.source_paused("epa", true);
    metrics.dead_letters("orders.rows", "csv", 1);
    for state in ["raised", "updated", "cleared"] {
        metrics.alert("threshold", state);
    }
    for state in [
        DeliveryState::Requested,
        DeliveryState::Attempt,
        DeliveryState::Sent,
        DeliveryState::Refused,
        DeliveryState::Deferred,
        DeliveryState::Unknown,
        DeliveryState::Suppressed,
        DeliveryState::Expired,
    ] {
        metrics.delivery(state.as_str());
    }
    metrics.alert_to_sent(moment);
    metrics.http("/inbox", 200, moment);
    let mut found = Exported::new();
    for line in metrics.encode().lines().filter(|line| !line.starts_with('#')) {
        for Selector { name, labels } in asked(line).selectors {
            let known = found.entry(name).or_default();
            for (label, value) in labels {
                known.entry(label).or_default().insert(value);
            }
        }
    }
    found
}

/// What is wrong with an expression: a metric, a label or a word that the program does not have.
pub fn faults(expression: &str, exported: &Exported) -> Vec<String> {
    let asked = asked(expression);
    let mut problems = Vec::new();
    let mut labels: BTreeSet<&str> = OF_THE_TARGET.into_iter().collect();
    for Selector { name, labels: wanted } in &asked.selectors {
        if OF_PROMETHEUS.contains(&name.as_str()) {
            continue;
        }
        let Some(known) = exported.get(name) else {
            problems.push(format!("no metric is called {name}"));
            continue;
        };
        labels.extend(known.keys().map(String::as_str));
        for (label, value) in wanted.iter().filter(|(l, _)| !OF_THE_TARGET.contains(&l.as_str())) {
            let Some(values) = known.get(label) else {
                problems.push(format!("{name} has no label {label}"));
                continue;
            };
            let unknown = value.split('|').filter(|v| !values.contains(*v));
            let closed = CLOSED.contains(&label.as_str());
            problems.extend(unknown.filter(|_| closed).map(|v| format!("{label} is never {v}")));
        }
    }
    let groups = asked.groups.iter().filter(|group| !labels.contains(group.as_str()));
    problems.extend(groups.map(|group| format!("nothing here has the label {group}")));
    problems
}

fn asked(expression: &str) -> Asked {
    const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    const WORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
    // A function, or an aggregation such as `sum by (…) (…)`.
    let is_called = |rest: &str| ["(", "by ", "without "].iter().any(|s| rest.starts_with(s));
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Asked::default();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let word = rest.split(|c| !is_word(c)).next().unwrap_or_default();
        if first == '"' {
            rest = after(&rest[1..], '"');
        } else if first == '[' {
            rest = after(rest, ']');
        } else if word.is_empty() {
            rest = &rest[first.len_utf8()..];
        } else {
            rest = rest[word.len()..].trim_start();
            if GROUPING.contains(&word) && rest.starts_with('(') {
                let (names, further) = rest[1..].split_once(')').unwrap_or_default();
                found.groups.extend(names.split(',').map(|name| name.trim().to_owned()));
                rest = further;
            } else if !WORDS.contains(&word) && !first.is_ascii_digit() && !is_called(rest) {
                let (labels, further) = match rest.strip_prefix('{') {
                    Some(inner) => inner.split_once('}').unwrap_or_default(),
                    None => ("", rest),
                };
                found.selectors.push(Selector { name: word.to_owned(), labels: matchers(labels) });
                rest = further;
            }
        }
    }
    found
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map(|(_, rest)| rest).unwrap_or_default()
}

/// `a="b", c=~"d|e"` without the operators. No value of ours holds a quote or a brace.
fn matchers(text: &str) -> Vec<(String, String)> {
    let mut parts = text.split('"');
    let mut found = Vec::new();
    while let (Some(label), Some(value)) = (parts.next(), parts.next()) {
        let label = label.trim_matches([',', ' ', '=', '~', '!']);
        found.push((label.to_owned(), value.to_owned()));
    }
    found
}

#[test]
fn an_expression_is_taken_apart() {
    let expression =
        r#"sum by (le, job) (rate(a_bucket{job=~"$job", x!="y|z"}[5m] offset 15m)) / b > 0.5"#;
    let selector = |name: &str, labels: &[(&str, &str)]| Selector {
        name: name.to_owned(),
        labels: labels.iter().map(|(l, v)| ((*l).to_owned(), (*v).to_owned())).collect(),
    };
    let wanted = Asked {
        selectors: vec![selector("a_bucket", &[("job", "$job"), ("x", "y|z")]), selector("b", &[])],
        groups: vec!["le".to_owned(), "job".to_owned()],
    };
    assert_eq!(asked(expression), wanted);
}

#[test]
fn what_the_program_does_not_export_is_found() {
    let exported = exported();
    for (expression, fault) in [
        (r#"up == 0"#, None),
        (r#"tocsin_commits_total{outcome="aborted", job="x"}"#, None),
        (r#"sum by (service, le) (tocsin_commit_seconds_bucket)"#, None),
        ("tocsin_commit_total", Some("no metric is called tocsin_commit_total")),
        ("rate(process_cpu[5m])", Some("no metric is called process_cpu")),
        (r#"tocsin_records_total{topic="x"}"#, Some("tocsin_records_total has no label topic")),
        (r#"tocsin_deliveries_total{state=~"sent|lost"}"#, Some("state is never lost")),
        (r#"tocsin_records_total{service="mail"}"#, Some("service is never mail")),
        ("sum by (topic) (tocsin_records_total)", Some("nothing here has the label topic")),
    ] {
        let faults = faults(expression, &exported);
        assert_eq!(faults.first().map(String::as_str), fault, "{expression}: {faults:?}");
    }
}
