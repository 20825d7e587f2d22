//! What was said before adds nothing, however much it is and in whatever order.

use super::*;

/// An answer with these rows.
fn rows(rows: impl Iterator<Item = (usize, u32)>) -> String {
    let row = |(id, price)| format!("{{\"id\":\"{id}\",\"price\":{price}}}");
    format!("{{\"items\":[{}]}}", rows.map(row).collect::<Vec<_>>().join(","))
}

impl World {
    /// Asks again, by a new process, when it is due; gives how many listings there are then.
    fn after(&self, minutes: u64) -> usize {
        self.pass(Duration::from_mins(minutes));
        self.settle();
        self.values(MARKET_LISTINGS).len()
    }
}

#[test]
fn of_a_large_answer_that_has_changed_only_what_is_new_is_written() {
    const ALL: usize = 60_000;
    let world = World::new("");
    let first = rows((0..ALL).map(|id| (id, 1)));
    let second = rows((0..=ALL).map(|id| (id, if id == 5 { 2 } else { 1 })));
    world.server.script("/items", [Reply::json(first), Reply::json(second)]);
    assert_eq!(world.after(0), ALL);
    let before = world.values(cursor::TOPIC);
    assert_eq!(world.after(10), ALL + 2);
    assert_eq!(world.after(10), ALL + 2, "the same bytes");
    let written = world.values(cursor::TOPIC).split_off(before.len());
    let bytes: usize = written.iter().map(|(_, value)| value.len()).sum();
    assert!(bytes < 30_000, "two changes took {bytes} bytes of the cursors");
    world.check_ledger();
}

#[test]
fn a_thing_of_which_an_answer_says_several_things_comes_once() {
    let world = World::new("");
    let pair = [(1, 5), (1, 6)];
    let turned = [(1, 6), (2, 1), (1, 5), (1, 6)];
    let more = pair.into_iter().chain([(2, 1), (3, 1)]);
    let answers = [rows(pair.into_iter()), rows(turned.into_iter()), rows(more)];
    world.server.script("/items", answers.map(Reply::json));
    assert_eq!((world.after(0), world.after(10), world.after(10)), (2, 3, 4));
}

#[test]
fn the_sheets_of_a_search_that_is_asked_no_longer_go_with_it() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(rows((0..20_000).map(|id| (id, 1))))]);
    world.settle();
    let mut poller = world.poller();
    poller.polling.searches.clear();
    poller.open().unwrap();
    let mut latest = std::collections::BTreeMap::new();
    latest.extend(world.values(cursor::TOPIC));
    let sheets = latest.iter().filter(|(key, _)| String::from_utf8_lossy(key).contains("/seen"));
    let lengths: Vec<usize> = sheets.map(|(_, value)| value.len()).collect();
    assert_eq!(lengths, [0; 20]);
}
