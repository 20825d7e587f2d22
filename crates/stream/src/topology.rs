//! A topology is a value: inputs, tables, store, outputs. It can be validated, printed, drawn and
//! run on any log.

use std::fmt::Write as _;
use tocsin_domain::topics::{Topic, Topics};

/// What one service reads, keeps and writes.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The service: also its consumer group and its transactional id.
    pub service: &'static str,
    /// What it does, in a few words.
    pub does: &'static str,
    /// The topics whose records are its steps' inputs. All with as many partitions.
    pub inputs: Vec<&'static str>,
    /// The compacted topics that it looks things up in.
    pub tables: Vec<Table>,
    /// The changelog of its keyed state; `None` for a service without state.
    pub changelog: Option<&'static str>,
    /// The topics that it publishes to, in the order of [`crate::Effects::publish`]'s numbers.
    pub outputs: Vec<&'static str>,
    /// Whom topics.yaml knows this service as, if its inputs are topics that others write: those are
    /// not in topics.yaml, and have as many partitions as they have.
    pub foreign: Option<&'static str>,
}

/// A compacted topic held in memory.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The topic.
    pub topic: &'static str,
    /// Which part of it an instance holds.
    pub scope: Scope,
}

/// Which part of a table an instance holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Global,
    /// The partitions that it has of its inputs: the same key is in the same partition of both.
    CoPartitioned,
}

impl Topology {
    /// Everything that is wrong with it, each with what to change; empty if it can run.
    pub fn problems(&self, topics: &Topics) -> Vec<String> {
        let mut problems = Vec::new();
        let mut find = |name: &str, role: &str| {
            let found = topics.get(name);
            if found.is_none() {
                problems.push(format!(
                    "{} names {role} {name:?}, which is not in topics.yaml: add it there or correct the name",
                    self.service
                ));
            }
            found
        };
        let ours = if self.foreign.is_some() { &[][..] } else { &self.inputs };
        let inputs: Vec<&Topic> = ours.iter().filter_map(|n| find(n, "input")).collect();
        let tables: Vec<(Table, &Topic)> =
            self.tables.iter().filter_map(|t| Some((*t, find(t.topic, "table")?))).collect();
        let changelog = self.changelog.and_then(|n| find(n, "changelog"));
        let outputs: Vec<&Topic> = self.outputs.iter().filter_map(|n| find(n, "output")).collect();
        if self.foreign.is_some() {
            for topic in &outputs {
                self.check_role(topic, &topic.writers, "writers", &mut problems);
            }
            self.check_foreign(topics, &mut problems);
            return problems;
        }
        let Some(partitions) = inputs.first().map(|t| t.partitions) else {
            problems.push(format!("{} has no input: name at least one topic", self.service));
            return problems;
        };
        for topic in &inputs {
            self.check_partitions(topic, partitions, "input", &mut problems);
            self.check_role(topic, &topic.readers, "readers", &mut problems);
        }
        for (table, topic) in &tables {
            if table.scope == Scope::CoPartitioned {
                self.check_partitions(topic, partitions, "co-partitioned table", &mut problems);
            }
            check_compacted(self.service, topic, "table", &mut problems);
            self.check_role(topic, &topic.readers, "readers", &mut problems);
        }
        if let Some(topic) = changelog {
            self.check_partitions(topic, partitions, "changelog", &mut problems);
            check_compacted(self.service, topic, "changelog", &mut problems);
            self.check_role(topic, &topic.writers, "writers", &mut problems);
        }
        for topic in &outputs {
            self.check_role(topic, &topic.writers, "writers", &mut problems);
        }
        problems
    }

    /// What is joined or kept would have to share partitions with a topic of which nobody here knows
    /// how many it has.
    fn check_foreign(&self, topics: &Topics, problems: &mut Vec<String>) {
        let service = self.service;
        for input in self.inputs.iter().filter(|input| topics.get(input).is_some()) {
            problems.push(format!(
                "{service} reads {input:?} as a topic of others, and it is one of ours: name the topic that somebody else writes"
            ));
        }
        if self.inputs.len() != 1 || !self.tables.is_empty() || self.changelog.is_some() {
            problems.push(format!(
                "{service} reads a topic of others: one input, no table and no changelog may stand beside it"
            ));
        }
    }

    fn check_partitions(&self, topic: &Topic, want: u32, role: &str, problems: &mut Vec<String>) {
        if topic.partitions != want {
            problems.push(format!(
                "{}: {role} {:?} has {} partitions and {:?} has {want}: the same key must be in the same partition, so make them equal in topics.yaml",
                self.service, topic.name, topic.partitions, self.inputs[0]
            ));
        }
    }

    fn check_role(&self, topic: &Topic, names: &[String], role: &str, problems: &mut Vec<String>) {
        let known_as = self.foreign.unwrap_or(self.service);
        if !names.iter().any(|name| name == known_as) {
            problems.push(format!(
                "topics.yaml does not list {known_as:?} among the {role} of {:?}: add it",
                topic.name
            ));
        }
    }

    /// One line a part, for people.
    pub fn text(&self) -> String {
        let mut out = format!("{}: {}\n", self.service, self.does);
        let mut line = |label: &str, names: Vec<String>| {
            if !names.is_empty() {
                let _ = writeln!(out, "  {label:<9} {}", names.join(", "));
            }
        };
        line("reads", self.inputs.iter().map(|n| n.to_string()).collect());
        let scope = |t: &Table| match t.scope {
            Scope::Global => format!("{} (all of it)", t.topic),
            Scope::CoPartitioned => format!("{} (its partitions)", t.topic),
        };
        line("looks up", self.tables.iter().map(scope).collect());
        line("keeps", self.changelog.iter().map(|n| n.to_string()).collect());
        line("publishes", self.outputs.iter().map(|n| n.to_string()).collect());
        out
    }
}

fn check_compacted(service: &str, topic: &Topic, role: &str, problems: &mut Vec<String>) {
    if !topic.is_compacted() {
        problems.push(format!(
            "{service}: {role} {:?} is kept by time, so old keys would vanish: make it compacted in topics.yaml",
            topic.name
        ));
    }
}

/// All services as a Mermaid flow chart: topics are cylinders, services boxes.
pub fn mermaid(topologies: &[Topology]) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut topics: Vec<&str> = topologies
        .iter()
        .flat_map(|t| {
            let tables = t.tables.iter().map(|table| table.topic);
            t.inputs.iter().chain(&t.outputs).copied().chain(tables).chain(t.changelog)
        })
        .collect();
    topics.sort_unstable();
    topics.dedup();
    for topic in topics {
        let _ = writeln!(out, "  {}[(\"{topic}\")]", node(topic));
    }
    for topology in topologies {
        let service = topology.service;
        let _ = writeln!(out, "  {service}[\"<b>{service}</b><br/>{}\"]", topology.does);
        for input in &topology.inputs {
            let _ = writeln!(out, "  {} --> {service}", node(input));
        }
        for table in &topology.tables {
            let _ = writeln!(out, "  {} -. table .-> {service}", node(table.topic));
        }
        if let Some(changelog) = topology.changelog {
            let _ = writeln!(out, "  {service} <-. state .-> {}", node(changelog));
        }
        for output in &topology.outputs {
            let _ = writeln!(out, "  {service} --> {}", node(output));
        }
    }
    out
}

fn node(topic: &str) -> String {
    format!("t_{}", topic.replace(['.', '-'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        Topology {
            service: "match",
            does: "meets alerts with watches",
            inputs: vec!["alerts"],
            tables: vec![Table { topic: "watches", scope: Scope::Global }],
            changelog: None,
            outputs: vec!["notices"],
            foreign: None,
        }
    }

    #[test]
    fn a_sound_topology_has_no_problems() {
        assert_eq!(topology().problems(Topics::builtin()), Vec::<String>::new());
    }

    #[test]
    fn every_problem_names_what_to_change() {
        let mut bad = topology();
        bad.inputs = vec!["alertz", "alerts"];
        bad.tables[0].scope = Scope::CoPartitioned;
        bad.changelog = Some("notices");
        bad.outputs.push("aqi.readings");
        let problems = bad.problems(Topics::builtin()).join("\n");
        for part in ["alertz", "co-partitioned", "make it compacted", "writers"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        bad.inputs.clear();
        assert!(bad.problems(Topics::builtin()).join("\n").contains("has no input"));
    }

    #[test]
    fn a_topic_of_others_is_read_in_the_name_of_a_service_and_joined_with_nothing() {
        let foreign = Topology {
            service: "topic-acme",
            does: "",
            inputs: vec!["acme.orders"],
            tables: Vec::new(),
            changelog: None,
            outputs: vec!["orders.rows"],
            foreign: Some("ingest"),
        };
        let problems = |topology: &Topology| topology.problems(Topics::builtin()).join("\n");
        assert_eq!(problems(&foreign), "");
        let mut bad = foreign.clone();
        bad.inputs = vec!["alerts"];
        bad.changelog = Some("notices");
        bad.outputs.push("alerts");
        let found = problems(&bad);
        for part in ["is one of ours", "no changelog", "list \"ingest\" among the writers"] {
            assert!(found.contains(part), "{part} in {found}");
        }
    }

    #[test]
    fn it_is_drawn() {
        let drawing = mermaid(&[topology()]);
        assert!(drawing.contains("t_alerts --> match\n"), "{drawing}");
        assert!(drawing.contains("t_watches -. table .-> match\n"), "{drawing}");
        assert!(topology().text().contains("looks up  watches (all of it)"));
    }
}
