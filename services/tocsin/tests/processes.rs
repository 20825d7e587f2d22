//! The services one by one, as processes of a cluster run them, over a log and tables that all of
//! them share; how they end; what they say of themselves meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use support::{get, page, serve, tocsin, until};
use tocsin::backend::{Backend, open_store};
use tocsin::command::projections::verify::verify;
use tocsin::facts;
use tocsin::runtime::{Node, Plan};
use tocsin::services::SERVICES;
use tocsin::settings::Settings;
use tocsin_domain::alert::Alert;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::{Id, TopicPartition};
use tocsin_service::Stop;
use tocsin_store::Store;
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::{Log, WorkerSpec};
use tocsin_testkit::smtp::{Fault, Faults, SmtpServer, Stage};

const ROWS: &str = "station,time,pm25\n\
    Market,2024-03-01T07:00:00Z,20\n\
    Market,2024-03-01T08:00:00Z,61.5\n\
    Harbour,2024-03-01T08:00:00Z,80\n\
    Market,2024-03-01T09:00:00Z,30\n";

/// A configuration in a directory, with a folder that files come into.
struct World {
    directory: tempfile::TempDir,
    server: SmtpServer,
}

impl World {
    fn new(faults: Faults) -> World {
        let server = SmtpServer::start(faults).unwrap();
        let world = World { directory: tempfile::tempdir().unwrap(), server };
        let text = format!(
            r#"
[channels.email]
transport = "smtp"
host = "127.0.0.1"
port = {}
tls = "none"
base_url = "http://tocsin.example.org"
[[sources]]
name = "stations"
kind = "csv"
event = "reading"
subject = "{{station}}"
time = "{{time}}"
measure = "pm25"
value = "{{pm25}}"
unit = "ug/m3"
folder = "incoming"
[[detectors]]
name = "dusty"
kind = "threshold"
measure = "pm25"
raise_above = 55
clear_below = 45
[[watches]]
email = "ada@example.org"
detector = "dusty"
"#,
            world.server.port()
        );
        std::fs::write(world.config(), text).unwrap();
        std::fs::create_dir(world.path("incoming")).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("tocsin.toml")
    }

    fn settings(&self) -> Settings {
        Settings::load(&self.config(), facts::now()).unwrap()
    }

    fn put(&self, name: &str) {
        std::fs::write(self.path("incoming").join(name), ROWS).unwrap();
    }
}

/// What the processes of a cluster share.
struct Cluster {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
}

impl Cluster {
    fn new(data: &Path) -> Cluster {
        let log: Arc<dyn Log> = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        std::fs::create_dir_all(data).unwrap();
        Cluster { log, store: open_store(data).unwrap() }
    }

    /// One service, as its subcommand runs it.
    fn start(&self, name: &str, world: &World, data: Option<PathBuf>) -> Node {
        let admin = Some("127.0.0.1:0".parse().unwrap());
        self.run(name, world, data, Plan { admin, ..Plan::default() })
    }

    fn run(&self, name: &str, world: &World, data: Option<PathBuf>, plan: Plan) -> Node {
        let service = SERVICES.into_iter().find(|service| service.name == name).unwrap();
        let (log, store) = (self.log.clone(), Some(self.store.clone()));
        let listen = (name == "api").then(|| "127.0.0.1:0".parse().unwrap());
        let plan = Plan { services: vec![service], listen, ..plan };
        let backend = Backend { log, store, clean: None, data, lock: None };
        Node::run(world.settings(), backend, plan).unwrap()
    }
}

fn admin(node: &Node, path: &str) -> String {
    format!("http://{}{path}", node.admin.unwrap())
}

fn is_ready(node: &Node) -> bool {
    ureq::get(admin(node, "/readyz")).call().is_ok()
}

/// What `/readyz` says, whatever its status.
fn readyz(node: &Node) -> serde_json::Value {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    agent.get(admin(node, "/readyz")).call().unwrap().body_mut().read_json().unwrap()
}

fn end(node: Node) {
    node.stop.stop();
    node.wait().unwrap();
}

fn alerts(log: &dyn Log) -> BTreeSet<Id> {
    facts::all::<Alert>(log, topics::ALERTS).unwrap().iter().map(|alert| alert.id).collect()
}

fn sent(log: &dyn Log) -> BTreeSet<String> {
    let all: Vec<Delivery> = facts::all(log, topics::DELIVERIES).unwrap();
    let sent = all.into_iter().filter(|delivery| delivery.state == DeliveryState::Sent);
    sent.map(|delivery| delivery.message_id).collect()
}

#[test]
fn services_in_processes_of_their_own_do_what_one_process_does() {
    let world = World::new(Faults::new());
    let cluster = Cluster::new(&world.path("cluster"));
    let snapshots = Some(world.path("snapshots"));

    let project = cluster.start("project", &world, None);
    until("project waits for its tables", || {
        let missing = readyz(&project)["missing"]["project"].to_string();
        missing.contains("projections migrate")
    });
    tocsin_project::prepare(&*cluster.log, &*cluster.store).unwrap();
    until("project has its tables", || is_ready(&project));

    let detect = cluster.start("detect", &world, snapshots.clone());
    let others = ["ingest", "notify", "api"].map(|name| cluster.start(name, &world, None));
    for node in others.iter().chain([&detect]) {
        until("every process is ready", || is_ready(node));
        assert_eq!(page(&admin(node, "/livez")), "ok\n");
    }
    assert_eq!(readyz(&detect)["parts"]["detect"]["partitions"], 8);

    world.put("one.csv");
    until("three mails are sent", || sent(&*cluster.log).len() == 3);
    let url = &others[2].url;
    until("the pages show them", || {
        let items = get(&format!("{url}/api/v1/deliveries"))["items"].clone();
        items.as_array().unwrap().iter().filter(|item| item["state"] == "sent").count() == 3
    });
    for line in [
        "tocsin_assigned_partitions{service=\"detect\"} 8",
        "tocsin_restore_records_left{service=\"detect\"} 0",
        "tocsin_consumer_lag{service=\"detect\",topic=\"aqi.readings\",partition=\"0\"}",
        "tocsin_loop_last_turn_seconds{service=\"detect\"}",
        "tocsin_build_info{version=",
    ] {
        // What is sampled may be younger than the first mails.
        until(line, || page(&admin(&detect, "/metrics")).contains(line));
    }
    until("project counts each alert once", || {
        let text = page(&admin(&project, "/metrics"));
        let raised = "tocsin_alerts_total{detector=\"threshold\",state=\"raised\"} 2\n";
        text.contains(raised) && text.contains("tocsin_deliveries_total{state=\"sent\"} 3\n")
    });

    // What came while nobody detected is detected by whoever comes next, from the last one's state.
    end(detect);
    std::fs::write(
        world.path("incoming/two.csv"),
        "station,time,pm25\nHarbour,2024-03-01T10:00:00Z,10\n",
    )
    .unwrap();
    let events = || -> u64 {
        let end = |p| cluster.log.span(&TopicPartition::new(topics::AQI_READINGS, p)).unwrap().end;
        (0..8).map(end).sum()
    };
    until("the second file is read", || events() == 5);
    let detect = cluster.start("detect", &world, snapshots);
    until("the fourth mail", || sent(&*cluster.log).len() == 4);
    until("the tables are as the log says", || {
        let found = verify(&cluster.log, &*cluster.store, &world.settings()).unwrap();
        found.iter().all(|(_, compared)| compared.differences.is_empty())
    });
    for node in others.into_iter().chain([detect, project]) {
        end(node);
    }

    let whole = Node::start(world.settings(), &world.path("whole"), "127.0.0.1:0".parse().unwrap());
    let whole = whole.unwrap();
    until("one process has sent the same", || sent(&*whole.log) == sent(&*cluster.log));
    assert_eq!(alerts(&*whole.log), alerts(&*cluster.log));
    end(whole);
}

#[test]
fn a_second_process_of_the_same_slot_ends_the_first_which_says_why() {
    let world = World::new(Faults::new());
    let cluster = Cluster::new(&world.path("cluster"));
    let first = cluster.start("detect", &world, None);
    until("it is ready", || is_ready(&first));
    let spec = WorkerSpec { id: "detect-0".into(), group: "detect".into(), inputs: Vec::new() };
    let _second = cluster.log.worker(&spec).unwrap();
    let ingest = cluster.start("ingest", &world, None);
    world.put("one.csv");
    let reason = first.wait().unwrap_err().to_string();
    assert!(reason.contains("another worker has taken the id \"detect-0\""), "{reason}");
    end(ingest);
}

#[test]
fn a_service_that_cannot_run_alone_says_what_to_do() {
    let world = World::new(Faults::new());
    let said = |words: &[&str]| {
        let mut command = tocsin();
        let output = command.args(words).arg("--config").arg(world.config()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for service in ["ingest", "detect", "notify", "project", "api"] {
        let (code, text) = said(&[service, "--admin", "127.0.0.1:0"]);
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("set [log] kind = \"kafka\", or run `tocsin up`"), "{text}");
    }
    let without = std::fs::read_to_string(world.config()).unwrap().replace("folder", "#folder");
    std::fs::write(world.config(), without).unwrap();
    let (code, text) = said(&["ingest"]);
    assert!(code == Some(3) && text.contains("no [[sources]] has a `folder`"), "{text}");
}

#[test]
fn the_second_signal_ends_the_process_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        // The mail server never answers, so that a soft stop would wait for it.
        let hang = Faults::from([("ada@example.org".to_owned(), vec![Fault::Hang(Stage::Dot)])]);
        let world = World::new(hang);
        world.put("one.csv");
        let mut command = tocsin();
        command.arg("up").arg("--config").arg(world.config()).arg("--data").arg(world.path("data"));
        let (mut up, _) = serve(&mut command);
        assert!(world.server.wait_for_hanging(1, Duration::from_secs(30)), "a mail is under way");
        let id = up.0.id().to_string();
        let mut status = None;
        until("it has ended", || {
            Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            status = up.0.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
    }
}

/// A registry that has no subject, from now on.
fn registry(at: &str) {
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            let body = r#"{"error_code": 40401}"#;
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 404 No\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        }
    });
}

#[test]
fn a_registry_that_is_away_is_waited_for_by_whoever_needs_it_and_by_nobody_else() {
    let world = World::new(Faults::new());
    let cluster = Cluster::new(&world.path("cluster"));
    tocsin_project::prepare(&*cluster.log, &*cluster.store).unwrap();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (away, at) = (free().to_string(), free());
    let text = std::fs::read_to_string(world.config()).unwrap();
    let text = format!("[schema]\nregistry = \"http://{away}\"\n{text}");
    std::fs::write(world.config(), text).unwrap();

    // It reads rows, which nothing frames.
    let ingest = cluster.start("ingest", &world, None);
    until("ingest does its work", || is_ready(&ingest));
    end(ingest);

    let ask = |path: &str| {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.build().into();
        let mut answer = agent.get(format!("http://{at}{path}")).call().ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_to_string().unwrap()))
    };
    let stop = Stop::new();
    std::thread::scope(|beside| {
        let plan = Plan { admin: Some(at), stop: stop.clone(), ..Plan::default() };
        let api = beside.spawn(|| cluster.run("api", &world, None, plan));
        until("api says what it waits for", || {
            ask("/readyz").is_some_and(|(code, text)| {
                code == 503 && text.contains(&away) && text.contains("schema ids")
            })
        });
        assert_eq!(ask("/livez"), Some((200, "ok\n".to_owned())));
        registry(&away);
        let api = api.join().unwrap();
        until("api does its work", || is_ready(&api));
        assert!(get(&format!("{}/api/v1/deliveries", api.url))["items"].is_array());
        end(api);
    });
    // Told to stop while it waits, it ends.
    std::fs::write(
        world.config(),
        std::fs::read_to_string(world.config()).unwrap().replace(&away, &free().to_string()),
    )
    .unwrap();
    let stop = Stop::new();
    std::thread::scope(|beside| {
        let plan = Plan { stop: stop.clone(), ..Plan::default() };
        let detect = beside.spawn(|| cluster.run("detect", &world, None, plan));
        std::thread::sleep(Duration::from_millis(300));
        stop.stop();
        detect.join().unwrap().wait().unwrap();
    });
}
