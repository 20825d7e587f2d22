//! Whole uploads into a log: once each, whatever happens; and what is wrong in them, told.

use super::*;
use crate::datasets::settings::section;
use crate::tally::Tally;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tocsin_domain::event::{DatasetRow, DatasetRowKind};
use tocsin_domain::topics::{DATASETS_ROWS, DEAD_LETTERS, Topics};
use tocsin_domain::{Micros, TopicPartition, wire};
use tocsin_service::config::Document;
use tocsin_stream::Log;
use tocsin_stream::memory::{Fault, MemoryLog};

mod again;
mod real;

const SET: &str = r#"
[[datasets]]
name = "catalogue"
[[datasets.files]]
name = "namespaces"
key = ["namespace_id"]
[[datasets.files]]
name = "columns"
key = ["column_id"]
required = ["owner"]
types = { size = "decimal", rows = "whole", since = "date" }
references = { namespace_id = "namespaces.namespace_id", parent = "columns.column_id" }
"#;

/// The set of the tests, with more files.
pub(crate) fn set(more: &str) -> DatasetConfig {
    parse(&format!("{SET}{more}"))
}

pub(super) fn parse(text: &str) -> DatasetConfig {
    let document = Document::parse(text, "t.toml").unwrap();
    section(&document).unwrap().remove(0)
}

pub(super) fn memory_log() -> Arc<MemoryLog> {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    log
}

pub(super) fn loader(log: &Arc<MemoryLog>, set: &DatasetConfig) -> Loader {
    Loader::new(Arc::clone(log) as Arc<dyn Log>, set, Arc::new(|| Micros(1_000_000)))
}

/// The files of an upload in a directory.
pub(super) fn files(directory: &Path, files: &[(&str, &[u8])]) -> Vec<PathBuf> {
    let write = |(name, bytes): &(&str, &[u8])| {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    files.iter().map(write).collect()
}

/// What stands in the topic of rows, in order.
pub(super) fn rows(log: &dyn Log) -> Vec<String> {
    let mut found = Vec::new();
    for partition in 0..log.partitions(DATASETS_ROWS).unwrap() {
        let at = TopicPartition::new(DATASETS_ROWS, partition);
        log.scan_all(&at, |record| {
            let ids = wire::SchemaIds::default();
            let row: DatasetRow<'_> = wire::read(record.value.unwrap(), &ids).unwrap();
            let fields: Vec<_> = row.fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let place = match row.kind {
                DatasetRowKind::Row => format!("{}:{}", row.file, row.line),
                other => format!("{other:?}"),
            };
            found.push(format!("{} {place} {}", row.event_time.0, fields.join(" ")));
            Ok::<(), tocsin_stream::LogError>(())
        })
        .unwrap();
    }
    found
}

pub(super) fn dead(log: &dyn Log) -> Vec<(String, String, Vec<u8>)> {
    let mut found = Vec::new();
    for partition in 0..log.partitions(DEAD_LETTERS).unwrap() {
        let at = TopicPartition::new(DEAD_LETTERS, partition);
        log.scan_all(&at, |record| {
            let ids = wire::SchemaIds::default();
            let letter: tocsin_domain::dead_letter::DeadLetter =
                wire::read(record.value.unwrap(), &ids).unwrap();
            found.push((letter.origin, letter.class, letter.value));
            Ok::<(), tocsin_stream::LogError>(())
        })
        .unwrap();
    }
    found
}

const NAMESPACES: &[u8] = b"namespace_id,name\nn1,One\nn2,Two\n";
const COLUMNS: &[u8] = b"column_id;namespace_id;parent;owner;size;rows;since\r\n\
    c1;n1;;ann;1,5;3;2020-01-01\r\n\
    c2;n3;c9;;2,25;;\r\n\
    c1;n1;;ann;1,5;3;2020-01-01\r\n\
    c1;n2;c2;bob;;;\r\n\
    ;n2;;bob;;;\r\n\
    c3;n2;;bob\r\n\
    c4;n2;;bob;;;;x\r\n\
    c5;n2;;bob;1.5;;\r\n\
    c6;n2;;bob;;x;\r\n\
    c7;n2;;bob;;;2020-02-30\r\n\
    c8;n2;;=1+1;;;\r\n\
    ;;;;;;\r\n\
    c9;n2;;b\0b;;;\r\n";

#[test]
fn every_row_is_an_event_or_a_dead_letter_and_what_is_wrong_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let paths =
        files(directory.path(), &[("columns.csv", COLUMNS), ("namespaces.csv", NAMESPACES)]);
    let (log, set) = (memory_log(), set(""));
    let upload = Upload::open(&set, &paths).unwrap();
    let loaded = loader(&log, &set).load(&upload, &mut || true).unwrap();
    let report = &loaded.report;
    assert_eq!((report.rows, report.events, report.dead_letters, report.blank), (15, 7, 7, 1));
    let told: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{}:{} {} {} {}", f.file, f.line, f.column, f.kind.word(), f.text))
        .collect();
    let wanted = [
        "columns:3 owner empty-cell the cell is empty",
        "columns:3 namespace_id broken-reference no row has the key \"n3\"",
        "columns:3 parent broken-reference no row has the key \"c9\"",
        "columns:4  duplicate-row the row is the same as line 2",
        "columns:5 column_id duplicate-key line 2 has the same key, \"c1\", and other cells",
        "columns:6 column_id empty-key the key is empty",
        "columns:7  short-row the row has 4 cells and the header 7",
        "columns:8  long-row the row has 8 cells and the header 7; \
         is a delimiter in a cell without quotes?",
        "columns:9 size type \"1.5\" is not a number; \
         allowed: digits with a decimal comma and no thousands separators",
        "columns:10 rows type \"x\" is not a whole number",
        "columns:11 since type \"2020-02-30\" is not a date; allowed: an ISO date or date-time",
        "columns:12 owner formula \"=1+1\" begins as a formula, which a spreadsheet would compute; \
         remove the first character, or allow it with formulas = \"flag\"",
        "columns:14  nul byte 9 of the row is NUL, which no text has",
    ];
    assert_eq!(told, wanted);
    let found = rows(&*log);
    assert_eq!(found.len(), 9);
    let upload_id = loaded.upload;
    assert_eq!(
        found[0],
        format!("1000000 Opened upload={upload_id} namespaces=namespaces.csv columns=columns.csv")
    );
    assert_eq!(found[1], "1000001 namespaces.csv:2 namespace_id=n1 name=One");
    assert_eq!(
        found[3],
        "1000003 columns.csv:2 column_id=c1 namespace_id=n1 parent= owner=ann size=1.5 rows=3 \
         since=2020-01-01"
    );
    let closed = "1000016 Closed upload=";
    assert!(found[8].starts_with(closed) && found[8].contains(" rows=15 events=7"), "{found:?}");
    assert!(found[8].contains("broken-reference=2"), "{found:?}");
    let dead = dead(&*log);
    assert_eq!(dead.len(), 7);
    let bytes = b"c3;n2;;bob".to_vec();
    assert!(dead.contains(&("columns.csv:7".into(), "short-row".into(), bytes)), "{dead:?}");

    let file = &report.files[1];
    assert_eq!((file.delimiter, file.decimal, file.line_end.as_str()), (';', Some(','), "crlf"));
    assert_eq!(report.files[0].undeclared, ["name"]);
}

#[test]
fn the_same_bytes_add_nothing_however_they_are_packed_or_called() {
    let directory = tempfile::tempdir().unwrap();
    let paths =
        files(directory.path(), &[("columns.csv", COLUMNS), ("namespaces.csv", NAMESPACES)]);
    let (log, set) = (memory_log(), set(""));
    let upload = Upload::open(&set, &paths).unwrap();
    let first = loader(&log, &set).load(&upload, &mut || true).unwrap();
    let before = (rows(&*log), dead(&*log));

    let packed = directory.path().join("namespaces.csv.gz");
    let mut packer = flate2::write::GzEncoder::new(
        std::fs::File::create(&packed).unwrap(),
        flate2::Compression::fast(),
    );
    std::io::Write::write_all(&mut packer, NAMESPACES).unwrap();
    packer.finish().unwrap();
    let upload = Upload::open(&set, &[&packed, &paths[0]]).unwrap();
    let again = loader(&log, &set).load(&upload, &mut || true).unwrap();
    assert!(again.known);
    assert_eq!((again.upload, &again.report), (first.upload, &first.report));
    assert_eq!((rows(&*log), dead(&*log)), before);

    let third = loader(&log, &set).again(true).load(&upload, &mut || true).unwrap();
    assert!(!third.known && third.report.rows == first.report.rows);
    assert_eq!(rows(&*log).len(), before.0.len() * 2);
}

fn many(rows: usize) -> Vec<u8> {
    let mut text = String::from("column_id,namespace_id,parent,owner,size,rows,since\n");
    for i in 0..rows {
        let bad = if i % 10 == 9 { "x" } else { "" };
        text += &format!("c{i},n1,,ann,,{i}{bad},\n");
    }
    text.into_bytes()
}

#[test]
fn whatever_commit_fails_each_row_is_there_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let columns = many(100);
    let paths =
        files(directory.path(), &[("columns.csv", &columns[..]), ("namespaces.csv", NAMESPACES)]);
    let set = set("");
    let upload = Upload::open(&set, &paths).unwrap();
    let plain = memory_log();
    let wanted = loader(&plain, &set).load(&upload, &mut || true).unwrap();
    for fault in [Fault::Busy, Fault::Abort, Fault::LostAnswer, Fault::LostRequest] {
        for failing in 0..6 {
            let (log, mut commits) = (memory_log(), 0);
            log.fail_commits(move |_| {
                commits += 1;
                (commits == failing + 1).then_some(fault)
            });
            let loader = loader(&log, &set).rows_at_once(30);
            let mut counted = Tally::default();
            let mut count = |tally: Tally| counted = counted.plus(tally);
            let loaded = loader.load_and_count(&upload, &mut || true, &mut count).unwrap();
            assert_eq!(loaded.report, wanted.report, "{fault:?} {failing}");
            let counted = (counted.rows, counted.outcomes().map(|(_, count)| count));
            assert_eq!(counted, (102, [92, 0, 10]), "{fault:?} {failing}");
            assert_eq!(rows(&*log), rows(&*plain), "{fault:?} {failing}");
            assert_eq!(dead(&*log).len(), 10, "{fault:?} {failing}");
        }
    }
}

#[test]
fn a_stopped_upload_goes_on_where_it_was_and_a_newer_one_is_not_mixed_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let columns = many(100);
    let paths =
        files(directory.path(), &[("columns.csv", &columns[..]), ("namespaces.csv", NAMESPACES)]);
    let (set, log, plain) = (set(""), memory_log(), memory_log());
    let upload = Upload::open(&set, &paths).unwrap();
    loader(&plain, &set).load(&upload, &mut || true).unwrap();
    let stop_after = |log: &Arc<MemoryLog>, asked: usize| {
        let mut left = asked;
        let stopped = loader(log, &set).rows_at_once(10).load(&upload, &mut || {
            left -= 1;
            left > 0
        });
        assert!(matches!(stopped, Err(DatasetError::Ingest(crate::IngestError::Stopped))));
    };
    stop_after(&log, 6);
    let found = rows(&*log);
    assert!(!found.iter().any(|row| row.contains("Closed")), "not closed before its end");
    let loaded = loader(&log, &set).load(&upload, &mut || true).unwrap();
    assert_eq!((loaded.resumed, rows(&*log)), (Some(40), rows(&*plain)));

    let log = memory_log();
    stop_after(&log, 6);
    let other =
        files(directory.path(), &[("columns.csv", COLUMNS), ("namespaces.csv", NAMESPACES)]);
    let newer = Upload::open(&set, &other).unwrap();
    loader(&log, &set).load(&newer, &mut || true).unwrap();
    let paths = files(directory.path(), &[("columns.csv", &columns[..])]);
    let upload = Upload::open(&set, &[&paths[0], &other[1]]).unwrap();
    let loaded = loader(&log, &set).load(&upload, &mut || true).unwrap();
    assert_eq!(loaded.resumed, None);
    let all = rows(&*log);
    let borders: Vec<_> = all
        .iter()
        .filter(|row| row.contains("ed upload="))
        .map(|row| row.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(borders, ["Opened", "Opened", "Closed", "Opened", "Closed"]);
    let times: Vec<i64> =
        all.iter().map(|row| row.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(times.windows(2).all(|two| two[0] < two[1]), "time goes on: {times:?}");
}

#[test]
fn a_set_that_is_wrong_as_a_whole_writes_nothing() {
    let good: (&str, &[u8]) = ("namespaces.csv", NAMESPACES);
    let rest = "size,rows,since";
    let header = format!("column_id,namespace_id,parent,owner,{rest}\n");
    for (columns, wanted) in [
        (header.replace("owner", "Owner"), "it has no column `owner` (is it `Owner`?)"),
        (header.replace("size", ""), "column 5 has no name"),
        (header.replace("size", "rows"), "columns 5 and 6 are both called `rows`"),
        (header.replace("size", "s\0"), "its header has NUL characters"),
        (String::new(), "it is empty"),
        ("\n\n".into(), "it is empty"),
        (",,,\n1,2,3\n".into(), "its header has 0 columns"),
        (format!("{header}{}", "c,n,,,,,\n".repeat(50)), "more than 40 rows"),
        (format!("{header}{}", "x".repeat(5000)), "have more than 5000 bytes"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let paths = files(directory.path(), &[("columns.csv", columns.as_bytes()), good]);
        let (log, mut set) = (memory_log(), set(""));
        (set.max_rows, set.max_bytes) = (Some(40), Some(5000));
        let upload = Upload::open(&set, &paths).unwrap();
        let error = loader(&log, &set).load(&upload, &mut || true).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted} is not in {error}");
        assert!(rows(&*log).is_empty() && dead(&*log).is_empty(), "{wanted}");
    }
}

#[test]
fn the_report_counts_up_and_is_what_a_check_says() {
    let directory = tempfile::tempdir().unwrap();
    let paths =
        files(directory.path(), &[("columns.csv", COLUMNS), ("namespaces.csv", NAMESPACES)]);
    let (log, set) = (memory_log(), set(""));
    let upload = Upload::open(&set, &paths).unwrap();
    let mut told = Vec::new();
    let checked =
        loader(&log, &set).check(&upload, &mut |finding| told.push(finding.clone())).unwrap();
    assert!(rows(&*log).is_empty());
    assert_eq!(told, checked.findings);
    assert_eq!(checked.rows, checked.events + checked.dead_letters + checked.blank);
    let faults: BTreeMap<_, _> = checked.faults.iter().map(|(k, n)| (k.word(), *n)).collect();
    assert_eq!((faults["type"], faults["broken-reference"], checked.found_in_all()), (3, 2, 13));
    let loaded = loader(&log, &set).load(&upload, &mut || true).unwrap();
    assert_eq!(loaded.report, checked);
    let id = loaded.upload;
    let known = receipt::find(&*log, ("default", "catalogue"), id).unwrap().unwrap();
    assert_eq!((known.done, known.report), (true, Some(checked)));
}

/// The example that people copy: what is wrong in it was written down by hand.
#[test]
fn the_example_gives_the_expected_report() {
    let examples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/datasets"));
    let read = |name: &str| std::fs::read_to_string(examples.join(name)).unwrap();
    let set = parse(&read("catalogue.toml"));
    let paths = ["datapoints", "columns", "namespaces"]
        .map(|name| examples.join(format!("catalogue/{name}.csv")));
    let log = memory_log();
    let upload = Upload::open(&set, &paths).unwrap();
    let report = loader(&log, &set).load(&upload, &mut || true).unwrap().report;
    let table = String::from_utf8(finding::csv(&report.findings).unwrap()).unwrap();
    assert_eq!(table, read("expected/anomalies_report.csv"));
    let mut found = serde_json::to_value(&report).unwrap();
    found.as_object_mut().unwrap().remove("findings");
    let wanted: serde_json::Value = serde_json::from_str(&read("expected/report.json")).unwrap();
    assert_eq!(found, wanted);
    assert_eq!(rows(&*log).len() as u64, report.events + 2);
    assert_eq!(dead(&*log).len() as u64, report.dead_letters);
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    /// Files that are nearly right: pieces of CSV, of other encodings, and of attacks.
    fn file(header: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"c1,n1,,ann,1.5,3,2020-01-01\n".to_vec()),
            1 => Just(b"n1,One\n".to_vec()),
            1 => Just(b"\"".to_vec()),
            1 => Just(b"\"\"".to_vec()),
            1 => Just(b",".to_vec()),
            1 => Just(b";;;;;;\r\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"=cmd|'/C calc'!A0,".to_vec()),
            1 => Just(b"\0".to_vec()),
            1 => Just("\u{feff}é€😀\u{2028}\u{202e},".as_bytes().to_vec()),
            1 => Just(vec![b'x'; 70_000]),
            2 => prop::collection::vec(any::<u8>(), 0..30),
        ];
        let pieces = prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat());
        let head = prop_oneof![6 => Just(header), 1 => Just(""), 1 => Just("\u{feff}")];
        (head, pieces).prop_map(|(head, pieces)| [head.as_bytes(), &pieces].concat())
    }

    fn given(name: &str, bytes: &[u8]) -> upload::Given {
        let mut content = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut content, bytes).unwrap();
        upload::Given { field: Some(name.to_owned()), name: String::new(), content }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        /// Whatever stands in the files, each row is an event, a dead letter or blank; or nothing at
        /// all is written.
        #[test]
        fn rows_add_up(
            columns in file("column_id,namespace_id,parent,owner,size,rows,since\n"),
            namespaces in file("namespace_id,name\n"),
            flag in any::<bool>(),
        ) {
            let mut set = set("");
            set.formulas = if flag { settings::Formulas::Flag } else { settings::Formulas::Refuse };
            let files = vec![given("columns", &columns), given("namespaces", &namespaces)];
            let upload = Upload::of(&set, files).unwrap();
            let log = memory_log();
            let loaded = loader(&log, &set).rows_at_once(3).load(&upload, &mut || true);
            let (rows, dead) = (rows(&*log).len() as u64, dead(&*log).len() as u64);
            match loaded {
                Err(DatasetError::Refused { .. }) => prop_assert_eq!((rows, dead), (0, 0)),
                Err(error) => prop_assert!(false, "{}", error),
                Ok(Loaded { report, .. }) => {
                    prop_assert_eq!((rows, dead), (report.events + 2, report.dead_letters));
                    prop_assert_eq!(report.rows, rows - 2 + dead + report.blank);
                    let told = report.findings.iter().filter(|finding| finding.dead).count();
                    prop_assert_eq!(told as u64, dead);
                }
            }
        }
    }
}
