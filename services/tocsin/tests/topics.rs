//! `tocsin topics` on a real cluster: what is missing is made once, what drifted is mended and nothing
//! beside it, what nobody may change is told, and another cluster than the one that is meant is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use support::said::{Said, run};
use support::tocsin;
use tocsin_domain::topics::Topics;
use tocsin_stream::kafka::topics::{Change, Config, Copies, Wanted, wanted};
use tocsin_stream::kafka::{KafkaAdmin, KafkaOptions};
use tocsin_testkit::servers::{Kind, Private};

struct World {
    kafka: Private,
    // The last to go, after the server that is in it.
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let kafka = Private::start(Kind::Kafka, &directory.path().join("kafka"));
        let world = World { directory, kafka };
        world.configure("");
        world
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("tocsin.toml")
    }

    fn configure(&self, more: &str) {
        let at = self.kafka.address();
        let text = format!("[log]\nkind = \"kafka\"\nbootstrap = \"{at}\"\n{more}");
        std::fs::write(self.config(), text).unwrap();
    }

    fn run(&self, words: &[&str]) -> Said {
        run(tocsin().args(words).arg("--config").arg(self.config()))
    }

    fn admin(&self) -> KafkaAdmin {
        let bootstrap = self.kafka.address().to_owned();
        KafkaAdmin::connect(KafkaOptions { bootstrap, ..KafkaOptions::default() }).unwrap()
    }

    fn set(&self, topic: &str, name: &str, to: &str) {
        let (topic, name, to) = (topic.to_owned(), name.to_owned(), to.to_owned());
        self.admin().apply(&[Change::Configure { topic, name, from: None, to }]).unwrap();
    }

    fn make(&self, name: &str, partitions: u32) {
        let (name, config) = (name.to_owned(), Config::new());
        let topic = Wanted { name, partitions, replication: 1, config };
        self.admin().apply(&[Change::Create(topic)]).unwrap();
    }

    /// The value in force.
    fn value(&self, topic: &str, name: &str) -> String {
        let wanted = wanted(Copies { replication: 1, in_sync: 1 });
        self.admin().found(&wanted).unwrap()[topic].config[name].clone()
    }
}

#[test]
fn what_is_missing_is_made_and_what_drifted_is_mended_and_nothing_else() {
    let world = World::new();
    let all = Topics::builtin().iter().count();
    let (to_apply, differ) = (format!("{all} to apply"), format!("{all} differences"));
    let applied = format!("applied {all} changes; nothing is left");
    let missing = world.run(&["watch", "list"]);
    missing.ended(4, &["aqi.readings, market.listings", "`tocsin topics apply`"]);

    let said = world.run(&["topics", "plan"]).ended(0, &["environment dev", &to_apply]);
    assert_eq!(said.out.lines().filter(|line| line.starts_with("+ ")).count(), all);
    world.run(&["topics", "check"]).ended(5, &[&differ]);
    world.run(&["topics", "apply"]).ended(1, &["+ alerts: 8 partitions, 1 copies", "say --yes"]);
    world.run(&["topics", "apply", "--json"]).ended(1, &["--json cannot ask"]);
    world.run(&["topics", "check"]).ended(5, &[&differ]);

    world.run(&["topics", "apply", "--yes"]).ended(0, &[&applied]);
    world.run(&["topics", "apply", "--yes"]).ended(0, &["applied 0 changes; nothing is left"]);
    world.run(&["topics", "apply"]).ended(0, &["applied 0 changes"]);
    world.run(&["topics", "check"]).ended(0, &["0 to apply, 0 by hand"]);
    world.run(&["watch", "list"]).ended(0, &[]);

    // Somebody sets what is ours, and what is theirs.
    world.set("alerts", "segment.ms", "7200000");
    world.set("alerts", "retention.ms", "1000");
    world.make("detect.old.changelog", 1);
    world.make("billing.rows", 1);
    let said = world
        .run(&["topics", "check"])
        .ended(5, &["~ alerts: retention.ms from 1000 to 31536000000\n", "? detect.old.changelog"]);
    assert!(!said.out.contains("segment.ms") && !said.out.contains("billing"), "{}", said.out);
    let said = world.run(&["topics", "plan", "--json"]).ended(0, &[]);
    let plan: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(plan["changes"].as_array().unwrap().len(), 2);
    assert_eq!(plan["changes"][0]["kind"], "configure");
    assert_eq!(plan["changes"][0]["from"], "1000");

    let said = world.run(&["topics", "apply", "--yes", "--json"]).ended(0, &[]);
    let applied: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&applied["applied"], &applied["environment"]), (&true.into(), &"dev".into()));
    assert_eq!(world.value("alerts", "retention.ms"), "31536000000");
    assert_eq!(world.value("alerts", "segment.ms"), "7200000", "what was set beside it is kept");
    assert_eq!(world.value("alerts", "cleanup.policy"), "delete");
    world.run(&["topics", "check"]).ended(0, &["? detect.old.changelog", "0 to apply"]);
}

#[test]
fn what_nobody_may_change_is_told_and_another_cluster_is_refused() {
    let world = World::new();
    world.make("alerts", 3);
    world.run(&["topics", "plan"]).ended(0, &["! alerts: has 3 partitions and must have 8"]);
    let said = world.run(&["topics", "apply", "--yes"]).ended(5, &["this is left", "! alerts"]);
    assert!(!said.err.contains("~ "), "its configuration is set: {}", said.err);
    world.run(&["topics", "check"]).ended(5, &["0 to apply, 1 by hand"]);
    world.run(&["watch", "list"]).ended(4, &["\"alerts\" has 3 partitions"]);

    let id = world.admin().cluster_id().to_owned();
    assert!(!id.is_empty());
    world.configure("cluster_id = \"another\"\n");
    for words in [&["topics", "plan"][..], &["topics", "apply", "--yes"], &["watch", "list"]] {
        world.run(words).ended(3, &[&format!("{id:?}"), "\"another\""]);
    }
    world.configure("replication_factor = 3\n");
    world.run(&["topics", "plan"]).ended(0, &["environment prod", "! notices: has 1 copies"]);
    let line = format!("cluster_id = \"{id}\"");
    world.run(&["topics", "apply", "--yes"]).ended(3, &[&line, "environment is prod"]);
    world.configure("");
    world.run(&["topics", "apply", "--yes", "--env", "prod"]).ended(3, &[&line]);
    assert_eq!(world.value("notices", "min.insync.replicas"), "1", "nothing was done");

    // Meant, and possible with what there is: the configuration's copies rule over those of prod.
    world.configure(&format!("{line}\nreplication_factor = 1\n"));
    world.run(&["topics", "apply", "--yes", "--env", "prod"]).ended(5, &["applied 0 changes"]);

    std::fs::write(world.config(), "").unwrap();
    world.run(&["topics", "plan"]).ended(3, &["embedded log"]);
}
