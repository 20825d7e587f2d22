//! The `[[detectors]]` section of tocsin.toml: entries in, conditions out, and every problem named
//! at once. Reading the file, and lines in it, are the caller's.

use crate::conditions::no_such_kind;
use crate::detectors;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;
use tocsin_domain::condition::{Condition, EVERY_SUBJECT};

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which entry, counted from 0.
    pub entry: usize,
    /// Its name; empty if it has none.
    pub detector: String,
    /// The key that is wrong, missing or unknown, where one can be told.
    pub key: Option<String>,
    /// What was found and what is allowed.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detector.as_str() {
            "" => write!(f, "detector {}", self.entry + 1)?,
            name => write!(f, "detector {name:?}")?,
        }
        match &self.key {
            Some(key) => write!(f, ", {key}: {}", self.reason),
            None => write!(f, ": {}", self.reason),
        }
    }
}

/// The conditions that the entries describe; each is a table with `name`, `kind`, `subject` (`"*"`
/// if it is not said) and the kind's own parameters beside them.
pub fn section(tenant: &str, entries: &[Value]) -> Result<Vec<Condition>, Vec<Problem>> {
    let (mut conditions, mut problems) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for (number, entry) in entries.iter().enumerate() {
        let found = condition(tenant, entry).and_then(|condition| {
            match names.insert(condition.name.clone()) {
                true => Ok(condition),
                false => Err((Some("name".to_owned()), taken(&condition.name))),
            }
        });
        match found {
            Ok(condition) => conditions.push(condition),
            Err((key, reason)) => {
                let detector = entry["name"].as_str().unwrap_or_default().to_owned();
                problems.push(Problem { entry: number, detector, key, reason });
            }
        }
    }
    if problems.is_empty() { Ok(conditions) } else { Err(problems) }
}

/// A key, where one can be told, and what is wrong.
type Fault = (Option<String>, String);

fn taken(name: &str) -> String {
    format!("{name:?} is the name of another detector: give each its own")
}

fn condition(tenant: &str, entry: &Value) -> Result<Condition, Fault> {
    let Value::Object(entry) = entry else {
        return Err((None, format!("found {entry}: it must be a table")));
    };
    let mut params = entry.clone();
    let name = text(&mut params, "name", None)?;
    let kind_name = text(&mut params, "kind", None)?;
    let subject = text(&mut params, "subject", Some(EVERY_SUBJECT))?;
    let kind = detectors::kind(&kind_name).ok_or_else(|| {
        (Some("kind".to_owned()), format!("found {kind_name:?}, {}", no_such_kind()))
    })?;
    (kind.build)(Value::Object(params.clone()))
        .map_err(|reason| (culprit(&params, kind.build, &reason), reason))?;
    Ok(Condition::new(tenant, &name, kind.name, &subject, &Value::Object(params)))
}

fn text(
    params: &mut Map<String, Value>,
    key: &str,
    default: Option<&str>,
) -> Result<String, Fault> {
    let fault = |found: String| {
        Err((Some(key.to_owned()), format!("{found}: it must be a text that is not empty")))
    };
    match (params.remove(key), default) {
        (Some(Value::String(text)), _) if !text.trim().is_empty() => Ok(text),
        (Some(found), _) => fault(format!("found {found}")),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => fault("it is missing".to_owned()),
    }
}

/// The key that an error is about: the one it begins with, or the one without which the error is
/// another. Messages about values do not say where the value stood.
fn culprit<D>(
    params: &Map<String, Value>,
    build: fn(Value) -> Result<D, String>,
    reason: &str,
) -> Option<String> {
    let field = reason.split('`').nth(1).filter(|_| reason.contains(" field `"));
    let first = reason.split(' ').next().filter(|word| params.contains_key(*word));
    if let Some(named) = field.or(first) {
        return Some(named.to_owned());
    }
    let mut suspects = params.keys().filter(|key| {
        let mut without = params.clone();
        without.remove(*key);
        build(Value::Object(without)).err().as_deref() != Some(reason)
    });
    let first = suspects.next().cloned();
    first.filter(|_| suspects.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({"name": "pm25-unhealthy", "kind": "threshold", "measure": "pm25", "index": "us-epa",
               "raise_above": 100, "clear_below": 90})
    }

    #[test]
    fn entries_become_conditions() {
        let mut one = good();
        (one["name"], one["subject"]) = (json!("lahore"), json!("Lahore"));
        let conditions = section("default", &[good(), one]).unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!(
            (conditions[0].subject.as_str(), conditions[1].subject.as_str()),
            ("*", "Lahore")
        );
        assert_eq!(
            conditions[0].params,
            r#"{"clear_below":90,"index":"us-epa","measure":"pm25","raise_above":100}"#
        );
        assert!(conditions[0].active);
    }

    #[test]
    fn every_problem_names_its_key() {
        for (key, value, says) in [
            ("name", json!(7), "it must be a text"),
            ("kind", json!("treshold"), "anomaly, high-volume-sales, threshold"),
            ("subject", json!(""), "it must be a text"),
            ("raise_abov", json!(3), "unknown field `raise_abov`, expected one of"),
            ("raise_above", json!("many"), "\"many\" is not a decimal number"),
            ("index", json!("eu"), "us-epa"),
            ("minimum_time_above", json!("soon"), "is not a length of time"),
            ("clear_above", json!(3), "wrong side"),
        ] {
            let mut entry = good();
            entry[key] = value;
            let problems = section("default", &[good(), entry]).unwrap_err();
            let problem = problems.iter().find(|p| p.entry == 1).unwrap();
            assert!(problem.reason.contains(says), "{problem}");
            assert_eq!(problem.key.as_deref(), Some(key), "{problem}");
        }
        let mut without = good();
        without.as_object_mut().unwrap().remove("measure");
        let problems = section("default", &[without, json!(3), good(), good()]).unwrap_err();
        let text: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(text[0], "detector \"pm25-unhealthy\", measure: missing field `measure`");
        assert_eq!(text[1], "detector 2: found 3: it must be a table");
        assert!(text[2].contains("another detector") && text.len() == 3);
    }
}
