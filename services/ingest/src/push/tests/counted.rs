//! What is counted of a producer is what the log holds: each event is one thing, and one that comes
//! again with its key is filtered.

use super::*;
use std::collections::HashSet;

const LENIENT: (&str, &str) = ("prefer", "handling=lenient");
const TWO: &str = "[[producers]]\nname = \"shop\"\ntoken_sha256 = \"HASH\"\nevents = [\"order-row\"]\n\
    [push]\nwithout_token = true\n";

impl World {
    /// What became of the events of a producer: processed, filtered, dead.
    fn outcomes(&self, source: &str) -> [u64; 3] {
        let text = self.metrics.encode();
        ["processed", "filtered", "dead"].map(|outcome| {
            let line =
                format!("tocsin_source_rows_total{{source=\"{source}\",outcome=\"{outcome}\"}} ");
            let found = text.lines().find_map(|found| found.strip_prefix(&*line)?.parse().ok());
            found.unwrap_or(0)
        })
    }

    fn records(&self) -> u64 {
        let text = self.metrics.encode();
        let line = "tocsin_records_total{service=\"push\"} ";
        text.lines().find_map(|found| found.strip_prefix(line)?.parse().ok()).unwrap_or(0)
    }
}

fn orders(units: impl Iterator<Item = i64>) -> String {
    units.map(|units| ORDER.replace("\"units\":2", &format!("\"units\":{units}")) + "\n").collect()
}

#[test]
fn every_event_is_one_thing_and_the_log_holds_what_is_counted() {
    let world = World::new(TWO);
    let push = |headers: &[(&str, &str)], body: &str| {
        world.ask("POST", "?source=orders", &[&[LINES], headers].concat(), body.as_bytes()).status
    };
    let half_bad =
        format!("{}{{\"units\":1}}\n{{\"units\":2,\"sku\":1}}\n", orders([1, 2, 0].into_iter()));
    let key = ("idempotency-key", "one");
    assert_eq!(push(&[TOKEN, LENIENT, key], &half_bad), 202);
    assert_eq!(world.outcomes("push:shop"), [2, 1, 2]);
    // Known by its key, refused as a whole, and with nothing in it to be written.
    assert_eq!(push(&[TOKEN, LENIENT, key], &half_bad), 202);
    assert_eq!(world.outcomes("push:shop"), [2, 6, 2]);
    assert_eq!(push(&[TOKEN], &half_bad), 422);
    assert_eq!(push(&[TOKEN], &orders([0, 0].into_iter())), 202);
    assert_eq!(world.outcomes("push:shop"), [2, 8, 2]);
    assert_eq!(push(&[], &orders([3].into_iter())), 202);
    assert_eq!(world.outcomes("push:anyone"), [1, 0, 0]);
    assert_eq!(world.records(), 13, "the sum of both");
    let held = (world.count(topics::ORDERS_ROWS), world.count(topics::DEAD_LETTERS));
    assert_eq!(held, (3, 2));
}

#[test]
fn of_a_producer_that_is_paused_only_what_is_written_counts() {
    let world = World::new(TWO);
    let bad: String = (0..500).map(|n| format!("{{\"units\":1,\"n\":{n}}}\n")).collect();
    let got = world.ask("POST", "?source=orders", &[LINES, TOKEN, LENIENT], bad.as_bytes());
    assert_eq!(got.status, 503);
    let held = world.facts::<DeadLetter>(topics::DEAD_LETTERS);
    let ids: HashSet<Id> = held.iter().map(|letter| letter.id).collect();
    assert_eq!(world.outcomes("push:shop"), [0, 0, ids.len() as u64]);
    assert!(held.len() == 100, "{}", held.len());
}

#[test]
fn what_is_written_although_nobody_said_so_is_counted_once() {
    for fault in [Fault::Busy, Fault::Abort, Fault::LostAnswer, Fault::LostRequest] {
        let world = World::new(TWO);
        let mut commits = 0;
        world.log.fail_commits(move |_| {
            commits += 1;
            (commits == 1).then_some(fault)
        });
        let body = orders(1..4);
        let got = world.ask("POST", "?source=orders", &[LINES, TOKEN], body.as_bytes());
        assert_eq!(got.status, 202, "{fault:?}");
        assert_eq!(world.outcomes("push:shop"), [3, 0, 0], "{fault:?}");
        assert_eq!(world.count(topics::ORDERS_ROWS), 3, "{fault:?}");
    }
}
