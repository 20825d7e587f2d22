//! Data sets from those who push: a page of another site uploads nothing, who is paused or in debt waits,
//! and dead letters of an upload are the producer's as well.

use super::*;
use crate::cursor;
use crate::pause;
use tocsin_domain::upstream::Pause;

const SET: &str = "[[datasets]]\nname = \"catalogue\"\n[[datasets.files]]\nname = \"columns\"\n\
    key = [\"id\"]\ntypes = { size = \"whole\" }\n";
const SHOP: &str = "[[producers]]\nname = \"shop\"\ntoken_sha256 = \"HASH\"\n\
    events = [\"dataset-row\", \"reading\"]\n";
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
const AT: &str = "/v1/datasets/catalogue";

/// A file of which these many rows can be read, then these many cannot.
fn file(good: usize, bad: usize) -> String {
    let rows = (0..good).map(|n| format!("g{n},{n}\n"));
    let all: String = rows.chain((0..bad).map(|n| format!("b{n},x\n"))).collect();
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"columns\"; filename=\"columns.csv\"\r\n\r\n\
         id,size\n{all}\r\n--b--\r\n"
    )
}

fn code(got: &Got) -> (u16, &str) {
    (got.status, got.body["code"].as_str().unwrap_or_default())
}

impl World {
    fn shop(more: &str) -> World {
        World::of(new_log(), &format!("{SHOP}{more}{SET}{SOURCES}"), body::PATIENCE)
    }

    fn upload(&self, headers: &[(&str, &str)], file: &str) -> Got {
        self.ask_at(&format!("POST {AT}"), &[&[FORM], headers].concat(), file.as_bytes())
    }

    /// Somebody lets the producer go on; as many seconds after the start as `now` says.
    fn goes_on(&self, now: i64) {
        let at = |second: i64| Micros(second * 1_000_000);
        self.guards[0].look(&*self.log, at(now)).unwrap();
        let whom = self.guards[0].whom();
        assert!(pause::resume(&*self.log, whom, ("me", at(now))).unwrap().is_some());
        self.guards[0].look(&*self.log, at(now + 3)).unwrap();
    }
}

#[test]
fn a_page_of_another_site_writes_nothing() {
    let text = format!("[push]\nwithout_token = true\n{SHOP}{SET}{SOURCES}");
    let world = World::of(new_log(), &text, body::PATIENCE);
    let of = world.at.to_string();
    let same = format!("http://{of}");
    for elsewhere in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("host", "evil.example")],
    ] {
        let got = world.upload(elsewhere, &file(2, 0));
        assert_eq!(code(&got), (403, "site"), "{elsewhere:?} {got:?}");
        let got = world.post(&[&[STRUCTURED], elsewhere].concat(), READING);
        assert_eq!(code(&got), (403, "site"), "{elsewhere:?} {got:?}");
        assert!(got.body["detail"].as_str().unwrap().contains("show a token"), "{got:?}");
        let got = world.ask_at(&format!("GET {AT}"), elsewhere, b"");
        assert_eq!(code(&got), (403, "site"), "nor does it read: {elsewhere:?} {got:?}");
        let got = world.post(&[&[STRUCTURED, TOKEN], elsewhere].concat(), READING);
        assert_eq!(got.status, 202, "a token says who it is: {elsewhere:?} {got:?}");
    }
    assert_eq!((world.count(topics::DATASETS_ROWS), world.count(topics::AQI_READINGS)), (0, 4));
    let same =
        [("origin", same.as_str()), ("host", of.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(world.upload(&same, &file(2, 0)).status, 201);
    assert_eq!(world.upload(&[], &file(2, 0)).status, 200);
}

#[test]
fn an_upload_of_dead_letters_pauses_its_producer_and_goes_on_where_it_was() {
    let world = World::shop("");
    let stands = || (world.count(topics::DATASETS_ROWS), world.count(topics::DEAD_LETTERS));
    let got = world.upload(&[TOKEN], &file(10, 250));
    assert_eq!(code(&got), (503, "paused"), "{got:?}");
    assert_eq!(got.headers["retry-after"], "30");
    let detail = got.body["detail"].as_str().unwrap();
    assert!(detail.contains("90 of the last 100 rows could not be read"), "{detail}");
    assert_eq!(stands(), (11, 90), "the note, what was good, and no flood");
    let pauses: Vec<Pause> = world
        .values(cursor::TOPIC)
        .iter()
        .filter_map(|value| serde_json::from_slice(value).ok())
        .collect();
    assert_eq!((pauses.len(), pauses[0].file.as_str()), (1, "columns.csv"));

    for got in [world.upload(&[TOKEN], &file(1, 0)), world.post(&[STRUCTURED, TOKEN], READING)] {
        assert_eq!(code(&got), (503, "paused"), "{got:?}");
    }
    assert_eq!(world.ask_at(&format!("GET {AT}"), &[TOKEN], b"").status, 200, "it may be read");
    assert_eq!(stands(), (11, 90));

    world.goes_on(10);
    let got = world.upload(&[TOKEN], &file(10, 250));
    assert_eq!(code(&got), (503, "paused"), "it is as wrong as it was: {got:?}");
    assert_eq!(stands(), (11, 190));
    world.goes_on(20);
    let got = world.upload(&[TOKEN], &file(10, 250));
    assert_eq!((got.status, &got.body["resumed_after_rows"]), (201, &200.into()), "{got:?}");
    assert_eq!(got.body["report"]["dead_letters"], 250);
    assert_eq!(stands(), (12, 250), "each row once, and the note at the end");
    let letters: Vec<DeadLetter> = world.facts(topics::DEAD_LETTERS);
    let ids: std::collections::BTreeSet<_> = letters.iter().map(|letter| letter.id).collect();
    assert_eq!(ids.len(), 250);
}

#[test]
fn a_producer_that_is_paused_by_what_it_has_pushed_uploads_nothing() {
    let world = World::shop("");
    let dead: String =
        (0..100).map(|n| format!("{{\"station\":\"s{n}\",\"v\":\"x\"}}\n")).collect();
    let headers = [LINES, TOKEN, ("prefer", "handling=lenient")];
    let got = world.ask("POST", "?source=air", &headers, dead.as_bytes());
    assert_eq!(code(&got), (503, "paused"), "{got:?}");
    let got = world.upload(&[TOKEN], &file(1, 0));
    assert_eq!(code(&got), (503, "paused"), "{got:?}");
    assert_eq!(world.count(topics::DATASETS_ROWS), 0);
    world.goes_on(10);
    assert_eq!(world.upload(&[TOKEN], &file(1, 0)).status, 201);
}

#[test]
fn who_uploads_slowly_leaves_seats_for_others() {
    let anyone = "[push]\nwithout_token = true\n";
    let world = World::of(new_log(), &format!("{anyone}{SHOP}{SET}{SOURCES}"), body::PATIENCE);
    let head = format!(
        "POST {AT} HTTP/1.1\r\nhost: localhost\r\n{}: {}\r\n{}: {}\r\ncontent-length: 1000\r\n\r\n",
        FORM.0, FORM.1, TOKEN.0, TOKEN.1
    );
    let (mut slow, until) = (Vec::new(), Instant::now() + Duration::from_secs(20));
    // Until two of them have a seat: one that comes while an upload has it is sent away.
    loop {
        let mut stream = TcpStream::connect(world.at).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        slow.push(stream);
        let got = world.upload(&[TOKEN], &file(slow.len(), 0));
        if code(&got) == (503, "busy") {
            break;
        }
        assert!(got.status == 201 && Instant::now() < until, "{got:?}");
    }
    let n = slow.len();
    assert_eq!(world.upload(&[], &file(n + 1, 0)).status, 201);
    drop(slow);
}

#[test]
fn rows_of_an_upload_are_paid_for() {
    let world = World::shop("per_second = 1\n");
    assert_eq!(world.upload(&[TOKEN], &file(300, 0)).status, 201, "a set of any size can pass");
    for got in [world.upload(&[TOKEN], &file(1, 0)), world.post(&[STRUCTURED, TOKEN], READING)] {
        assert_eq!(code(&got), (429, "rate"), "{got:?}");
        let after: u64 = got.headers["retry-after"].parse().unwrap();
        assert!((250..=300).contains(&after), "{got:?}");
    }
    assert_eq!(world.ask_at(&format!("GET {AT}"), &[TOKEN], b"").status, 200, "it may be read");
}
