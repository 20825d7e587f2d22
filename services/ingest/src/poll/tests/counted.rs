//! What is counted of a source that is asked is what the log holds, whatever it answers.

use super::*;
use crate::tally::Tally;

/// What was counted, and in how many goes.
type Counted = Arc<Mutex<Vec<Tally>>>;

fn counting(poller: &mut Poller) -> Counted {
    let counted = Counted::default();
    let to = counted.clone();
    poller.office.tell = Arc::new(move |news| {
        if let News::Rows(source, tally) = news {
            assert_eq!(source, "shop");
            to.lock().unwrap().push(tally);
        }
    });
    counted
}

fn sum(counted: &Counted) -> Tally {
    counted.lock().unwrap().iter().fold(Tally::default(), |all, one| all.plus(*one))
}

/// Rows, and of them what is processed, filtered and dead.
fn shown(tally: Tally) -> (u64, [u64; 3]) {
    (tally.rows, tally.outcomes().map(|(_, count)| count))
}

#[test]
fn every_row_is_one_thing_and_one_that_says_nothing_new_is_filtered() {
    let world = World::new("only = [{ field = \"{id}\", not_equals = \"out\" }]\n");
    let items = |items: &str| Reply::json(format!("{{\"items\":[{items}]}}"));
    let (a, out, dead) = (r#"{"id":"a","price":1}"#, r#"{"id":"out","price":1}"#, r#"{"id":"c"}"#);
    let replies = [
        items(&format!("{a},{out},{dead}")),
        // All of it was there, but for one row.
        items(&format!("{a},{out},{dead},{}", r#"{"id":"b","price":2}"#)),
        // A page for people is one thing that cannot be read, and then one that says nothing new.
        Reply::json("<html>"),
        Reply::json("<html>"),
        Reply::status(500, "down"),
    ];
    world.server.script("/items", replies);
    let mut poller = world.poller();
    let counted = counting(&mut poller);
    let mut desk = poller.open().unwrap();
    for wanted in [
        (3, [1, 1, 1]),
        (7, [2, 4, 1]),
        (8, [2, 4, 2]),
        (9, [2, 5, 2]),
        // It was down, and then answers as it did at first.
        (12, [2, 8, 2]),
    ] {
        poller.turn(&mut desk, &|| true).unwrap();
        world.pass(Duration::from_mins(30));
        if wanted.0 == 12 {
            world.server.script("/items", [items(&format!("{a},{out},{dead}"))]);
            poller.turn(&mut desk, &|| true).unwrap();
        }
        assert_eq!(shown(sum(&counted)), wanted);
    }
    let (events, letters) = (world.listings().len() as u64, world.letters().len() as u64);
    assert_eq!(shown(sum(&counted)).1, [events, 8, letters]);
}

#[test]
fn what_is_not_committed_is_not_counted() {
    for fault in [Fault::Busy, Fault::Abort, Fault::LostRequest] {
        for failing in 1..=6 {
            let world = World::new("");
            world.server.script("/items", [Reply::json(ONE)]);
            let mut poller = world.poller();
            let (counted, mut commits) = (counting(&mut poller), 0);
            world.log.fail_commits(move |_| {
                commits += 1;
                (commits == failing).then_some(fault)
            });
            while sum(&counted).rows == 0 {
                if let Ok(mut desk) = poller.open() {
                    // It begins anew after a commit that has failed.
                    let _ = poller.turn(&mut desk, &|| true);
                }
                world.pass(Duration::from_mins(10));
            }
            let all = (shown(sum(&counted)), world.listings().len());
            assert_eq!(all, ((2, [2, 0, 0]), 2), "{fault:?} {failing}");
        }
    }
}
