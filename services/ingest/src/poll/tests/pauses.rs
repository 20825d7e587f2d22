//! A source of which most is dead is paused, and goes on when somebody says so.

use super::*;

/// Three hundred rows, of which the first 250 have no price.
fn mostly_dead() -> Reply {
    let row = |i: usize| match i {
        0..250 => format!("{{\"id\":\"{i}\"}}"),
        _ => format!("{{\"id\":\"{i}\",\"price\":1}}"),
    };
    let rows: Vec<String> = (0..300).map(row).collect();
    Reply::json(format!("{{\"items\":[{}]}}", rows.join(",")))
}

/// Whether it was asked in this turn, what is there after it, and what was told of pauses so far.
type Stood = (bool, usize, usize, Vec<bool>);

/// Turns until it was asked, or is at rest for a while.
fn stand(world: &World, poller: &mut Poller, desk: &mut Desk) -> Stood {
    let before = world.server.asked().len();
    world.pass(LOOK_EVERY);
    for _ in 0..2 {
        poller.turn(desk, &|| true).unwrap();
    }
    let is_asked = world.server.asked().len() > before;
    (is_asked, world.listings().len(), world.letters().len(), world.told.lock().unwrap().clone())
}

#[test]
fn a_source_of_dead_rows_is_paused_and_not_asked_until_it_is_resumed() {
    let world = World::new("");
    world.server.script("/items", [mostly_dead()]);
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    assert_eq!(stand(&world, &mut poller, &mut desk), (true, 0, 100, vec![false, true]));
    let asked = world.asked();
    assert!(asked.error.contains("100 of the last 100 rows"), "{}", asked.error);
    let found = crate::pause::find(&*world.log, &Whom::source(&poller.config)).unwrap().unwrap();
    assert_eq!(found.file, format!("{}/items?q=lego", world.server.url()));

    world.pass(Duration::from_hours(1));
    assert_eq!(stand(&world, &mut poller, &mut desk), (false, 0, 100, vec![false, true]));
    // A restart alone changes nothing.
    let (mut poller, mut desk) = (world.poller(), poller.open().unwrap());
    assert_eq!(stand(&world, &mut poller, &mut desk), (false, 0, 100, vec![false, true, true]));

    let resume = |poller: &Poller| {
        let now = Micros(world.clock.load(Ordering::Relaxed));
        let whom = Whom::source(&poller.config);
        let resumed = crate::pause::resume(&*world.log, &whom, ("me", now)).unwrap();
        assert!(resumed.is_some());
        world.told.lock().unwrap().clear();
    };
    resume(&poller);
    let stood = stand(&world, &mut poller, &mut desk);
    assert_eq!(stood, (true, 0, 200, vec![false, true]), "a hundred more");
    resume(&poller);
    let stood = stand(&world, &mut poller, &mut desk);
    assert_eq!(stood, (true, 50, 250, vec![false]), "to the end");
    assert_eq!(world.asked().error, "");
    world.check_ledger();
}

/// The same source has a folder, and what came there was mostly dead.
#[test]
fn a_source_that_was_paused_by_whoever_else_reads_it_is_not_asked_either() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    assert!(stand(&world, &mut poller, &mut desk).0);
    let (whom, log) = (Whom::source(&poller.config), &*world.log);
    let pause = whom.pause(("too many".to_owned(), "a.csv"), MORNING);
    let mut work = Transaction::default();
    let topic = work.register(cursor::TOPIC, log.partitions(cursor::TOPIC).unwrap());
    whom.write(&pause, &mut work, topic).unwrap();
    log.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
    world.pass(Duration::from_hours(1));
    let stood = stand(&world, &mut poller, &mut desk);
    assert_eq!((stood.0, stood.3), (false, vec![false, true]), "it is told, and not asked");
    assert!(crate::pause::resume(log, &whom, ("me", MORNING)).unwrap().is_some());
    assert!(stand(&world, &mut poller, &mut desk).0, "and it goes on");
}

#[test]
fn a_paused_source_goes_on_as_it_is_configured_otherwise() {
    let world = World::new("");
    world.server.script("/items", [mostly_dead()]);
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    assert_eq!(stand(&world, &mut poller, &mut desk).2, 100);
    let world = World { more: "pause_above = \"100%\"\n".into(), ..world };
    let (mut poller, mut desk) = (world.poller(), world.poller().open().unwrap());
    let stood = stand(&world, &mut poller, &mut desk);
    assert_eq!(stood, (true, 50, 250, vec![false, true, false]));
}
