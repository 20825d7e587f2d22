//! From laptop to cluster: an embedded log with gaps and a cut beginning is exported while it runs,
//! imported into a real Kafka, cut short on the way, and is the same log there. The tables are the
//! same, no old mail is sent again, and what comes later gives the same alerts on both sides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::said::{Said, run};
use support::{Running, root, serve, tocsin, until};
use tocsin::settings::Settings;
use tocsin::{backend, facts};
use tocsin_domain::alert::Alert;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::embedded::{Archive, EmbeddedLog, Options};
use tocsin_stream::log::{Transaction, WorkerSpec};
use tocsin_stream::{Log, LogError};
use tocsin_testkit::servers::{self, Kind, Private};
use tocsin_testkit::smtp::{Faults, SmtpServer};

/// A day, in microseconds.
const DAY: i64 = 86_400_000_000;

fn terminate(mut running: Running) {
    Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

/// The demo's rules over its recorded data: on a laptop with a mailbox, on a cluster with a mail server.
struct World {
    kafka: Private,
    smtp: SmtpServer,
    // The last to go, after the server that is in it.
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let kafka = Private::start(Kind::Kafka, &directory.path().join("kafka"));
        let world = World { directory, kafka, smtp: SmtpServer::start(Faults::new()).unwrap() };
        let demo = std::fs::read_to_string(root().join("demo/tocsin.toml")).unwrap();
        std::fs::write(world.path("laptop.toml"), &demo).unwrap();
        let (at, port) = (world.kafka.address(), world.smtp.port());
        let (cql, keyspace) = (servers::cql(), servers::unique("moving"));
        let backends = format!(
            "[log]\nkind = \"kafka\"\nbootstrap = \"{at}\"\nreplication_factor = 1\n\
             transaction_timeout = \"4s\"\nsession_timeout = \"6s\"\n\
             [store]\nkind = \"cql\"\ncontact_points = \"{cql}\"\nkeyspace = \"{keyspace}\"\ndialect = \"cassandra\"\n"
        );
        let smtp = format!(
            "transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nbase_url = \"http://tocsin.example.org\""
        );
        let cluster = demo.replace("transport = \"mailbox\"", &smtp);
        std::fs::write(world.path("cluster.toml"), format!("{backends}{cluster}")).unwrap();
        world.split_orders();
        world
    }

    /// The orders in two files: what has happened before the move, and what comes after it.
    fn split_orders(&self) {
        let file = std::fs::File::open(root().join("demo/online_retail_2010_12.csv.gz")).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let (before, after) = lines[1..].split_at(lines.len() / 2);
        for (name, part) in [("before.csv", before), ("after.csv", after)] {
            std::fs::write(self.path(name), lines[0].to_owned() + &part.concat()).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn laptop(&self, words: &[&str]) -> Command {
        let mut command = tocsin();
        command.args(words).arg("--config").arg(self.path("laptop.toml"));
        command.arg("--data").arg(self.data());
        command
    }

    fn cluster(&self, words: &[&str]) -> Command {
        let mut command = tocsin();
        command.args(words).arg("--config").arg(self.path("cluster.toml"));
        command
    }

    fn import_log(&self) -> Command {
        let mut command = self.cluster(&["import-log"]);
        command.arg(self.path("moved.tocsin"));
        command
    }

    fn import(&self, mut command: Command, source: &str, file: &Path) {
        let said = run(command.args(["--source", source]).arg(file));
        said.ended(0, &[" events"]);
    }

    /// A service of the cluster.
    fn start(&self, service: &str) -> Running {
        let log = std::fs::File::create(self.path(&format!("{service}.log"))).unwrap();
        let mut command = self.cluster(&[service, "--admin", "127.0.0.1:0"]);
        Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn kafka_log(&self) -> std::sync::Arc<dyn Log> {
        let settings = Settings::load(&self.path("cluster.toml"), facts::now()).unwrap();
        backend::log(&settings, Path::new("")).unwrap()
    }
}

fn alerts(log: &dyn Log) -> BTreeSet<Id> {
    let all = facts::all::<Alert>(log, topics::ALERTS).unwrap();
    let ids: BTreeSet<Id> = all.iter().map(|alert| alert.id).collect();
    assert_eq!(ids.len(), all.len(), "every alert once");
    ids
}

/// The Message-IDs of the mails that were sent; `None` as long as one is under way.
fn sent(log: &dyn Log) -> Option<BTreeSet<String>> {
    let all = facts::all::<Delivery>(log, topics::DELIVERIES).unwrap();
    let of = |state| {
        let one = move |d: &&Delivery| d.state == state;
        all.iter().filter(one).map(|d| d.message_id.clone()).collect::<BTreeSet<_>>()
    };
    let (asked, sent) = (of(DeliveryState::Requested), of(DeliveryState::Sent));
    asked.is_subset(&sent).then_some(sent)
}

/// Waits until every service has taken in everything, as far as one can see from outside.
fn settled(what: &str, log: &dyn Log, wanted: usize) -> BTreeSet<String> {
    let group_is_there = |service: &str, topic: &str| {
        let spec = WorkerSpec { id: "look".into(), group: service.into(), inputs: Vec::new() };
        let worker = log.worker(&spec).unwrap();
        (0..log.partitions(topic).unwrap()).all(|partition| {
            let at = TopicPartition::new(topic, partition);
            let mut rest = 0;
            let from = worker.committed(&at).unwrap().unwrap_or_default();
            let from = from.max(log.span(&at).unwrap().start);
            let counted = log.scan(&at, from, |_| {
                rest += 1;
                Ok::<(), LogError>(())
            });
            counted.unwrap();
            rest == 0
        })
    };
    let mut mails = BTreeSet::new();
    until(what, || {
        let there = [
            ("detect", topics::ORDERS_ROWS),
            ("detect", topics::AQI_READINGS),
            ("match", topics::ALERTS),
            ("deliver", topics::NOTICES),
        ];
        let enough = || sent(log).filter(|mails| mails.len() >= wanted);
        // In the order of the work: what was done is not begun again behind our back.
        let quiet = enough().is_some()
            && there.iter().all(|(service, topic)| group_is_there(service, topic));
        let found = enough().filter(|_| quiet);
        mails = found.clone().unwrap_or_default();
        found.is_some()
    });
    mails
}

/// A laptop on which much has happened, some of which retention and compaction have dropped.
fn laptop(world: &World) -> Running {
    let (up, _) = serve(&mut world.laptop(&["up"]));
    let demo = root().join("demo");
    world.import(world.laptop(&["import"]), "epa", &demo.join("alabama_pm25_2023.csv.gz"));
    world.import(world.laptop(&["import"]), "beijing", &demo.join("beijing_pm25_2013.csv.gz"));
    let log = backend::open_log(&world.data(), tocsin_stream::embedded::Sync::Full).unwrap();
    settled("the first mails", &*log, 1);
    drop(log);
    terminate(up);

    let log = EmbeddedLog::open(&world.data(), Options { compact_from: 1, ..Options::default() });
    let later = Micros(facts::now().0 + 400 * DAY);
    let cleaned = log.unwrap().clean(later).unwrap();
    assert!(cleaned.expired > 1000 && cleaned.superseded > 100, "{cleaned:?}");
    // The tables have more than the log now, until they are made of it.
    let older = |said: &Said| said.out.lines().any(|line| !line.contains(", 0 older than the log"));
    let verify = || run(&mut world.laptop(&["projections", "verify"])).ended(0, &[]);
    assert!(older(&verify()));
    run(&mut world.rebuild("laptop")).ended(0, &["rebuilt the tables", "retention has deleted"]);
    assert!(!older(&verify()));
    let (up, _) = serve(&mut world.laptop(&["up"]));
    world.import(world.laptop(&["import"]), "retail", &world.path("before.csv"));
    let log = backend::open_log(&world.data(), tocsin_stream::embedded::Sync::Full).unwrap();
    settled("what comes of the first sales", &*log, 1);
    up
}

impl World {
    fn rebuild(&self, side: &str) -> Command {
        match side {
            "laptop" => self.laptop(&["projections", "rebuild"]),
            _ => self.cluster(&["projections", "rebuild"]),
        }
    }
}

/// The file has what makes moving hard: partitions that begin late, and gaps.
fn has_gaps(file: &Path) {
    let archive = Archive::open(file).unwrap();
    let (mut late, mut gaps) = (0, 0);
    for at in archive.places() {
        let span = archive.span(&at).unwrap();
        let mut records = 0;
        let counted = (&archive as &dyn Log).scan_all(&at, |_| {
            records += 1;
            Ok::<(), LogError>(())
        });
        counted.unwrap();
        late += usize::from(span.start > 0 && span.end > span.start);
        gaps += usize::from(span.end - span.start > records);
    }
    assert!(late > 0 && gaps > 2, "{late} begin late, {gaps} have gaps");
}

/// What the tables of the laptop are once they stand still.
fn tables(world: &World) -> String {
    let mut said = String::new();
    until("the tables stand still", || {
        let verify = run(&mut world.laptop(&["projections", "verify"])).ended(0, &[]);
        let still = said == verify.out;
        said = verify.out;
        still
    });
    said
}

/// Out of the laptop, while everything runs there; what was said of it.
fn export(world: &World) -> String {
    let file = world.path("moved.tocsin");
    let exported = run(world.laptop(&["export"]).arg(&file)).ended(0, &["alerts/7  "]);
    run(world.laptop(&["export"]).arg(&file)).ended(4, &["nothing is written over it"]);
    run(world.cluster(&["export"]).arg(world.path("other"))).ended(3, &["only an embedded log"]);
    assert_eq!(run(tocsin().arg("hash").arg(&file)).ended(0, &[]).out, exported.out);
    has_gaps(&file);
    exported.out
}

/// Into the cluster, cut short, and in again.
fn move_in(world: &World, hashes: &str) {
    run(&mut world.import_log()).ended(4, &["`tocsin topics apply`"]);
    run(&mut world.cluster(&["topics", "apply", "--yes"])).ended(0, &["nothing is left"]);
    // Somebody has made the tables too early.
    run(&mut world.cluster(&["projections", "migrate"])).ended(0, &["made the tables"]);
    let killed = run(world.import_log().env("TOCSIN_CRASH_AT", "inside-import:6000"));
    assert_eq!(killed.code, None, "it was killed: {}", killed.err);
    let ends = |log: &dyn Log| -> u64 {
        let places = tocsin::hashes::places();
        places.map(|(_, at)| log.span(&at).unwrap().end).sum()
    };
    let archive = Archive::open(&world.path("moved.tocsin")).unwrap();
    let (there, all) = (ends(&*world.kafka_log()), ends(&archive));
    assert!(0 < there && there < all, "{there} of {all} offsets are there");
    let imported = run(&mut world.import_log()).ended(0, &["every partition is as in the file"]);
    assert_eq!(imported.out, hashes, "the same log");
    run(&mut world.import_log()).ended(0, &["every partition is as in the file"]);
    assert_eq!(run(&mut world.cluster(&["hash"])).ended(0, &[]).out, hashes);
}

#[test]
fn a_log_moves_to_a_cluster_and_goes_on_there_as_if_it_had_stayed() {
    let world = World::new();
    let up = laptop(&world);
    let laptop = backend::open_log(&world.data(), tocsin_stream::embedded::Sync::Full).unwrap();
    let old_mails = settled("the mails before the move", &*laptop, 2);
    let tables = tables(&world);
    let hashes = export(&world);
    move_in(&world, &hashes);
    let kafka = world.kafka_log();

    // The tables are those of the laptop, once they are made.
    let early = world.start("project");
    let said = || std::fs::read_to_string(world.path("project.log")).unwrap();
    until("nothing is counted twice", || said().contains("run `tocsin projections rebuild`"));
    drop(early);
    run(&mut world.rebuild("cluster")).ended(0, &["made them anew"]);
    let project = world.start("project");
    until("the same tables", || run(&mut world.cluster(&["projections", "verify"])).out == tables);
    run(&mut world.import_log()).ended(3, &["processes of `project` run on the cluster"]);

    // Both go on.
    let services: Vec<Running> = ["detect", "notify"].map(|name| world.start(name)).into();
    world.import(world.laptop(&["import"]), "retail", &world.path("after.csv"));
    world.import(world.cluster(&["import"]), "retail", &world.path("after.csv"));
    let all_mails = settled("the laptop goes on", &*laptop, old_mails.len() + 2);
    let mails = settled("the cluster goes on", &*kafka, all_mails.len());
    assert_eq!(mails, all_mails);
    until("the same alerts", || alerts(&*kafka) == alerts(&*laptop));
    let new_mails = &all_mails - &old_mails;
    assert!(world.smtp.wait_for(new_mails.len(), Duration::from_secs(30)));
    assert_eq!(world.smtp.counts().keys().cloned().collect::<BTreeSet<_>>(), new_mails);
    assert!(world.smtp.counts().values().all(|copies| *copies == 1), "each once");
    for id in [old_mails.first().unwrap(), new_mails.first().unwrap()] {
        for mut why in [world.laptop(&["why"]), world.cluster(&["why"])] {
            run(why.arg(id)).ended(0, &["big-sellers", ".csv:"]);
        }
    }
    for running in services.into_iter().chain([project, up]) {
        terminate(running);
    }
    // What runs has left the log that it came from.
    run(&mut world.import_log()).ended(3, &["Nothing was written"]);
}

#[test]
fn what_is_not_the_same_is_never_written_over() {
    let world = World::new();
    let log = EmbeddedLog::open(&world.data(), Options::default()).unwrap();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    let write = |log: &dyn Log, value: &[u8]| {
        let mut work = Transaction::default();
        work.time = facts::now();
        let topic = work.register(topics::WATCHES, 1);
        work.to(topic, b"k").push(b"k", Some(value));
        let spec = WorkerSpec { id: "w".into(), ..WorkerSpec::default() };
        log.worker(&spec).unwrap().commit(&mut work).unwrap();
    };
    write(&*log, b"ours");
    run(world.laptop(&["export"]).arg(world.path("moved.tocsin"))).ended(0, &["watches/0  0..1"]);
    run(&mut world.cluster(&["topics", "apply", "--yes"])).ended(0, &[]);
    let said = run(tocsin()
        .args(["import-log", "--config"])
        .args([world.path("laptop.toml"), world.path("moved.tocsin")]));
    said.ended(3, &["copy", "log.db"]);

    let kafka = world.kafka_log();
    write(&*kafka, b"theirs");
    let ends = &["watches/0", "ends at 2, and in the file at 1", "Nothing was written"];
    run(&mut world.import_log()).ended(3, ends);
    write(&*log, b"more");
    std::fs::remove_file(world.path("moved.tocsin")).unwrap();
    run(world.laptop(&["export"]).arg(world.path("moved.tocsin"))).ended(0, &["watches/0  0..2"]);
    run(&mut world.import_log()).ended(3, &["watches/0", "another record at offset 0"]);
    assert_eq!(kafka.span(&TopicPartition::new(topics::CONDITIONS, 0)).unwrap().end, 0);
}
