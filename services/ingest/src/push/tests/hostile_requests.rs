//! Whole requests that somebody means ill with, from their head on: tokens, types, packings, keys and
//! bodies of every kind, mixed. No sockets, but all that stands behind them.

use super::hostile::bodies;
use super::*;
use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashMap;

const OPEN: &str = "[push]\nwithout_token = true\nmax_body_bytes = 16384\nmax_events = 100\n\
    pause_above = \"100%\"\n[[producers]]\nname = \"shop\"\ntoken_sha256 = \"HASH\"\n\
    events = [\"reading\", \"order-row\"]\n";

/// A request.
#[derive(Clone, Debug)]
struct Ask {
    query: &'static str,
    headers: Headers,
    pieces: Vec<Vec<u8>>,
    /// Whether it is sent again at once.
    twice: bool,
}

type Headers = Vec<(&'static str, Vec<u8>)>;

/// A header that is mostly left out, or as it should be; `good` is not empty.
fn header(
    name: &'static str,
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> impl Strategy<Value = Headers> {
    let junk = prop::collection::vec(prop_oneof![0x20..=0x7e_u8, 0x80..=0xff_u8], 0..20);
    prop_oneof![
        200 => Just(vec![]),
        60 => prop::sample::select(good).prop_map(move |value| vec![(name, value.into())]),
        5 => prop::sample::select(bad).prop_map(move |value| vec![(name, value.into())]),
        1 => junk.prop_map(move |junk| vec![(name, junk)]),
        1 => Just(vec![(name, good[0].into()), (name, good[0].into())]),
    ]
}

/// A key, often one that came before.
fn key() -> impl Strategy<Value = Headers> {
    let long = "k".repeat(300);
    prop_oneof![
        10 => Just(vec![]),
        10 => (0..2_000).prop_map(|n| vec![("idempotency-key", format!("k{n}").into())]),
        1 => (0..9).prop_map(|n| vec![("idempotency-key", format!("\"k{n}\"").into())]),
        1 => prop::sample::select(vec!["a b".to_owned(), "\"\"".to_owned(), long])
            .prop_map(|bad| vec![("idempotency-key", bad.into())]),
    ]
}

/// Type, query and body, which mostly fit each other.
fn content() -> impl Strategy<Value = (&'static str, &'static str, Vec<u8>)> {
    let batch = format!("[{READING},{READING}]");
    let lines = format!("{ORDER}\n{}\n", ORDER.replace("19.99", "x"));
    let air = r#"{"station":"s","v":1,"t":"2024-05-01"}"#.to_owned();
    let fitting = prop::sample::select(vec![
        (STRUCTURED.1, "", READING.to_owned()),
        (BATCH.1, "", batch),
        (LINES.1, "?source=orders", lines),
        (JSON.1, "?source=air", air),
    ]);
    let types = vec!["", "text/plain", "multipart/form-data", "application/json;charset=x", ";;"];
    let queries = vec!["", "?source=air", "?source=orders", "?source=none", "?x=%f"];
    let (types, queries) = (prop::sample::select(types), prop::sample::select(queries));
    (fitting, bodies(), types, queries, 0..30_u8).prop_map(|(fits, body, content, query, how)| {
        match how {
            0..14 => (fits.0, fits.1, fits.2.into()),
            14..28 => (fits.0, fits.1, body),
            28 => (content, fits.1, body),
            _ => (fits.0, query, body),
        }
    })
}

fn headers() -> impl Strategy<Value = Headers> {
    let token = &["Bearer wrong", "Basic czpz", "Bearer", "s3cret"];
    let length = &["0", "3", "99999999999999999999", "-1", "16385"];
    (
        key(),
        header("authorization", &["Bearer s3cret"], token),
        header("prefer", &["handling=lenient", "handling=strict"], &["=", ";,=", "handling"]),
        header("host", &["localhost", "127.0.0.1:80"], &["evil.example", "[", "localhost:x"]),
        header("origin", &["http://localhost"], &["null", "http://evil.example"]),
        header("content-length", &["16384"], length),
        header("ce-id", &["1"], &["%", "%zz"]),
        header("ce-type", &["com.acme.order"], &["tocsin.reading", "%00"]),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h].concat())
}

/// A body as it goes over the wire, and what its packing is called.
fn packed(body: Vec<u8>, how: u8, cut: usize) -> (&'static str, Vec<u8>) {
    match how {
        0 => ("identity", body),
        1..=8 => ("gzip", gzip(&body)),
        9 => ("x-gzip", [gzip(&body), gzip(&body)].concat()),
        10 => ("gzip", body),
        11 => ("gzip", gzip(&vec![b' '; 100_000])),
        12 => ("br", body),
        13 => {
            let mut bytes = gzip(&body);
            bytes.truncate(cut % bytes.len());
            ("GZIP", bytes)
        }
        _ => ("", body),
    }
}

fn asks() -> impl Strategy<Value = Ask> {
    let odds = (0..40_u8, any::<usize>(), 1..4_000_usize, 0..8_u8);
    (headers(), content(), odds).prop_map(|(mut headers, (content, query, body), odds)| {
        let (how, cut, piece, times) = odds;
        let (encoding, body) = packed(body, how, cut);
        headers.extend([("content-type", content.into()), ("content-encoding", encoding.into())]);
        headers.retain(|(_, value)| !value.is_empty());
        let pieces = body.chunks(piece).map(<[u8]>::to_vec).collect();
        Ask { query, headers, pieces, twice: times == 0 }
    })
}

impl Ask {
    fn request(&self) -> Request {
        let pieces = self.pieces.clone().into_iter();
        let pieces =
            futures::stream::iter(pieces.map(|piece| Ok::<_, LogError>(Bytes::from(piece))));
        let mut request = Request::post(format!("{ROUTE}{}", self.query))
            .body(Body::from_stream(pieces))
            .unwrap();
        for (name, value) in &self.headers {
            request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        request
    }

    /// The value of a header, without the quotes around it.
    fn value(&self, wanted: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(name, _)| *name == wanted)?;
        let text = String::from_utf8_lossy(value);
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Some(bare.unwrap_or(text).to_owned())
    }
}

/// What was written, by the answers.
#[derive(Default)]
struct Told {
    records: usize,
    /// What was answered to the key of a producer.
    keys: HashMap<(bool, String), serde_json::Value>,
    again: usize,
    codes: BTreeMap<String, usize>,
}

impl Told {
    fn take(&mut self, ask: &Ask, status: u16, body: &serde_json::Value) {
        let code = body["code"].as_str().unwrap_or("taken");
        *self.codes.entry(code.to_owned()).or_default() += 1;
        if status != 202 {
            assert!((400..500).contains(&status), "{status} {body} to {ask:?}");
            assert!(!body["detail"].as_str().unwrap().is_empty() && body["status"] == status);
            return;
        }
        if let Some(key) = ask.value("idempotency-key") {
            let whose = (ask.value("authorization").is_some(), key);
            if let Some(before) = self.keys.get(&whose) {
                assert_eq!(before, body, "the answer that was given before: {ask:?}");
                self.again += 1;
                return;
            }
            self.keys.insert(whose, body.clone());
        }
        let count = |of: &str| usize::try_from(body[of].as_u64().unwrap()).unwrap();
        assert!(count("received") <= 100);
        self.records += count("written") + count("dead_letters");
    }
}

#[test]
fn ten_thousand_hostile_requests_are_answered_and_only_what_is_taken_is_written() {
    let log = new_log();
    let (settings, sources, _) = configured(&format!("{OPEN}{SOURCES}"));
    let (shared, now) = (log.clone() as Arc<dyn Log>, Arc::new(|| NOW));
    let made = Push::new(&shared, (&settings, &sources), 0, Metrics::new(), now);
    let (push, writer) = made.map_err(|error| error.to_string()).unwrap();
    let (push, stop) = (Arc::new(push), Stop::new());
    let token = stop.clone();
    let writer = std::thread::spawn(move || writer.run(&token));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = |request: Request| {
        runtime.block_on(async {
            let response = push.clone().answer(request).await;
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
        })
    };

    let config = Config { cases: 10_000, failure_persistence: None, ..Config::default() };
    let told = std::cell::RefCell::new(Told::default());
    let run = TestRunner::new(config).run(&asks(), |ask| {
        for _ in 0..=u8::from(ask.twice) {
            let (status, body) = answer(ask.request());
            told.borrow_mut().take(&ask, status, &body);
        }
        Ok(())
    });
    run.unwrap();
    assert_eq!(push.room.taken(), 0, "nobody holds room any more");
    let good = Request::post(ROUTE).header(STRUCTURED.0, STRUCTURED.1).body(READING.into());
    assert_eq!(answer(good.unwrap()).0, 202, "it still takes what is good");
    stop.stop();
    writer.join().unwrap().unwrap();

    let Told { records, again, codes, .. } = told.into_inner();
    let topics = Pushed::ALL.iter().map(|kind| kind.topic()).chain([topics::DEAD_LETTERS]);
    let found: usize = topics.map(|topic| count(&*log, topic)).sum();
    assert_eq!(found, records + 1, "{codes:?}");
    for code in [
        "json",
        "events",
        "gzip",
        "too-large",
        "encoding",
        "key",
        "key-reused",
        "token",
        "site",
        "source",
        "content-type",
        "header",
    ] {
        let times = codes.get(code).copied().unwrap_or_default();
        assert!(times >= 30, "{code} {times} times: {codes:?}");
    }
    assert!(codes["taken"] > 2_000 && again > 100, "{again} again, {codes:?}");
}

fn count(log: &dyn Log, topic: &str) -> usize {
    let mut found = 0;
    for partition in 0..log.partitions(topic).unwrap() {
        let scanned = log.scan_all(&TopicPartition::new(topic, partition), |_| {
            found += 1;
            Ok::<(), LogError>(())
        });
        scanned.unwrap();
    }
    found
}
