//! What is wrong is refused with its field, and who is too fast or too many is told to wait.

use super::*;

/// Events, each with what is wrong in it.
fn wrong_events() -> Vec<(String, &'static str)> {
    let reading = |data: &str| event("1", "tocsin.reading", data);
    let order = |price: &str| {
        event("1", "tocsin.order-row", &format!(r#"{{"subject":"s","price":{price}}}"#))
    };
    let order_with = |from, to| event("1", "com.acme.order", &ORDER.replace(from, to));
    let long = format!(r#"{{"subject":"{}","measure":"m","value":1}}"#, "x".repeat(201));
    let nested = format!(r#"{{"a":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    let huge =
        format!(r#"{{"subject":"s","measure":"m","value":1,"unit":"{}"}}"#, "x".repeat(300_000));
    vec![
        (READING.replace("1.0", "0.3"), "/specversion"),
        (READING.replace("\"id\":\"1\",", ""), "/id"),
        (READING.replace("\"id\":\"1\"", "\"id\":\"\""), "/id"),
        (READING.replace("\"id\":\"1\"", "\"id\":1"), "/id"),
        (READING.replace("\"id\":\"1\"", "\"id\":\"1\",\"id\":\"2\""), "/id"),
        (READING.replace("\"/a\"", "null"), "/source"),
        (READING.replace("tocsin.reading", "tocsin.readings"), "/type"),
        (READING.replace("2024-05-01T", "2024-05-32T"), "/time"),
        (READING.replace("\"time\":\"2024-05-01T12:00:00Z\",", ""), "/data/event_time"),
        (READING.replace("\"data\":", "\"data_base64\":\"e30=\",\"daten\":"), "/data_base64"),
        (READING.replace("\"data\":", "\"daten\":"), "/data"),
        (
            READING.replace("\"data\":", "\"datacontenttype\":\"text/xml\",\"data\":"),
            "/datacontenttype",
        ),
        (reading("[]"), "/data"),
        (reading(r#"{"measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"","measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"s\u0000","measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"s","measure":"m","value":1,"place":"\u0000"}"#), "/data/place"),
        (reading(r#"{"subject":"\ud800","measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"s","subject":"t","measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"s","measure":"m","value":1e999}"#), "/data/value"),
        (reading(r#"{"subject":"s","measure":"m","value":"nan"}"#), "/data/value"),
        (reading(r#"{"subject":"s","measure":"m","value":null}"#), "/data/value"),
        (reading(r#"{"subject":"s","measure":"m","value":true}"#), "/data/value"),
        (reading(r#"{"subject":"s","measure":"m","value":1,"a/b~":1}"#), "/data/a~1b~0"),
        (reading(&long), "/data/subject"),
        (reading(&nested), "/data/a"),
        (reading(&huge), ""),
        (order("1"), "/data/price"),
        (order(r#"{"amount":"1"}"#), "/data/price/currency"),
        (order(r#"{"amount":"1","currency":"eur"}"#), "/data/price/currency"),
        (order(r#"{"amount":"0.0000001","currency":"EUR"}"#), "/data/price/amount"),
        (order(r#"{"amount":1e30,"currency":"EUR"}"#), "/data/price/amount"),
        (
            order(r#"{"amount":"79228162514264337593543950335","currency":"EUR"}"#),
            "/data/price/amount",
        ),
        (event("1", "tocsin.swipe", r#"{"from":"a","to":"a","liked":true}"#), "/data/to"),
        (event("1", "tocsin.swipe", r#"{"from":"a","to":"b","liked":"yes"}"#), "/data/liked"),
        (
            event("1", "tocsin.dataset-row", r#"{"dataset":"d","fields":{"a":1,"a":2}}"#),
            "/data/fields",
        ),
        (event("1", "tocsin.dataset-row", r#"{"dataset":"d","kind":"none"}"#), "/data/kind"),
        (event("1", "tocsin.dataset-row", r#"{"dataset":"d","line":1.5}"#), "/data/line"),
        (event("1", "com.acme.order", r#"{"sku":"s","sku":"t"}"#), "/data"),
        (order_with("19.99", ""), "/data/price/value"),
        (order_with("lego", ""), "/data/sku"),
        (order_with("EUR", "eur"), "/data/price/currency"),
        (order_with(":2", ":2.5"), "/data/units"),
        (order_with(":2", ":\"many\""), "/data/units"),
        (order_with("05-01", "05-32"), "/data/at"),
        (event("1", "com.acme.order", &nested), "/data"),
        (READING.replace("2024-05-01T", "2124-05-01T"), ""),
        (order_with("2024-05-01", "2124-05-01"), "/data"),
        ("[]".to_owned(), ""),
        ("3".to_owned(), ""),
    ]
}

#[test]
fn every_wrong_event_is_refused_with_its_field() {
    let world = World::open();
    for (body, pointer) in wrong_events() {
        let got = world.post(&[STRUCTURED], &body);
        let shown = super::json::start(&body);
        assert_eq!(got.status, 422, "{shown} {got:?}");
        assert_eq!(got.body["errors"][0]["pointer"], pointer, "{shown} {got:?}");
        assert!(!got.body["errors"][0]["detail"].as_str().unwrap().is_empty());
    }
    for topic in Pushed::ALL.map(Pushed::topic) {
        assert_eq!(world.count(topic), 0, "{topic}");
    }
}

#[test]
fn every_wrong_request_is_refused_with_what_is_allowed() {
    let world = World::new("[push]\nwithout_token = true\nmax_body_bytes = 100000\nmax_events = 3");
    let bomb = gzip(&vec![b' '; 10_000_000]);
    let packed = gzip(READING.as_bytes());
    let four = format!("[{READING},{READING},{READING},{READING}]");
    let big = vec![b' '; 100_001];
    for (headers, body, status, code) in [
        (&[][..], READING.as_bytes(), 415, "content-type"),
        (&[("content-type", "text/csv")], b"a", 415, "content-type"),
        (&[JSON], b"{}", 400, "source"),
        (&[STRUCTURED], b"", 400, "json"),
        (&[STRUCTURED], b"{", 400, "json"),
        (&[STRUCTURED], b"{}{}", 400, "json"),
        (&[STRUCTURED], b"\x00", 400, "json"),
        (&[STRUCTURED], b"{\"id\":\"\xff\"}", 400, "utf-8"),
        (&[BATCH], b"{}", 400, "json"),
        (&[BATCH], b"[{}", 400, "json"),
        (&[BATCH], four.as_bytes(), 413, "too-many"),
        (&[STRUCTURED], &big, 413, "too-large"),
        (&[STRUCTURED, ("content-encoding", "gzip")], &bomb, 413, "too-large"),
        (&[STRUCTURED, ("content-encoding", "gzip")], b"not packed", 400, "gzip"),
        (&[STRUCTURED, ("content-encoding", "gzip")], &packed[..packed.len() - 9], 400, "gzip"),
        (&[STRUCTURED, ("content-encoding", "br")], &packed, 415, "encoding"),
        (&[STRUCTURED, ("idempotency-key", "")], READING.as_bytes(), 400, "key"),
        (&[STRUCTURED, TOKEN], READING.as_bytes(), 401, "token"),
    ] {
        let got = world.post(headers, body);
        assert_eq!((got.status, &got.body["code"]), (status, &code.into()), "{headers:?} {got:?}");
        assert_eq!(got.headers["content-type"], "application/problem+json");
        assert_eq!(got.body["status"], status);
    }
    let got = world.post(&[STRUCTURED, ("content-encoding", "gzip")], &packed);
    assert_eq!(got.status, 202, "{got:?}");
    let got = world.ask("GET", "", &[], b"");
    assert_eq!((got.status, &*got.headers["allow"]), (405, "POST"));
    let got = world.ask("POST", "?source=nobody", &[JSON], b"{}");
    assert_eq!((got.status, &got.body["code"]), (404, &"source".into()));
    assert!(
        world.post(&[("content-type", "text/csv")], b"a").headers["accept-post"].contains("ndjson")
    );
    let chunk = format!("{:x}\r\n{}\r\n", big.len(), String::from_utf8(big).unwrap());
    let chunked = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{}: {}\r\n\r\n{chunk}0\r\n\r\n",
        STRUCTURED.0, STRUCTURED.1
    );
    assert_eq!(world.raw(chunked.as_bytes()).status, 413, "also if nobody says how long it is");
    let many: String = (0..300).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
    assert_eq!(world.raw(many.as_bytes()).status, 431);
}

#[test]
fn tokens_and_scope_hold() {
    let world = World::new(
        "[[producers]]\nname = \"p\"\ntoken_sha256 = \"HASH\"\nevents = [\"reading\"]\n\
         subjects = [\"Kö\"]",
    );
    let got = world.post(&[STRUCTURED], READING);
    assert_eq!((got.status, &*got.headers["www-authenticate"]), (401, "Bearer realm=\"tocsin\""));
    let got = world.post(&[STRUCTURED, ("authorization", "Bearer wrong")], READING);
    assert_eq!(got.status, 401);
    let other = READING.replace("Köln", "Bonn");
    let batch = format!("[{READING},{other}]");
    for lenient in ["handling=strict", "handling=lenient"] {
        let got = world.post(&[BATCH, TOKEN, ("prefer", lenient)], &batch);
        assert_eq!((got.status, &got.body["code"]), (403, &"scope".into()), "{got:?}");
        assert_eq!(got.body["errors"][0]["index"], 1);
    }
    let swipe = event("1", "tocsin.swipe", r#"{"from":"Köln","to":"b","liked":true}"#);
    assert_eq!(world.post(&[STRUCTURED, TOKEN], swipe).status, 403);
    assert_eq!((world.count(topics::AQI_READINGS), world.count(topics::DEAD_LETTERS)), (0, 0));

    assert_eq!(world.post(&[STRUCTURED, TOKEN], READING).status, 202);
}

#[test]
fn who_is_too_fast_waits_until_the_debt_is_paid() {
    let world = World::new(
        "[[producers]]\nname = \"p\"\ntoken_sha256 = \"HASH\"\nevents = [\"reading\"]\nper_second = 1",
    );
    let many = format!("[{}]", [READING; 500].join(","));
    assert_eq!(world.post(&[BATCH, TOKEN], &many).status, 202, "a batch of any size can pass");
    let got = world.post(&[STRUCTURED, TOKEN], READING);
    assert_eq!((got.status, &got.body["code"]), (429, &"rate".into()), "{got:?}");
    assert!((100..=500).contains(&got.headers["retry-after"].parse::<u64>().unwrap()), "{got:?}");
    assert_eq!(world.count(topics::AQI_READINGS), 500);
}

#[test]
fn a_full_queue_sends_away_and_takes_again_when_there_is_room() {
    let log = new_log();
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let (told, tell) = std::sync::mpsc::channel();
    log.fail_commits(move |_| {
        told.send(()).unwrap();
        open.recv().unwrap();
        None
    });
    let push = "[push]\nwithout_token = true\nmax_body_bytes = 1024\nqueue_bytes = 4096";
    let world = Arc::new(World::on(log, push));
    let first = {
        let world = world.clone();
        std::thread::spawn(move || world.post(&[STRUCTURED], READING))
    };
    tell.recv().unwrap();
    let got = world.post(&[STRUCTURED], READING);
    assert_eq!((got.status, &got.body["code"]), (503, &"busy".into()), "{got:?}");
    assert_eq!(got.headers["retry-after"], "1");
    gate.send(()).unwrap();
    assert_eq!(first.join().unwrap().status, 202);
    gate.send(()).unwrap();
    assert_eq!(world.post(&[STRUCTURED], READING).status, 202, "there is room again");
}
