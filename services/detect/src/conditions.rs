//! The conditions that are evaluated, built once and found by what they are about. How many people
//! watch one makes no difference here.

use crate::detector::{Detector, Input};
use crate::detectors;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Once;
use tocsin_domain::condition::{Condition, EVERY_SUBJECT};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, topics};
use tocsin_stream::Poison;

/// A condition and its detector.
pub struct Rule {
    /// The condition.
    pub condition: Condition,
    /// What evaluates it.
    pub detector: Box<dyn Detector>,
    /// The keys of its alerts up to the subject.
    pub alert_key: String,
    /// Whether a memory that cannot be read has been told of: a million would flood the log.
    told: Once,
}

impl Rule {
    fn new(condition: Condition, detector: Box<dyn Detector>) -> Rule {
        let alert_key = format!("{}/{}/", condition.tenant, condition.id);
        Rule { condition, detector, alert_key, told: Once::new() }
    }

    /// Says, once, that the condition began anew for a subject.
    pub fn warn_unreadable(&self, subject: &str) {
        let Condition { name, version, .. } = &self.condition;
        self.told.call_once(|| {
            tracing::warn!(
                condition = name,
                version,
                subject,
                "what the condition remembered of the subject cannot be read, so it begins anew; \
                 further subjects are not named"
            );
        });
    }
}

/// Every active condition.
pub struct Conditions {
    rules: Vec<Option<Rule>>,
    free: Vec<u32>,
    by_id: HashMap<Id, u32, RandomState>,
    by_subject: HashMap<Vec<u8>, Vec<u32>, RandomState>,
    generation: u64,
}

impl Default for Conditions {
    /// The first generation is 1, because a restored subject has met none.
    fn default() -> Conditions {
        let (by_id, by_subject) = (HashMap::default(), HashMap::default());
        Conditions { rules: Vec::new(), free: Vec::new(), by_id, by_subject, generation: 1 }
    }
}

impl Conditions {
    /// Grows with every change. What was found by [`Conditions::about`] holds as long as it does
    /// not; never 0.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes over one record of the table. A condition that cannot be read, or whose parameters no
    /// detector accepts, is refused; the version that is evaluated stays.
    pub fn apply(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        ids: &SchemaIds,
    ) -> Result<(), Poison> {
        let Some(value) = value else {
            let id = key.rsplit(|byte| *byte == b'/').next();
            let id = id.and_then(|id| Id::parse(std::str::from_utf8(id).ok()?));
            id.into_iter().for_each(|id| self.remove(id));
            return Ok(());
        };
        let condition: Condition = wire::read_owned(value, ids)?;
        if !condition.active {
            self.remove(condition.id);
            return Ok(());
        }
        if self.get(condition.id).is_some_and(|rule| rule.condition == condition) {
            return Ok(());
        }
        let detector = build(&condition)?;
        self.remove(condition.id);
        self.insert(Rule::new(condition, detector));
        Ok(())
    }

    /// The rule of that number; `None` if it is gone.
    pub fn rule(&self, number: u32) -> Option<&Rule> {
        self.rules.get(number as usize)?.as_ref()
    }

    /// The numbers of the rules about a subject, in the order of their conditions' ids.
    pub fn about(&self, input: Input, tenant: &str, subject: &str, measure: &str) -> Vec<u32> {
        let every = index_key(input, tenant, EVERY_SUBJECT, measure);
        let one = index_key(input, tenant, subject, measure);
        let mut found: Vec<u32> = self.by_subject.get(&every).cloned().unwrap_or_default();
        if every != one {
            found.extend(self.by_subject.get(&one).into_iter().flatten());
        }
        found.sort_unstable_by_key(|number| self.rule(*number).map(|rule| rule.condition.id));
        found
    }

    fn get(&self, id: Id) -> Option<&Rule> {
        self.rule(*self.by_id.get(&id)?)
    }

    fn insert(&mut self, rule: Rule) {
        let number = self.free.pop().unwrap_or(self.rules.len() as u32);
        self.by_id.insert(rule.condition.id, number);
        self.by_subject.entry(key_of(&rule)).or_default().push(number);
        match self.rules.get_mut(number as usize) {
            Some(place) => *place = Some(rule),
            None => self.rules.push(Some(rule)),
        }
        self.generation += 1;
    }

    fn remove(&mut self, id: Id) {
        let Some(number) = self.by_id.remove(&id) else { return };
        let Some(rule) = self.rules[number as usize].take() else { return };
        let key = key_of(&rule);
        if let Some(numbers) = self.by_subject.get_mut(&key) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_subject.remove(&key);
            }
        }
        self.free.push(number);
        self.generation += 1;
    }
}

fn build(condition: &Condition) -> Result<Box<dyn Detector>, Poison> {
    let named = |reason: String| {
        let Condition { name, detector, .. } = condition;
        Poison::new("value", format!("condition {name:?}, detector {detector:?}: {reason}"))
    };
    let kind = detectors::kind(&condition.detector).ok_or_else(|| named(no_such_kind()))?;
    let params = serde_json::from_str(&condition.params).map_err(|e| named(e.to_string()))?;
    (kind.build)(params).map_err(named)
}

/// What to say of a kind that there is none of.
pub(crate) fn no_such_kind() -> String {
    let known: Vec<&str> = detectors::KINDS.iter().map(|kind| kind.name).collect();
    format!("there is no such kind of detector: it must be one of {}", known.join(", "))
}

fn key_of(rule: &Rule) -> Vec<u8> {
    let Condition { tenant, subject, .. } = &rule.condition;
    index_key(rule.detector.input(), tenant, subject, rule.detector.measure())
}

fn index_key(input: Input, tenant: &str, subject: &str, measure: &str) -> Vec<u8> {
    let mut key = vec![input as u8];
    for part in [tenant, subject, measure] {
        key.extend_from_slice(&(part.len() as u32).to_le_bytes());
        key.extend_from_slice(part.as_bytes());
    }
    key
}

impl Input {
    /// Every input.
    pub const ALL: [Input; 3] = [Input::Readings, Input::Listings, Input::OrderRows];

    /// The topic that its events stand in.
    pub fn topic(self) -> &'static str {
        match self {
            Input::Readings => topics::AQI_READINGS,
            Input::Listings => topics::MARKET_LISTINGS,
            Input::OrderRows => topics::ORDERS_ROWS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn condition(name: &str, subject: &str, limit: i32) -> Condition {
        let params = json!({"measure": "pm25", "raise_above": limit});
        Condition::new("default", name, "threshold", subject, &params)
    }

    fn apply(conditions: &mut Conditions, condition: &Condition) -> Result<(), Poison> {
        let mut bytes = Vec::new();
        wire::write(condition, &mut bytes);
        conditions.apply(condition.key().as_bytes(), Some(&bytes), &SchemaIds::default())
    }

    fn about(conditions: &Conditions, subject: &str, measure: &str) -> Vec<String> {
        let found = conditions.about(Input::Readings, "default", subject, measure);
        let mut names: Vec<_> =
            found.iter().map(|n| conditions.rule(*n).unwrap().condition.name.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn conditions_are_found_by_what_they_are_about() {
        let mut conditions = Conditions::default();
        for (name, subject) in [("all", "*"), ("one", "Lahore"), ("other", "Delhi")] {
            apply(&mut conditions, &condition(name, subject, 100)).unwrap();
        }
        assert_eq!(about(&conditions, "Lahore", "pm25"), ["all", "one"]);
        assert_eq!(about(&conditions, "Karachi", "pm25"), ["all"]);
        assert_eq!(about(&conditions, "Lahore", "co"), [""; 0]);
        assert!(conditions.about(Input::Readings, "acme", "Lahore", "pm25").is_empty());
        let mut inactive = condition("one", "Lahore", 100);
        inactive.active = false;
        apply(&mut conditions, &inactive).unwrap();
        conditions
            .apply(condition("all", "*", 1).key().as_bytes(), None, &SchemaIds::default())
            .unwrap();
        assert_eq!(about(&conditions, "Lahore", "pm25"), [""; 0]);
        apply(&mut conditions, &condition("new", "*", 1)).unwrap();
        assert_eq!(about(&conditions, "Lahore", "pm25"), ["new"]);
    }

    #[test]
    fn only_a_change_makes_a_new_generation_and_a_refused_one_changes_nothing() {
        let mut conditions = Conditions::default();
        apply(&mut conditions, &condition("all", "*", 100)).unwrap();
        let before = conditions.generation();
        apply(&mut conditions, &condition("all", "*", 100)).unwrap();
        assert_eq!(conditions.generation(), before);
        let mut bad = condition("all", "*", 100);
        bad.params = "{\"raise_above\": 1}".to_owned();
        assert!(
            apply(&mut conditions, &bad).unwrap_err().reason.contains("missing field `measure`")
        );
        bad.detector = "treshold".to_owned();
        assert!(apply(&mut conditions, &bad).unwrap_err().reason.contains("threshold"));
        assert_eq!((conditions.generation(), about(&conditions, "x", "pm25").len()), (before, 1));
        apply(&mut conditions, &condition("all", "*", 150)).unwrap();
        assert!(conditions.generation() > before);
    }
}
