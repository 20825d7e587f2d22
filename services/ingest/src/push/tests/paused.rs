//! A producer whose events are mostly dead letters is paused before it floods; what is refused whole
//! floods nothing, and pauses nobody.

use super::*;
use crate::cursor;
use crate::pause;
use tocsin_domain::upstream::Pause;

const LENIENT: (&str, &str) = ("prefer", "handling=lenient");
const TWO: &str = "[[producers]]\nname = \"shop\"\ntoken_sha256 = \"HASH\"\nevents = [\"reading\"]\n\
    [push]\nwithout_token = true\n";

/// Lines for the source `air`; these many can be read, the rest cannot.
fn lines(good: usize, bad: usize) -> String {
    let good =
        (0..good).map(|n| format!("{{\"station\":\"s{n}\",\"v\":1,\"t\":\"2024-05-01\"}}\n"));
    let bad = (0..bad).map(|n| format!("{{\"station\":\"s{n}\",\"v\":\"x{n}\"}}\n"));
    good.chain(bad).collect()
}

impl World {
    fn air(&self, headers: &[(&str, &str)], body: &str) -> Got {
        self.ask("POST", "?source=air", &[&[LINES], headers].concat(), body.as_bytes())
    }

    fn stands(&self) -> (usize, usize) {
        (self.count(topics::AQI_READINGS), self.count(topics::DEAD_LETTERS))
    }

    fn pauses(&self) -> Vec<Pause> {
        self.values(cursor::TOPIC).iter().map(|v| serde_json::from_slice(v).unwrap()).collect()
    }

    fn resume(&self, now: Micros) {
        let whom = self.guards[0].whom();
        assert!(pause::resume(&*self.log, whom, ("me", now)).unwrap().is_some());
        self.guards[0].look(&*self.log, now).unwrap();
    }
}

#[test]
fn a_producer_of_dead_letters_is_paused_before_it_floods_and_others_are_not() {
    let world = World::new(TWO);
    let key = ("idempotency-key", "one");
    assert_eq!(world.air(&[TOKEN, LENIENT], &lines(20, 20)).status, 202);
    assert_eq!(world.stands(), (20, 20));
    let got = world.air(&[TOKEN, LENIENT, key], &lines(5, 2_000));
    assert_eq!((got.status, &got.body["code"]), (503, &"paused".into()), "{got:?}");
    assert_eq!(got.headers["retry-after"], "30");
    let detail = got.body["detail"].as_str().unwrap();
    for part in ["of the last 100 rows could not be read", "`tocsin dlq resume push:shop`"] {
        assert!(detail.contains(part), "{detail}");
    }
    assert_eq!(world.stands(), (20, 75), "its dead letters up to there, and none of its events");
    let pauses = world.pauses();
    assert_eq!((pauses.len(), pauses[0].file.as_str()), (1, "POST /v1/events"));

    for headers in [&[TOKEN, LENIENT][..], &[TOKEN]] {
        let got = world.air(headers, &lines(1, 0));
        assert_eq!((got.status, &got.body["code"]), (503, &"paused".into()), "{got:?}");
    }
    assert_eq!(world.air(&[LENIENT], &lines(1, 0)).status, 202, "another producer");
    assert_eq!(world.stands(), (21, 75));
    assert!(world.metrics.encode().contains("tocsin_push_refused_total{reason=\"paused\"} 3"));

    // A restart alone changes nothing; the same key is taken once it goes on.
    let log = world.log.clone();
    drop(world);
    let world = World::on(log.clone(), TWO);
    assert_eq!(world.air(&[TOKEN], &lines(1, 0)).status, 503);
    world.resume(NOW.plus(Duration::from_secs(9)));
    assert_eq!(world.air(&[TOKEN, LENIENT, key], &lines(5, 2)).status, 202);
    assert_eq!(world.stands(), (26, 77));
    drop(world);
    let world = World::on(log, TWO);
    assert_eq!(world.air(&[TOKEN], &lines(1, 0)).status, 202);
}

#[test]
fn another_process_hears_of_a_pause_and_another_configuration_ends_it() {
    let code = |got: Got| got.body["code"].as_str().unwrap_or("taken").to_owned();
    let second = World::new(TWO);
    let world = World::on(second.log.clone(), TWO);
    assert_eq!(code(world.air(&[TOKEN, LENIENT], &lines(0, 100))), "paused");
    second.guards[0].look(&*second.log, NOW.plus(Duration::from_secs(9))).unwrap();
    assert_eq!(code(second.air(&[TOKEN], &lines(1, 0))), "paused");
    for (from, to) in [
        ("events =", "pause_above = \"90%\"\nevents ="),
        ("[push]", "[push]\npause_above = \"100%\""),
    ] {
        let changed = World::on(world.log.clone(), &TWO.replace(from, to));
        assert_eq!(changed.air(&[TOKEN], &lines(1, 0)).status, 202, "{to}");
    }
}

#[test]
fn what_is_refused_whole_pauses_nobody_and_all_may_be_dead_where_that_is_said() {
    let world = World::new(TWO);
    for _ in 0..5 {
        assert_eq!(world.air(&[TOKEN], &lines(0, 500)).status, 422);
    }
    assert_eq!(world.air(&[TOKEN], &lines(1, 0)).status, 202);
    assert_eq!((world.stands(), world.pauses()), ((1, 0), vec![]));
    let all = World::new(&TWO.replace("[push]", "[push]\npause_above = \"100%\""));
    assert_eq!(all.air(&[TOKEN, LENIENT], &lines(0, 500)).status, 202);
    assert_eq!(all.stands(), (0, 500));
}

#[test]
fn a_pause_that_cannot_be_written_is_no_answer() {
    let world = World::new(TWO);
    world.log.fail_commits(|_| Some(Fault::Busy));
    let got = world.air(&[TOKEN, LENIENT], &lines(0, 200));
    assert_eq!((got.status, &got.body["code"]), (503, &"log".into()), "{got:?}");
}
