//! Facts go in at the log, the projections run, and answers come out over HTTP.

mod sources;

use crate::{App, Rendered, explain, router};
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::alert::{Alert, AlertState, Evidence};
use tocsin_domain::condition::Condition;
use tocsin_domain::dead_letter::{DROPPED, DeadDecision, DeadLetter};
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::event::{OrderRow, Reading};
use tocsin_domain::notice::Notice;
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::watch::Watch;
use tocsin_domain::wire::{self, Fact, SchemaIds};
use tocsin_domain::{Currency, Id, Micros, Money, Position};
use tocsin_project::{ProjectStep, StoreSink, prepare, topology};
use tocsin_service::health::State;
use tocsin_service::{Health, Metrics};
use tocsin_store::{SqliteStore, Store};
use tocsin_stream::Log;
use tocsin_stream::log::{Transaction, WorkerSpec};
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::processor::{Options, Processor};

/// What somebody would write who wants to be executed.
const HOSTILE: &str = "</title></svg><script>alert('x')</script>\"'><img src=x onerror=y>";
const MESSAGE_ID: &str = "m-1@localhost";
const HOUR: i64 = 3_600_000_000;

struct World {
    log: Arc<MemoryLog>,
    store: Arc<dyn Store>,
    _directory: tempfile::TempDir,
}

fn condition() -> Condition {
    let params = serde_json::json!({ "raise_above": 100, "note": HOSTILE });
    Condition::new("default", HOSTILE, "threshold", "*", &params)
}

fn watch() -> Watch {
    Watch {
        id: Id::of("watch", &[]),
        tenant: "default".into(),
        subscriber: Id::of("subscriber", &[]),
        condition: condition().id,
        subject: HOSTILE.into(),
        channel: "email".into(),
        schedule: "at-once".into(),
        on: vec![AlertState::Raised],
        active: true,
        created_at: Micros(1),
        asks: None,
    }
}

fn reading(hour: i64, value: f64) -> Reading<'static> {
    Reading {
        id: Id::of("reading", &[&hour.to_be_bytes()]),
        tenant: "default",
        subject: HOSTILE,
        measure: "pm25",
        value,
        unit: "ug/m3",
        averaging: "PT24H",
        place: HOSTILE,
        event_time: Micros(hour * HOUR),
        arrival_time: Micros(hour * HOUR),
        source: "csv",
        origin: "lahore.csv:7",
    }
}

fn order() -> OrderRow<'static> {
    OrderRow {
        id: Id::of("row", &[]),
        tenant: "default",
        subject: "85123A",
        order: "1",
        title: "",
        price: Money { amount: "2.55".parse().unwrap(), currency: Currency::parse("GBP").unwrap() },
        units: 6,
        event_time: Micros(0),
        arrival_time: Micros(0),
        source: "csv",
        origin: "",
    }
}

fn alert(positions: Vec<Position>) -> Alert {
    let condition = condition();
    Alert {
        id: Id::of("alert", &[]),
        tenant: "default".into(),
        episode: Id::default(),
        state: AlertState::Raised,
        condition: condition.id,
        condition_name: condition.name,
        condition_version: condition.version,
        detector: "threshold".into(),
        subject: HOSTILE.into(),
        measure: "pm25".into(),
        place: HOSTILE.into(),
        event_time: Micros(2 * HOUR),
        detected_at: Micros(2 * HOUR),
        value: "180".into(),
        unit: "AQI-US".into(),
        limit: "100".into(),
        band: "Unhealthy".into(),
        evidence: Evidence {
            positions,
            figures: [(HOSTILE.to_owned(), HOSTILE.to_owned())].into(),
            before: "{\"raised\":false}".into(),
            after: format!("not json {HOSTILE}"),
        },
    }
}

fn delivery(state: DeliveryState, attempt: i32, positions: Vec<Position>) -> Delivery {
    let alert = alert(positions);
    let notice = Notice {
        id: Notice::id_of(alert.id, watch().id),
        tenant: "default".into(),
        subscriber: watch().subscriber,
        watch: watch().id,
        channel: "email".into(),
        alert,
        at: Micros(2 * HOUR),
    };
    Delivery {
        id: Id::of("delivery", &[]),
        tenant: "default".into(),
        subscriber: watch().subscriber,
        channel: "email".into(),
        state,
        attempt,
        at: Micros(2 * HOUR + i64::from(attempt)),
        message_id: MESSAGE_ID.into(),
        address: "ada@example.org".into(),
        name: "Ada".into(),
        time_zone: "UTC".into(),
        notices: if state == DeliveryState::Sent { Vec::new() } else { vec![notice] },
        reason: HOSTILE.into(),
        next_attempt_at: None,
    }
}

fn put<'a>(
    transaction: &mut Transaction,
    log: &dyn Log,
    topic: &str,
    key: &str,
    fact: &impl Fact<'a>,
) {
    let number = transaction.register(topic, log.partitions(topic).unwrap());
    let out = transaction.to(number, key.as_bytes());
    out.push_with(key.as_bytes(), |bytes| wire::write(fact, bytes));
}

fn position(topic: &str, key: &str, offset: u64) -> Position {
    let partition = tocsin_domain::partition::partition_of(key.as_bytes(), 8);
    Position { topic: topic.into(), partition, offset }
}

fn world() -> World {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(directory.path()).unwrap());
    prepare(&*log, &*store).unwrap();
    let positions =
        || vec![position(topics::AQI_READINGS, "k", 1), position(topics::AQI_READINGS, "k", 99)];
    let mut transaction = Transaction::default();
    let t = &mut transaction;
    put(t, &*log, topics::CONDITIONS, &condition().key(), &condition());
    put(t, &*log, topics::WATCHES, &watch().key(), &watch());
    for (hour, value) in [(0, 8.0), (1, 40.0), (2, 120.0)] {
        put(t, &*log, topics::AQI_READINGS, "k", &reading(hour, value));
    }
    put(t, &*log, topics::ORDERS_ROWS, "o", &order());
    put(t, &*log, topics::ALERTS, "a", &alert(positions()));
    for (state, attempt) in
        [(DeliveryState::Requested, 0), (DeliveryState::Attempt, 1), (DeliveryState::Sent, 1)]
    {
        put(t, &*log, topics::DELIVERIES, "d", &delivery(state, attempt, positions()));
    }
    sources::asked(&*log, &mut transaction);
    let spec = WorkerSpec { id: "test-0".into(), group: "test".into(), inputs: Vec::new() };
    log.worker(&spec).unwrap().commit(&mut transaction).unwrap();
    let sink = Box::new(StoreSink::new(store.clone()));
    let (step, options) = (ProjectStep::default(), Options::default());
    let mut processor = Processor::new(topology(), log.clone(), step, sink, options).unwrap();
    for _ in 0..30 {
        processor.turn(Duration::ZERO, Micros(1)).unwrap();
    }
    World { log, store, _directory: directory }
}

fn app(world: &World) -> App {
    let render = Arc::new(|delivery: &Delivery| Rendered {
        subject: format!("{HOSTILE} is unhealthy"),
        text: format!("Dear {}, {HOSTILE}", delivery.name),
        html: "<html><head></head><body>mail</body></html>".to_owned(),
    });
    App::new(world.log.clone(), world.store.clone(), Metrics::new(), render)
}

/// Serves on a free port for as long as `ask` runs.
fn serve(app: App, ask: impl FnOnce(&dyn Fn(&str, &str) -> Answer)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let at = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, router(app)).await.unwrap() });
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    ask(&|method, path| {
        let uri = format!("http://{at}{path}");
        let sent =
            if method == "POST" { agent.post(&uri).send_empty() } else { agent.get(&uri).call() };
        let mut response = sent.unwrap();
        let header = |name| {
            response
                .headers()
                .get(name)
                .map(|v: &ureq::http::HeaderValue| v.to_str().unwrap().to_owned())
        };
        let (policy, kind) = (header("content-security-policy"), header("content-type"));
        Answer {
            status: response.status().as_u16(),
            policy: policy.unwrap_or_default(),
            kind: kind.unwrap_or_default(),
            body: response.body_mut().read_to_string().unwrap(),
        }
    });
}

struct Answer {
    status: u16,
    policy: String,
    kind: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }
}

fn subject() -> String {
    HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_page_is_there_and_escapes_what_comes_from_outside() {
    let world = world();
    let (subject, alert, watch) = (subject(), Id::of("alert", &[]), watch().id);
    serve(app(&world), |ask| {
        for path in [
            "/inbox",
            "/alerts",
            "/subjects",
            "/sources",
            &format!("/mails/{MESSAGE_ID}"),
            &format!("/why/{MESSAGE_ID}"),
            &format!("/alerts/{alert}"),
            &format!("/subjects/{subject}?measure=pm25&days=1"),
            &format!("/unsubscribe/{watch}"),
            &format!("/nothing/{subject}"),
            &format!("/mails/{subject}"),
        ] {
            let page = ask("GET", path);
            let missing = path.starts_with("/nothing") || path.contains("/mails/%");
            assert_eq!(page.status, if missing { 404 } else { 200 }, "{path} {}", page.body);
            assert!(page.kind.starts_with("text/html"), "{path}");
            assert!(page.policy.starts_with("default-src 'none'"), "{path}");
            assert!(!page.body.contains("<script") && !page.body.contains("<img"), "{path}");
            let shown = page.body.contains("&#60;script") || path.starts_with("/nothing");
            assert!(shown, "{path} does not show the hostile text");
            assert!(!page.body.contains("http://") && !page.body.contains(" style="), "{path}");
        }
    });
}

/// A letter whose every word is hostile, to a browser and to a terminal.
fn letter(number: u8) -> DeadLetter {
    let hostile = format!("{HOSTILE}\u{1b}[31m\u{202e}");
    DeadLetter {
        id: Id::of("letter", &[&[number]]),
        topic: topics::AQI_READINGS.into(),
        position: None,
        origin: hostile.clone(),
        key: b"default/s".to_vec(),
        value: if number == 0 { vec![0xff, 0x1b] } else { hostile.clone().into() },
        class: hostile.clone(),
        reason: hostile.clone(),
        service: "ingest".into(),
        at: Micros(i64::from(number)),
        source: hostile,
        head: b"<b>head\n".to_vec(),
        cut: false,
        search: String::new(),
    }
}

fn dropped(letter: Id) -> DeadDecision {
    DeadDecision {
        letter,
        verdict: DROPPED.into(),
        reason: HOSTILE.into(),
        topic: String::new(),
        written: Vec::new(),
        present: Vec::new(),
        by: HOSTILE.into(),
        at: Micros(9),
    }
}

#[test]
fn dead_letters_are_shown_as_they_stand_and_nothing_in_them_is_obeyed() {
    let world = world();
    let mut work = Transaction::default();
    for number in 0..3 {
        put(&mut work, &*world.log, topics::DEAD_LETTERS, "default/s", &letter(number));
    }
    let commit = |work: &mut Transaction| {
        let spec = WorkerSpec { id: "test-1".into(), group: "test".into(), inputs: Vec::new() };
        world.log.worker(&spec).unwrap().commit(work).unwrap();
    };
    commit(&mut work);
    let group = letter(0).group().hash();
    let mut app = app(&world);
    app.redrive = Some(Arc::new(|letters: &[DeadLetter]| {
        assert!(letters.is_sorted_by_key(|letter| letter.at), "in the order of the log");
        letters.iter().map(|letter| format!("asked of {} {HOSTILE}", letter.id)).collect()
    }));
    serve(app, |ask| {
        let groups = ask("GET", "/api/v1/dead-letters/groups").json();
        assert_eq!(
            (&groups["items"][0]["count"], &groups["items"][0]["hash"]),
            (&3.into(), &group.clone().into())
        );
        for path in [
            "/dead-letters",
            &format!("/dead-letters/{group}"),
            &format!("/dead-letters/{group}?limit=2"),
        ] {
            let page = ask("GET", path);
            assert_eq!(page.status, 200, "{path} {}", page.body);
            assert!(!page.body.contains("<script") && !page.body.contains("<img"), "{path}");
            assert!(!page.body.contains(['\u{1b}', '\u{202e}']), "{path}");
            assert!(page.body.contains("3 × ") && page.body.contains("&#60;script"), "{path}");
        }
        let page = ask("GET", &format!("/dead-letters/{group}")).body;
        for part in [
            "00000000  ff 1b",
            "&#60;b&#62;head\\n",
            "A redrive now: asked of",
            &format!("tocsin dlq redrive {group} --yes"),
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        let first = ask("GET", &format!("/api/v1/dead-letters/groups/{group}?limit=2")).json();
        assert_eq!((first["items"].as_array().unwrap().len(), &first["next"]), (2, &2.into()));
        assert_eq!(first["items"][0]["id"], letter(2).id.to_string(), "newest first");
        for item in first["items"].as_array().unwrap() {
            let (id, now) = (item["id"].as_str().unwrap(), item["redrive"].as_str().unwrap());
            assert_eq!(now, format!("asked of {id} {HOSTILE}"), "each its own");
        }

        let decision = dropped(letter(2).id);
        put(&mut work, &*world.log, topics::DEAD_DECISIONS, &decision.key(), &decision);
        commit(&mut work);
        let count = |path: &str| ask("GET", path).json()["items"][0]["count"].clone();
        assert_eq!(count("/api/v1/dead-letters/groups"), 2, "what has come since is seen");
        assert_eq!(count("/api/v1/dead-letters/groups?state=all"), 3);
        let page = ask("GET", &format!("/dead-letters/{group}?state=all")).body;
        assert!(
            page.contains("dropped by &#60;/title&#62;") && !page.contains("<script"),
            "{page}"
        );
        for (path, status) in [
            ("/dead-letters/00000000", 404),
            ("/dead-letters?state=some", 400),
            ("/api/v1/dead-letters/groups?day=1970-01-01", 400),
            (&format!("/dead-letters/{group}?offset=-1"), 400),
        ] {
            assert_eq!(ask("GET", path).status, status, "{path}");
        }
    });
}

#[test]
fn the_chain_goes_from_the_mail_down_to_the_bytes() {
    let world = world();
    let bracketed = format!("<{MESSAGE_ID}>");
    let why = explain(&bracketed, &*world.store, &*world.log, &SchemaIds::default()).unwrap();
    let states: Vec<&str> = why.facts.iter().map(|fact| fact.state.as_str()).collect();
    assert_eq!(states, ["requested", "attempt", "sent"]);
    let because = &why.because[0];
    assert!(because.rule_decided && because.watch.as_ref().unwrap().active);
    let json = serde_json::to_value(&why).unwrap();
    let events = &json["because"][0]["events"];
    assert_eq!(events[0]["value"]["fact"]["value"], 40.0);
    assert_eq!(events[0]["origin"], "lahore.csv:7");
    assert!(events[0]["hex"].as_str().unwrap().starts_with("c301"));
    assert!(events[1]["gone"].as_str().unwrap().contains("no record here"));
    let text = why.to_text();
    for part in
        ["mail      m-1@localhost", "sent (attempt 1)", "from lahore.csv:7", "c301", "raise_above"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(
        explain("nobody@localhost", &*world.store, &*world.log, &SchemaIds::default()).is_err()
    );
}

#[test]
fn the_interface_answers_in_json_and_refuses_with_problems() {
    let world = world();
    let (subject, alert) = (subject(), Id::of("alert", &[]));
    let subscriber = watch().subscriber;
    serve(app(&world), |ask| {
        for (path, pointer, want) in [
            ("/api/v1/subjects", "/items/0/value", "120"),
            (&*format!("/api/v1/readings/{subject}/pm25"), "/items/2/value", "120"),
            (&format!("/api/v1/readings/{subject}/pm25?limit=1"), "/items/0/value", "120"),
            ("/api/v1/sales?product=85123A", "/items/0/revenue", "15.3"),
            ("/api/v1/sales?product=85123A&day=1970-01-01", "/items/0/revenue", "15.3"),
            ("/api/v1/sales?day=1970-01-01", "/items/0/product", "85123A"),
            ("/api/v1/alerts", "/items/0/band", "Unhealthy"),
            (&format!("/api/v1/alerts?subject={subject}"), "/items/0/value", "180"),
            ("/api/v1/alerts?day=1970-01-01", "/items/0/value", "180"),
            (&format!("/api/v1/alerts/{alert}"), "/detector", "threshold"),
            ("/api/v1/deliveries", "/items/0/state", "sent"),
            (&format!("/api/v1/deliveries?subscriber={subscriber}"), "/items/0/state", "sent"),
            (&format!("/api/v1/deliveries/{MESSAGE_ID}"), "/facts/2/state", "sent"),
            (&format!("/api/v1/why/{MESSAGE_ID}"), "/because/0/alert/value", "180"),
        ] {
            let answer = ask("GET", path);
            assert_eq!(answer.status, 200, "{path} {}", answer.body);
            let json = answer.json();
            assert_eq!(json.pointer(pointer).and_then(|v| v.as_str()), Some(want), "{path} {json}");
        }
        let first = ask("GET", "/api/v1/deliveries?limit=1").json();
        let next: String =
            first["next"].as_str().unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let rest = ask("GET", &format!("/api/v1/deliveries?limit=1&after={next}")).json();
        assert_eq!(rest["items"], serde_json::json!([]));
        assert_eq!(
            ask("GET", "/api/v1/dead-letters?day=1970-01-01").json()["items"],
            serde_json::json!([])
        );
        for (status, path) in [
            (400, "/api/v1/deliveries?limit=501"),
            (400, "/api/v1/deliveries?limit=0"),
            (400, "/api/v1/deliveries?after=x"),
            (400, "/api/v1/sales"),
            (400, "/api/v1/alerts?dya=1970-01-01"),
            (400, "/api/v1/alerts?day=today"),
            (400, "/api/v1/readings/%FF/pm25"),
            (404, "/api/v1/readings/x/y"),
            (404, "/api/v1/listings/x"),
            (404, "/api/v1/alerts/x"),
            (404, "/api/v1/why/x"),
            (404, "/api/v1/deliveries/x"),
            (404, "/api/v1/nothing"),
            (400, &format!("/api/v1/listings/{}", "x".repeat(1025))),
        ] {
            let answer = ask("GET", path);
            assert_eq!(answer.status, status, "{path} {}", answer.body);
            assert_eq!(answer.kind, "application/problem+json", "{path}");
            assert_eq!(answer.json()["status"], status, "{path}");
        }
    });
}

#[test]
fn only_a_post_switches_a_watch_off() {
    let world = world();
    let path = format!("/unsubscribe/{}", watch().id);
    let active = || {
        let found = crate::why::watch(&*world.log, &SchemaIds::default(), "default", watch().id);
        found.unwrap().unwrap().active
    };
    serve(app(&world), |ask| {
        assert!(ask("GET", &path).body.contains("method=\"post\""));
        assert!(active());
        for _ in 0..2 {
            assert!(ask("POST", &path).body.contains("are stopped"));
            assert!(!active());
        }
        assert_eq!(ask("POST", &format!("/unsubscribe/{}", Id::default())).status, 404);
    });
}

#[test]
fn health_readiness_and_metrics_say_the_truth() {
    let world = world();
    let mut app = app(&world);
    app.health = Health::of_loops(&["project"]);
    let health = app.health.clone();
    serve(app, |ask| {
        assert_eq!(ask("GET", "/healthz").status, 200);
        let waiting = ask("GET", "/readyz");
        assert_eq!(
            (waiting.status, &waiting.json()["missing"]["project"]),
            (503, &"is starting".into())
        );
        health.set("project", State::ready(Some(8)));
        assert_eq!(ask("GET", "/readyz").status, 200);
        ask("GET", "/alerts/x");
        let metrics = ask("GET", "/metrics").body;
        assert!(metrics.contains("route=\"/alerts/{id}\""), "{metrics}");
        assert_eq!(ask("GET", "/").status, 307);
        assert!(ask("GET", "/style.css").body.contains(".band-5 { background: #"));
    });
}

#[test]
fn a_mail_is_shut_in_and_its_links_lead_out() {
    let world = world();
    serve(app(&world), |ask| {
        let mail = ask("GET", &format!("/mails/{MESSAGE_ID}/html"));
        assert!(mail.policy.contains("sandbox"), "{}", mail.policy);
        assert!(mail.body.contains("<head><base target=\"_top\"></head>"), "{}", mail.body);
    });
}
