//! Uploads of a data set: any head and any body, up to what stands in the log then. No row is lost, whatever
//! it is: rows are events, dead letters or blank, and what the report counts is there.

use crate::request::{self, Interface};
use crate::target::{Target, scratch};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tocsin_domain::topics::{DATASETS_ROWS, DEAD_LETTERS, Topics};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_ingest::datasets::account::Account;
use tocsin_ingest::datasets::http::{Authorise, Told, Uploads, router};
use tocsin_ingest::pause::{Guard, Whom};
use tocsin_ingest::poison::Rate;
use tocsin_service::config::Document;
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::{Log, LogError};

/// After so many requests a new log takes over: one in memory keeps everything.
const REQUESTS: usize = 200;

const CONFIGURATION: &str = r#"
[[datasets]]
name = "catalogue"
max_bytes = 65536
max_rows = 1000
[[datasets.files]]
name = "namespaces"
key = ["namespace_id"]
[[datasets.files]]
name = "columns"
optional = true
key = ["column_id", "version"]
required = ["owner"]
types = { size = "decimal", rows = "whole", since = "date" }
references = { namespace_id = "namespaces.namespace_id" }

[[datasets]]
name = "fixed"
delimiter = ";"
encoding = "windows-1252"
decimal = ","
date_format = "%d.%m.%Y"
formulas = "flag"
max_bytes = 65536
[[datasets.files]]
name = "a"
pattern = "*"
types = { n = "decimal", d = "date" }

[[datasets]]
name = "wide"
encoding = "utf-16le"
max_bytes = 65536
[[datasets.files]]
name = "a"
pattern = "*"
"#;

pub(super) fn targets() -> Vec<Target> {
    vec![Target { name: "upload", open }]
}

fn open(_: &str) -> crate::Suffer {
    let spool = scratch();
    let mut world = World::new(spool.path());
    let mut left = REQUESTS;
    Box::new(move |bytes| {
        if left == 0 {
            (world, left) = (World::new(spool.path()), REQUESTS);
        }
        left -= 1;
        world.suffer(bytes);
    })
}

/// Somebody who is never paused.
struct Anybody(Guard);

impl Account for Anybody {
    fn may(&self) -> Result<(), Box<Response>> {
        Ok(())
    }

    fn paused(&self, reason: &str) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned()).into_response()
    }

    fn guard(&self) -> &Guard {
        &self.0
    }

    fn wrote(&self, _: u64) {}
}

/// An interface that takes uploads, and the log behind it.
struct World {
    interface: Interface,
    log: Arc<MemoryLog>,
    rows: u64,
    letters: u64,
}

impl World {
    #[allow(clippy::expect_used, reason = "its configuration is a text of its own")]
    fn new(spool: &Path) -> World {
        let document = Document::parse(CONFIGURATION, "tocsin.toml").expect("TOML");
        let sets = tocsin_ingest::datasets::section(&document).expect("[[datasets]]");
        let log = MemoryLog::new();
        let topics: Vec<_> = Topics::builtin().iter().collect();
        log.create_topics(&topics).expect("topics");
        let never = Rate::of(Some("100%")).expect("a rate");
        let anybody = Arc::new(Anybody(Guard::new(Whom::of("push:p".to_owned(), "", &()), never)));
        let authorise: Authorise = Arc::new(move |_, _| Ok(anybody.clone()));
        let now = Arc::new(|| Micros(1_700_000_000_000_000));
        let to: (Authorise, Told) = (authorise, Arc::new(|_| {}));
        let uploads = Uploads::new(log.clone(), &sets, spool.to_owned(), to, now);
        let interface = Interface::new(|| router(uploads));
        World { interface, log, rows: 0, letters: 0 }
    }

    fn suffer(&mut self, bytes: &[u8]) {
        let Some(request) = request::read(bytes) else { return };
        let answer = self.interface.ask(request);
        let (rows, letters) = (self.records(DATASETS_ROWS), self.records(DEAD_LETTERS));
        let new = (rows - self.rows, letters - self.letters);
        (self.rows, self.letters) = (rows, letters);
        if answer.status != StatusCode::CREATED {
            assert_eq!(new, (0, 0), "{} has written: {}", answer.status, answer.body);
            return;
        }
        let report = &answer.body["report"];
        let count = |name: &str| report[name].as_u64().unwrap_or_default();
        let (events, dead) = (count("events"), count("dead_letters"));
        assert_eq!(count("rows"), events + dead + count("blank"), "{report}");
        let files = report["files"].as_array().map_or(0, Vec::len) as u64;
        assert!(files > 0, "{report}");
        // Each set is opened and closed, once.
        assert_eq!(new, (events + 2, dead), "{report}");
        assert!(report["findings"].as_array().is_some_and(|found| found.iter().all(told)));
    }

    /// How many records a topic has; each can be read.
    #[allow(clippy::expect_used, reason = "a log in memory answers")]
    fn records(&self, topic: &str) -> u64 {
        let (log, ids) = (&*self.log as &dyn Log, SchemaIds::default());
        let mut found = 0;
        for partition in 0..log.partitions(topic).expect("the topic") {
            let at = TopicPartition::new(topic, partition);
            let scanned = log.scan_all(&at, |record| {
                found += 1;
                let shown = wire::to_json(record.value.unwrap_or_default(), &ids);
                assert!(shown.is_ok(), "what was written cannot be read: {shown:?}");
                Ok::<(), LogError>(())
            });
            assert!(scanned.is_ok());
        }
        found
    }
}

/// Whether a finding says where and what.
fn told(finding: &Value) -> bool {
    finding["file"].is_string() && finding["text"].as_str().is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_get_as_far_as_the_log() {
        let spool = scratch();
        let world = World::new(spool.path());
        for (seed, status, rows) in [
            (include_bytes!("../../corpus/upload/two-files").as_slice(), 201, 11),
            (include_bytes!("../../corpus/upload/one-file"), 201, 4),
            (include_bytes!("../../corpus/upload/by-name"), 200, 4),
            (include_bytes!("../../corpus/upload/utf16le"), 201, 4),
            (include_bytes!("../../corpus/upload/utf16be"), 201, 4),
            (include_bytes!("../../corpus/upload/gzip"), 200, 4),
            (include_bytes!("../../corpus/upload/fixed"), 201, 2),
            (include_bytes!("../../corpus/upload/wide"), 201, 1),
            (include_bytes!("../../corpus/upload/missing"), 422, 0),
            (include_bytes!("../../corpus/upload/no-multipart"), 415, 0),
            (include_bytes!("../../corpus/upload/list"), 200, 0),
        ] {
            let answer = world.interface.ask(request::read(seed).unwrap());
            let found = answer.body["report"]["rows"].as_u64().unwrap_or_default();
            assert_eq!((answer.status.as_u16(), found), (status, rows), "{}", answer.body);
        }
        assert!(world.records(DATASETS_ROWS) > 20 && world.records(DEAD_LETTERS) > 3);
    }
}
