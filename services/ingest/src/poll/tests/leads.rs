//! Where an answer leads: no secret goes there or into the log, and nothing inside is asked.

use super::*;

#[test]
fn a_secret_goes_to_the_upstream_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let archive = format!("archive = {:?}\n", directory.path().display().to_string());
    let world = World::new(&format!("{archive}token = \"secret77\"\nauth = \"query key\"\n"));
    let mut turn = 0;
    world.server.on("/items", move |asked| {
        turn += 1;
        match turn {
            1 => Reply::status(500, &format!("cannot answer {}", asked.target)),
            2 => Reply::to(&format!("/items?key={}&q=lego", asked.query("key").unwrap_or("?"))),
            _ => Reply::json(ONE),
        }
    });
    world.settle();
    assert_eq!(world.listings(), BOTH);
    let asked = world.server.asked();
    assert!(asked.iter().all(|one| one.target.matches("key=secret77").count() == 1), "{asked:?}");
    for topic in [MARKET_LISTINGS, cursor::TOPIC, DEAD_LETTERS] {
        for (_, value) in world.values(topic) {
            assert!(!String::from_utf8_lossy(&value).contains("secret77"), "{topic}");
        }
    }
    let lines = std::fs::read_to_string(directory.path().join("2023-11-15.jsonl")).unwrap();
    assert_eq!((lines.lines().count(), lines.contains("secret77")), (3, false), "{lines}");
    assert!(lines.contains("/items?q=lego\",\"status\":200"), "{lines}");
}

/// A row of a name, another one that nobody can read, and where the next page is.
fn page_with(name: &str, next: &str) -> Reply {
    let items = format!("[{{\"id\":\"{name}\",\"price\":1}},{{\"id\":\"not-{name}\"}}]");
    Reply::json(format!("{{\"items\":{items},\"next\":\"{next}\"}}"))
}

#[test]
fn a_next_page_that_repeats_the_secret_does_not_bring_it_into_the_log() {
    for (auth, repeated) in [("query key", "key"), ("header x-key", "access_token")] {
        let directory = tempfile::tempdir().unwrap();
        let archive = format!("archive = {:?}\n", directory.path().display().to_string());
        let token = "token = \"secret/7 7\"\n";
        let world = World::new(&format!("{archive}{token}auth = \"{auth}\"\n"));
        let mut turn = 0;
        world.server.on("/items", move |_| {
            turn += 1;
            match turn {
                1 => page_with("a", &format!("/items?{repeated}=secret%2f7+7&q=lego&p=2")),
                2 => page_with("b", &format!("?q=lego&p=3&{repeated}=secret%2F7%207")),
                _ => Reply::status(500, &format!("no ?{repeated}=secret%2F7+7&q=lego")),
            }
        });
        let mut poller = world.poller();
        let mut desk = poller.open().unwrap();
        poller.turn(&mut desk, &|| true).unwrap();
        assert_eq!((world.listings().len(), world.letters().len()), (2, 2), "{auth}");
        let targets: Vec<String> = world.server.asked().into_iter().map(|one| one.target).collect();
        let sent = |target: &String| target.matches(&format!("{repeated}=")).count();
        assert_eq!(
            targets.iter().map(sent).collect::<Vec<_>>(),
            if auth == "query key" { [1; 3] } else { [0, 1, 1] }
        );
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("secret");
        for topic in [MARKET_LISTINGS, cursor::TOPIC, DEAD_LETTERS] {
            assert!(!world.values(topic).iter().any(|(_, value)| shown(value)), "{auth} {topic}");
        }
        let lines = std::fs::read(directory.path().join("2023-11-15.jsonl")).unwrap();
        assert!(!shown(&lines), "{auth}: {}", String::from_utf8_lossy(&lines));
        let error = world.asked().error;
        assert!(error.contains(&format!("no ?{repeated}=***&q=lego")), "{error}");
    }
}

#[test]
fn pages_that_no_credentials_may_go_to_are_told_to_be_missing() {
    let world = World::new("token = \"secret\"\n");
    world.server.script("/items", [page_with("a", "http://127.0.0.2/items?p=2"), Reply::json(ONE)]);
    world.settle();
    let asked = world.asked();
    let wanted = "as its `next` leads to 127.0.0.2, and credentials go to no other host";
    assert!(asked.warning.contains(wanted), "{}", asked.warning);
    assert_eq!((world.listings().len(), asked.error.as_str()), (1, ""));
    world.pass(Duration::from_mins(10));
    world.settle();
    assert_eq!((world.asked().warning.as_str(), world.server.asked().len()), ("", 2));
    world.check_ledger();
}

#[test]
fn an_answer_leads_to_no_address_inside() {
    for (inside, wanted) in [
        ("localhost", "localhost is at "),
        ("LOCALHOST", "localhost is at "),
        ("127.0.0.2", "127.0.0.2 is at 127.0.0.2"),
        ("[::ffff:7f00:1]", "[::ffff:7f00:1] is at ::ffff:127.0.0.1"),
        ("0.0.0.0", "0.0.0.0 is at 0.0.0.0"),
        ("169.254.169.254", "169.254.169.254 is at 169.254.169.254"),
    ] {
        let world = World::new("");
        let port = world.server.url().rsplit_once(':').unwrap().1.to_owned();
        let there = format!("http://{inside}:{port}/items?p=2");
        world.server.script("/items", [page_with("a", &there), Reply::to(&there)]);
        for calls in [1, 2] {
            let mut poller = world.poller();
            let mut desk = poller.open().unwrap();
            poller.turn(&mut desk, &|| true).unwrap();
            let error = world.asked().error;
            assert!(error.contains(wanted) && error.contains("no public address"), "{error}");
            assert_eq!((world.listings().len(), world.server.asked().len()), (1, calls), "{there}");
            world.pass(Duration::from_hours(1));
        }
    }
}

#[test]
fn an_upstream_that_is_configured_inside_may_lead_to_another_port_of_its_host() {
    let (world, other) = (World::new(""), UpstreamServer::start().unwrap());
    let there = |path: &str| format!("{}{path}", other.url());
    world.server.script("/items", [page_with("a", &there("/items"))]);
    other.script("/items", [Reply::to(&there("/moved"))]);
    other.script("/moved", [Reply::json("{\"items\":[{\"id\":\"b\",\"price\":2}]}")]);
    world.settle();
    assert_eq!((world.listings().len(), other.asked().len()), (2, 2));
    assert_eq!(world.asked().error, "");
}
