//! Grafana's dashboards: every panel explained, with its unit, over metrics that there are, and
//! the same on every Grafana.

use crate::metrics::{exported, faults};
use crate::{files, none, text, word, yaml};
use serde_json::Value;
use std::collections::BTreeSet;

fn dashboards() -> Vec<(String, Value)> {
    let read = |file: String| {
        let dashboard = serde_json::from_str(&text(&file)).unwrap();
        (file, dashboard)
    };
    files("deploy/grafana/dashboards").into_iter().map(read).collect()
}

/// The panels of a dashboard, rows included.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        found.push(panel);
        found.extend(panel["panels"].as_array().into_iter().flatten());
    }
    found
}

/// What is wrong with one panel that shows something.
fn panel_faults(panel: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, pointer) in [
        ("title", "/title"),
        ("description", "/description"),
        ("unit", "/fieldConfig/defaults/unit"),
    ] {
        if panel.pointer(pointer).and_then(Value::as_str).is_none_or(str::is_empty) {
            problems.push(format!("no {key}"));
        }
    }
    let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if targets.is_empty() {
        problems.push("it asks for nothing".to_owned());
    }
    for source in targets.iter().map(|t| &t["datasource"]).chain([&panel["datasource"]]) {
        if source["uid"] != "${datasource}" {
            problems.push(format!("its data source is {source}, not the variable"));
        }
    }
    for target in targets {
        let expression = target["expr"].as_str().unwrap_or_default();
        if !expression.contains("ALERTS") && !expression.contains("job=~\"$job\"") {
            problems.push(format!("{expression} is not of the chosen jobs"));
        }
        let rate = expression.contains("rate(") || expression.contains("increase(");
        let summed = ["sum", "avg", "histogram_quantile"].iter().any(|s| expression.contains(s));
        if rate && !summed {
            problems.push(format!("{expression} does not add up the processes"));
        }
    }
    problems
}

#[test]
fn every_panel_is_explained_and_asks_the_chosen_source() {
    let mut problems = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap_or("a panel without a title");
            if panel["type"] != "row" {
                let found = panel_faults(panel).into_iter();
                problems.extend(found.map(|fault| format!("{file}: {title}: {fault}")));
            }
        }
    }
    none(problems);
}

#[test]
fn every_panel_is_over_metrics_that_the_program_exports() {
    let exported = exported();
    let mut problems = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let found = faults(target["expr"].as_str().unwrap(), &exported).into_iter();
                problems.extend(found.map(|f| format!("{file}: {}: {f}", panel["title"])));
            }
        }
    }
    none(problems);
}

#[test]
fn ids_are_there_once_and_panels_do_not_overlap() {
    for (file, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in panels(&dashboard) {
            assert!(ids.insert(panel["id"].as_u64()), "{file}: {} twice", panel["id"]);
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{file}: {} is too wide", panel["title"]);
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(cells.insert((x, y)), "{file}: {} covers another", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn a_dashboard_is_the_same_everywhere() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()), "{file}");
        assert_eq!(dashboard["editable"], false, "{file}");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let source = variables.iter().find(|v| v["type"] == "datasource").unwrap();
        assert_eq!(
            (&source["name"], &source["label"]),
            (&"datasource".into(), &"Data Source".into())
        );
    }
    let sources = yaml("deploy/grafana/provisioning/datasources/prometheus.yml").remove(0);
    assert_eq!(word(crate::at(&sources, "datasources.0.uid")), "prometheus");
    let provider = yaml("deploy/grafana/provisioning/dashboards/tocsin.yml").remove(0);
    let place = word(crate::at(&provider, "providers.0.options.path")).to_owned();
    let mount = format!("./deploy/grafana/dashboards:{place}:ro");
    assert!(text("docker-compose.yml").contains(&mount), "the compose file mounts {mount}");
}

#[test]
fn a_bad_panel_is_found() {
    let good = r#"{"title":"A","description":"B","datasource":{"uid":"${datasource}"},
        "fieldConfig":{"defaults":{"unit":"s"}},
        "targets":[{"expr":"sum(rate(x{job=~\"$job\"}[5m]))","datasource":{"uid":"${datasource}"}}]}"#;
    for (from, to, fault) in [
        ("", "", None),
        (r#""description":"B","#, "", Some("no description")),
        (r#""unit":"s""#, "", Some("no unit")),
        ("${datasource}", "prometheus", Some("its data source")),
        ("{job=~\\\"$job\\\"}", "", Some("is not of the chosen jobs")),
        ("sum(", "(", Some("does not add up")),
    ] {
        let panel = if from.is_empty() { good.to_owned() } else { good.replace(from, to) };
        let faults = panel_faults(&serde_json::from_str(&panel).unwrap()).join("; ");
        match fault {
            None => assert_eq!(faults, ""),
            Some(fault) => assert!(faults.contains(fault), "{from}: {faults}"),
        }
    }
}
