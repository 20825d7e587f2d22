//! Searches that watches ask for: shared, asked as often as the most impatient wants, forgotten.

use super::*;

#[test]
fn a_search_that_is_asked_no_longer_is_forgotten() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    world.settle();
    let mut poller = world.poller();
    poller.polling.searches = vec![("duplo".to_owned(), Duration::from_mins(10))];
    let mut desk = poller.open().unwrap();
    poller.turn(&mut desk, &|| true).unwrap();
    for key in [Asked::key("default", "shop", "lego"), Seen::key("default", "shop", "lego", 0)] {
        let all = world.values(cursor::TOPIC);
        let last = all.iter().rev().find(|(found, _)| found == key.as_bytes()).unwrap();
        assert!(last.1.is_empty(), "{key}");
    }
    assert_eq!((world.server.asked().len(), world.quota().calls), (2, 2));
}

/// The word of somebody's watch: it asks the shop for duplo, or it is ended.
fn duplo(who: u64, every: Option<u64>, active: bool) -> Watch {
    let ask = Ask { source: "shop".into(), search: "duplo".into(), every };
    let (subscriber, condition) = (Id::of("s", &[&who.to_be_bytes()]), Id::of("c", &[]));
    Watch {
        id: Watch::id_of("default", subscriber, condition, "*", "email", Some(&ask)),
        tenant: "default".into(),
        subscriber,
        condition,
        subject: "*".into(),
        channel: "email".into(),
        schedule: "at-once".into(),
        on: Vec::new(),
        active,
        created_at: MORNING,
        asks: Some(ask),
    }
}

impl World {
    fn publish(&self, watches: impl IntoIterator<Item = Watch>) {
        let mut transaction = Transaction::default();
        let topic = transaction.register(WATCHES, self.log.partitions(WATCHES).unwrap());
        for watch in watches {
            let key = watch.key();
            let builder = transaction.to(topic, key.as_bytes());
            builder.push_with(key.as_bytes(), |out| wire::write(&watch, out));
        }
        let spec = WorkerSpec { id: "w".into(), ..WorkerSpec::default() };
        self.log.worker(&spec).unwrap().commit(&mut transaction).unwrap();
    }

    /// How often the server is asked for duplo in the next `minutes`.
    fn calls(&self, poller: &mut Poller, desk: &mut Desk, minutes: u64) -> usize {
        let duplo =
            || self.server.asked().iter().filter(|asked| asked.query("q") == Some("duplo")).count();
        let (before, now) = (duplo(), Micros(self.clock.load(Ordering::Relaxed)));
        let end = now.plus(Duration::from_mins(minutes));
        loop {
            let wait = poller.turn(desk, &|| true).unwrap();
            let left = end.since(Micros(self.clock.load(Ordering::Relaxed)));
            if left.is_zero() {
                return duplo() - before;
            }
            self.pass(wait.min(left).max(Duration::from_millis(1)));
        }
    }

    /// What the log says of the search for duplo.
    fn duplo(&self) -> Option<Asked> {
        let key = Asked::key("default", "shop", "duplo").into_bytes();
        let all = self.values(cursor::TOPIC);
        let (_, last) = all.iter().rev().find(|(found, _)| *found == key)?;
        serde_json::from_slice(last).ok()
    }
}

#[test]
fn a_search_of_a_thousand_watches_is_asked_once_an_interval_as_long_as_one_stands() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    let mut poller = world.poller();
    let rate = Rate::of(poller.config.pause_above.as_deref()).unwrap();
    let mut desk = Desk::open(&poller.office, &poller.config, &poller.polling, rate).unwrap();
    let mut hour = |desk: &mut Desk| world.calls(&mut poller, desk, 59);
    assert_eq!(hour(&mut desk), 0, "nobody asks yet");

    world.publish((0..1_000).map(|who| duplo(who, (who > 0).then_some(1_800), true)));
    assert_eq!(hour(&mut desk), 6, "every ten minutes, as the source says");
    world.publish([duplo(7, Some(300), true)]);
    assert_eq!(hour(&mut desk), 12, "every five, as the most impatient wants");
    world.publish([duplo(0, None, false), duplo(7, Some(300), false)]);
    assert!((2..=3).contains(&hour(&mut desk)), "every thirty, as those who are left want");

    world.publish((0..1_000).map(|who| duplo(who, Some(1_800), who == 999)));
    assert!((1..=2).contains(&hour(&mut desk)), "one is enough");
    assert!(world.duplo().is_some());
    world.publish([duplo(999, Some(1_800), false)]);
    assert_eq!(hour(&mut desk), 0, "nobody asks any more");
    assert!(world.duplo().is_none(), "and it is forgotten");
    world.check_ledger();
}

#[test]
fn watches_are_known_after_a_restart_and_those_that_ended_meanwhile_are_forgotten() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    world.publish([duplo(1, None, true)]);
    world.settle();
    world.settle();
    assert_eq!((world.server.asked().len(), world.duplo().unwrap().every), (2, 600));
    world.publish([duplo(1, None, false)]);
    world.settle();
    assert!(world.duplo().is_none());
    assert_eq!(world.server.asked().len(), 2);
}
