//! Data sets end to end on the real program: by command, by folder and over HTTP the same events;
//! and `kill -9` in the middle, after which each row is there once. On one machine, and the last on a
//! cluster as well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use support::world::{Backend, World};
use support::{root, scan, serve, until};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::{DatasetRow, DatasetRowKind};
use tocsin_domain::topics::{DATASETS_ROWS, DEAD_LETTERS};
use tocsin_domain::{Id, wire};
use tocsin_stream::Log;

const NAMES: [&str; 3] = ["namespaces", "columns", "datapoints"];

/// A directory with a configuration and its data.
struct Place {
    world: World,
}

impl Place {
    fn new(backend: Backend) -> Place {
        let example = root().join("examples/datasets/catalogue.toml");
        let example = std::fs::read_to_string(example).unwrap();
        let text = example.replace("# folder =", "folder =");
        assert!(text.contains("\nfolder = \"incoming\""), "the example shows how");
        let text = format!("{text}\n[push]\nwithout_token = true\n");
        let world = World::of_restarts(backend, &text);
        std::fs::create_dir(world.path("incoming")).unwrap();
        world.prepare();
        Place { world }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.world.command(words);
        command.env("TOCSIN_LOG", "error");
        command
    }

    fn log(&self) -> Arc<dyn Log> {
        self.world.log()
    }

    fn import(&self, files: &[PathBuf]) -> std::process::Command {
        let mut command = self.command(&["import", "--dataset", "catalogue"]);
        command.args(files);
        command
    }
}

/// What each row says, but for when it came; and the dead letters.
fn found(log: &dyn Log) -> (Vec<String>, Vec<String>) {
    let (mut rows, mut dead) = (Vec::new(), Vec::new());
    let ids = wire::SchemaIds::default();
    scan(log, DATASETS_ROWS, |_, bytes| {
        let row: DatasetRow<'_> = wire::read(bytes, &ids).unwrap();
        rows.push(format!("{} {:?} {}:{} {:?}", row.id, row.kind, row.file, row.line, row.fields));
    });
    scan(log, DEAD_LETTERS, |_, bytes| {
        let letter: DeadLetter = wire::read(bytes, &ids).unwrap();
        dead.push(format!("{} {} {}", letter.id, letter.origin, letter.reason));
    });
    dead.sort();
    (rows, dead)
}

fn body(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in files {
        let head = format!(
            "--limit\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{name}.csv\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--limit--\r\n");
    body
}

fn post(url: &str, files: &[(&str, Vec<u8>)]) -> Result<(u16, serde_json::Value), ureq::Error> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent
        .post(format!("{url}/v1/datasets/catalogue"))
        .header("content-type", "multipart/form-data; boundary=limit")
        .send(body(files))?;
    Ok((answer.status().as_u16(), answer.body_mut().read_json()?))
}

fn read(directory: &Path) -> Vec<(&'static str, Vec<u8>)> {
    NAMES.map(|name| (name, std::fs::read(directory.join(format!("{name}.csv"))).unwrap())).into()
}

#[test]
fn by_command_by_folder_and_over_http_come_the_same_events() {
    let example = root().join("examples/datasets/catalogue");
    let paths = NAMES.map(|name| example.join(format!("{name}.csv")));

    let by_command = Place::new(Backend::OneMachine);
    let anomalies = by_command.path("anomalies.csv");
    let output = by_command.import(&paths).arg("--anomalies").arg(&anomalies).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    for wanted in [
        "catalogue: upload ",
        ": 27 rows, 17 events, 1 blank, 9 dead letters",
        "columns (columns.csv): 15 rows, utf-8, crlf, delimiter ';', decimal ','",
        "broken-reference: 2",
        "columns:5 `namespace_id` no row has the key \"n9\"",
    ] {
        assert!(said.contains(wanted), "{wanted} is not in {said}");
    }
    let expected = root().join("examples/datasets/expected/anomalies_report.csv");
    let texts = [&anomalies, &expected].map(|path| std::fs::read_to_string(path).unwrap());
    assert_eq!(texts[0], texts[1]);
    let again = by_command.import(&paths).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("already imported"));
    let wanted = found(&*by_command.log());
    assert_eq!((wanted.0.len(), wanted.1.len()), (19, 9));

    let by_folder = Place::new(Backend::OneMachine);
    let (service, _) = serve(&mut by_folder.command(&["up"]));
    for path in &paths {
        std::fs::copy(path, by_folder.path("incoming").join(path.file_name().unwrap())).unwrap();
    }
    until("the set is closed", || {
        found(&*by_folder.log()).0.iter().any(|row| row.contains("Closed"))
    });
    drop(service);
    assert_eq!(found(&*by_folder.log()), wanted);

    let by_http = Place::new(Backend::OneMachine);
    let (service, url) = serve(&mut by_http.command(&["up"]));
    let (status, answer) = post(&url, &read(&example)).unwrap();
    assert_eq!((status, &answer["report"]["rows"]), (201, &27.into()), "{answer}");
    assert_eq!(found(&*by_http.log()), wanted);
    let (status, again) = post(&url, &read(&example)).unwrap();
    assert_eq!((status, &again["known"]), (200, &true.into()));
    let (status, refused) = post(&url, &read(&example)[..2]).unwrap();
    assert_eq!((status, &refused["code"]), (422, &"refused".into()), "{refused}");
    assert_eq!(found(&*by_http.log()), wanted);
    drop(service);
}

/// A set that takes some transactions; every thousandth row refers to nothing, and one is short.
fn big(directory: &Path, rows: usize) -> [PathBuf; 3] {
    let mut columns = String::from(
        "column_id;namespace_id;dataset_owner_name;data_point_id;size_mb;rows;since\n",
    );
    for row in 0..rows {
        let namespace = if row % 1000 == 999 { "none" } else { "n1" };
        columns += &format!("c{row};{namespace};Ana;d1;{row},5;{row};2020-01-01\n");
    }
    columns += "short\n";
    let files = [
        ("namespaces", "namespace_id,namespace_option_name\nn1,One\n".to_owned()),
        ("columns", columns),
        ("datapoints", "data_point_id\nd1\n".to_owned()),
    ];
    files.map(|(name, text)| {
        let path = directory.join(format!("{name}.csv"));
        std::fs::write(&path, text).unwrap();
        path
    })
}

#[test]
fn whenever_it_is_killed_each_row_is_there_once() {
    killed(Backend::OneMachine);
}

#[test]
fn whenever_it_is_killed_each_row_is_in_the_log_of_a_cluster_once() {
    killed(Backend::Cluster);
}

fn killed(backend: Backend) {
    const ROWS: usize = 60_000;
    // So many that something of the upload is left after each.
    let kills = if backend == Backend::Cluster { 4 } else { 16 };
    let place = Place::new(backend);
    let paths = big(&place.path(""), ROWS);
    let quiet = |mut command: std::process::Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let rows = || found(&*place.log()).0.len();
    // Over HTTP each process ends inside the upload, and the next one goes on behind what it committed.
    for kill in 0..kills / 2 {
        let before = rows();
        let mut up = place.command(&["up"]);
        let (service, url) =
            serve(up.env("TOCSIN_CRASH_AT", format!("dataset-commit:{}", 3 - kill % 2)));
        assert!(post(&url, &read(&place.path(""))).is_err(), "it ends before it can answer");
        drop(service);
        let left = std::fs::read_dir(place.path("data/uploads")).unwrap().count();
        assert_eq!(left, 0, "a killed process leaves no upload behind");
        until("what it committed is there", || rows() > before);
        assert!(rows() < ROWS, "it was killed in the middle");
    }
    // And so does the command, once with something committed.
    for kill in 0..kills / 2 {
        let mut import = quiet(place.import(&paths));
        let step = if kill == 0 { "dataset-commit:2" } else { "dataset-commit:1" };
        assert_eq!(import.env("TOCSIN_CRASH_AT", step).status().unwrap().code(), None);
    }
    let last = quiet(place.import(&paths)).status().unwrap();
    assert_eq!(last.code(), Some(5), "the short row and the broken references are told");

    // What is committed in a cluster is seen a moment later.
    until("all of it is there", || found(&*place.log()).0.len() >= ROWS + 4);
    let mut seen = std::collections::HashSet::<Id>::new();
    let (mut lines, mut borders, mut times) = (0, Vec::new(), Vec::new());
    scan(&*place.log(), DATASETS_ROWS, |_, bytes| {
        let row: DatasetRow<'_> = wire::read(bytes, &wire::SchemaIds::default()).unwrap();
        assert!(seen.insert(row.id), "{} {} comes twice", row.file, row.line);
        times.push(row.event_time);
        match row.kind {
            DatasetRowKind::Row => lines += 1,
            other => borders.push(other),
        }
    });
    assert_eq!(lines, ROWS + 2);
    assert_eq!(borders, [DatasetRowKind::Opened, DatasetRowKind::Closed]);
    assert!(times.windows(2).all(|two| two[0] < two[1]), "in their order");
    assert_eq!(found(&*place.log()).1.len(), 1);
}
