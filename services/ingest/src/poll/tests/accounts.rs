//! Who asks, and how often: no answer makes a poller ask on and on, and other credentials are tried
//! at once.

use super::tokens::Guarded;
use super::*;

impl World {
    /// The same log and server, asked by a process with another configuration.
    fn but(self, more: &str) -> World {
        World { more: more.to_owned(), ..self }
    }

    /// Turns for so long; gives how often the server was asked.
    fn watch(&self, poller: &mut Poller, minutes: u64) -> usize {
        let (before, mut desk) = (self.server.asked().len(), poller.open().unwrap());
        let end = Micros(self.clock.load(Ordering::Relaxed)).plus(Duration::from_mins(minutes));
        while Micros(self.clock.load(Ordering::Relaxed)) < end {
            let wait = poller.turn(&mut desk, &|| true).unwrap();
            self.pass(wait.min(Duration::from_secs(20)).max(Duration::from_millis(1)));
            let asked = self.server.asked().len() - before;
            assert!(asked < 500, "it is asked on and on");
        }
        self.server.asked().len() - before
    }
}

#[test]
fn who_wants_no_rest_is_left_alone_all_the_same() {
    for (status, after) in
        [(429, "0"), (429, "Sun, 06 Nov 1994 08:49:37 GMT"), (503, "0"), (429, "1")]
    {
        let world = World::new("");
        world.server.script("/items", [Reply::status(status, "no").with("Retry-After", after)]);
        let calls = world.watch(&mut world.poller(), 6 * 60);
        assert!((5..60).contains(&calls), "{status} {after}: {calls}");
        assert!(world.quota().failures >= 5);
        world.check_ledger();
    }
}

/// How often a token was handed out that is good for nothing, and items asked for, when each call
/// leads elsewhere so many times.
fn worthless(redirects: usize) -> (usize, usize) {
    let world = World::new("client_id = \"me\"\nsecret = \"pass\"\n");
    world.server.script("/token", [Reply::status(200, "t1")]);
    let mut turn = 0;
    world.server.on("/items", move |_| {
        turn += 1;
        let is_there = turn % (redirects + 1) == 0;
        if is_there { Reply::json(ONE) } else { Reply::to(&format!("/items?q=lego&n={turn}")) }
    });
    let mut poller = world.poller();
    poller.upstream = Arc::new(Guarded(world.server.url(), Duration::ZERO));
    world.watch(&mut poller, 55);
    assert_eq!(world.listings(), BOTH);
    world.check_ledger();
    (world.server.count("/token"), world.server.count("/items"))
}

#[test]
fn a_token_that_is_good_for_no_time_is_good_for_a_call_and_got_three_times_at_most() {
    assert_eq!(worthless(0), (6, 6));
    assert_eq!(worthless(5), (6 * 3, 6 * 6));
}

const KEY: &str = "auth = \"query key\"\n";

/// A source that is asked with this token, and a server that welcomes only `good`.
fn locked(token: &str) -> World {
    let world = World::new(&format!("{KEY}token = \"{token}\"\n"));
    world.server.on("/items", |asked| match asked.query("key") {
        Some("good") => Reply::json(ONE),
        _ => Reply::status(401, "who?"),
    });
    world
}

#[test]
fn a_token_that_was_corrected_is_tried_after_a_restart() {
    let world = locked("badbad");
    assert_eq!(world.watch(&mut world.poller(), 7 * 60 + 30), 8, "every hour");
    assert!(world.quota().failures >= 5);
    assert_eq!(world.watch(&mut world.poller(), 1), 0, "a restart changes nothing");
    let world = world.but(&format!("{KEY}token = \"good\"\n"));
    assert_eq!(world.watch(&mut world.poller(), 1), 1);
    assert_eq!(
        (world.listings(), world.asked().error.as_str()),
        (BOTH.map(str::to_owned).to_vec(), "")
    );
    for (_, value) in world.values(cursor::TOPIC) {
        let value = String::from_utf8_lossy(&value).into_owned();
        assert!(!value.contains("badbad") && !value.contains("good\""), "{value}");
    }
}

const ONE_KEY: &str = "auth = \"query key\"\ntoken = \"one\"\n";

#[test]
fn what_the_upstream_wants_holds_for_the_account() {
    let world = World::new(ONE_KEY);
    let refusal = Reply::status(429, "").with("Retry-After", "86400");
    world.server.script("/items", [refusal.clone(), refusal, Reply::json(ONE)]);
    assert_eq!(world.watch(&mut world.poller(), 60), 1);
    let world = world.but(&format!("{ONE_KEY}contact = \"a@example.org\"\n"));
    assert_eq!(world.watch(&mut world.poller(), 60), 0, "another configuration");
    let world = world.but(&ONE_KEY.replace("one", "two"));
    assert_eq!(world.watch(&mut world.poller(), 1), 1, "another account");
    assert_eq!(world.quota().spent, 2, "what was spent is counted");
}

#[test]
fn a_pause_that_was_guessed_ends_with_the_configuration_that_failed() {
    let world = World::new(ONE_KEY);
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    world.server.on("/items", move |_| match is_up.load(Ordering::Relaxed) {
        true => Reply::json(ONE),
        false => Reply::status(500, ""),
    });
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    let now = || Micros(world.clock.load(Ordering::Relaxed));
    let soon = Duration::from_secs(5);
    while desk.quota.failures < 8 || desk.quota.free_at.is_none_or(|at| at.since(now()) < soon) {
        let wait = poller.turn(&mut desk, &|| true).unwrap();
        world.pass(wait);
    }
    up.store(true, Ordering::Relaxed);
    let once = |world: &World| {
        let mut poller = world.poller();
        let mut desk = poller.open().unwrap();
        poller.turn(&mut desk, &|| true).unwrap();
        world.listings().len()
    };
    assert_eq!(once(&world), 0, "a restart changes nothing");
    let world = world.but(&format!("{ONE_KEY}contact = \"a@example.org\"\n"));
    assert_eq!(once(&world), 2);
}

#[test]
fn a_token_that_others_renew_is_read_again_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "good\n").unwrap();
    let world = World { more: format!("{KEY}token_file = {file:?}\n"), ..locked("") };
    let mut poller = world.poller();
    assert_eq!(world.watch(&mut poller, 25), 3);
    std::fs::write(&file, "over").unwrap();
    assert_eq!(world.watch(&mut poller, 25), 1, "refused, and left alone for an hour");
    assert!(world.asked().error.contains("401"), "{}", world.asked().error);
    std::fs::write(&file, "good").unwrap();
    assert_eq!(world.watch(&mut poller, 1), 1, "at once");
    assert_eq!(world.asked().error, "");
    world.check_ledger();
}
