//! What comes of an event that was set aside: what would have come of it, had it been pushed to
//! today's configuration; or why it is still dead.

use super::*;
use crate::redrive::Outcome;

const OPEN: &str = "[push]\nwithout_token = true\n";
const SHOP: &str = "[[producers]]\nname = \"shop\"\ntoken_sha256 = \"HASH\"\n\
    events = [\"order-row\"]\nsubjects = [\"lego\"]\n";
/// What nobody maps yet, and an order whose day is written as the mapping does not know it.
const NEW: &str = r#"{"sku":"lego","price":{"value":"2","currency":"EUR"},"units":1}"#;
const DAY: &str =
    r#"{"sku":"lego","price":{"value":"19.99","currency":"EUR"},"units":2,"at":"01.05.2024"}"#;
const LENIENT: (&str, &str) = ("prefer", "handling=lenient");
const KEYED: (&str, &str) = ("idempotency-key", "k-1");

/// The same sources, corrected.
fn corrected() -> String {
    let known = "time = \"{at}\"\ntime_format = [\"%Y-%m-%d\", \"%d.%m.%Y\"]";
    let sources = SOURCES.replace("time = \"{at}\"", known);
    format!(
        "{sources}[[sources]]\nname = \"new\"\nkind = \"json-lines\"\nevent = \"order-row\"\n\
         type = \"com.acme.new\"\nsubject = \"{{sku}}\"\nprice = \"{{price.value}}\"\n\
         currency = \"{{price.currency}}\"\ntitle = \"{{ce.region}}\"\ntime = \"{{ce.time}}\"\n"
    )
}

fn again(text: &str, letter: &DeadLetter) -> Outcome {
    let (settings, sources, _) = configured(text);
    let (_, index) = letter.origin.rsplit_once('#').unwrap();
    Again::new(&settings, &sources).unwrap().reread(letter, index.parse().unwrap())
}

type Headers = Vec<(&'static str, &'static str)>;

/// Every way in which an event can come: headers, query and body.
fn ways() -> Vec<(Headers, &'static str, String)> {
    let new =
        |id: &str| event(id, "com.acme.new", NEW).replace("\"data\"", "\"region\":\"n\",\"data\"");
    let order = event("7", "com.acme.order", DAY);
    let binary = vec![
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "8"),
        ("ce-source", "/b"),
        ("ce-type", "com.acme.new"),
        ("ce-region", "s"),
        ("ce-time", "2024-05-01T12:00:00Z"),
    ];
    vec![
        (vec![STRUCTURED], "", new("1")),
        (vec![BATCH], "", format!("[{}, {order}, {}]", new("2"), new("3"))),
        (binary, "", NEW.to_owned()),
        (vec![JSON], "?source=orders", DAY.to_owned()),
        (vec![JSON], "?source=orders", format!("[{ORDER}, {DAY}, {DAY}]")),
        (vec![JSON, KEYED], "?source=orders", format!("[{ORDER}, {DAY}]")),
        (vec![LINES, KEYED], "?source=orders", format!("{DAY}\n\n{ORDER}\n{DAY}")),
        (vec![LINES], "?source=orders", format!("{ORDER}\n{DAY}")),
    ]
}

#[test]
fn what_comes_of_a_letter_is_what_would_have_come_of_its_push() {
    for (headers, query, body) in ways() {
        let push = |text: &str| {
            let world = World::of(new_log(), text, body::PATIENCE);
            let headers = [headers.as_slice(), &[LENIENT]].concat();
            let got = world.ask("POST", query, &headers, body.as_bytes());
            assert_eq!(got.status, 202, "{body}: {got:?}");
            world
        };
        let (before, now) = (format!("{OPEN}{SOURCES}"), format!("{OPEN}{}", corrected()));
        let (first, second) = (push(&before), push(&now));
        let letters: Vec<DeadLetter> = first.facts(topics::DEAD_LETTERS);
        assert!(!letters.is_empty() && second.count(topics::DEAD_LETTERS) == 0, "{body}");
        let mut events = first.values(topics::ORDERS_ROWS);
        for letter in &letters {
            let same = again(&before, letter);
            assert_eq!(same.dead.as_ref(), Some(&letter.reason), "nothing was corrected");
            let found = again(&now, letter);
            assert_eq!((found.dead.as_ref(), found.events.len()), (None, 1), "{letter:?}");
            assert_eq!(found.events[0].topic, topics::ORDERS_ROWS);
            events.extend(found.events.into_iter().map(|made| made.value));
        }
        let mut wanted = second.values(topics::ORDERS_ROWS);
        events.sort();
        wanted.sort();
        assert_eq!(events, wanted, "to the last byte: {body}");
    }
}

#[test]
fn who_has_pushed_it_may_do_so_today_or_it_stays_dead() {
    let world = World::on(new_log(), SHOP);
    let got = world.post(&[STRUCTURED, TOKEN, LENIENT], event("1", "com.acme.new", NEW));
    assert_eq!(got.status, 202, "{got:?}");
    let letter = &world.facts::<DeadLetter>(topics::DEAD_LETTERS)[0];
    let now = |shop: &str| format!("{shop}{}", corrected());
    let only = "[[sources.only]]\nfield = \"{units}\"\nabove = \"1\"\n";
    let left_out = format!("{}{only}", corrected());
    let old = DeadLetter { head: Vec::new(), ..letter.clone() };
    let odd = DeadLetter { head: b"{\"form\":\"x\"}".to_vec(), ..letter.clone() };
    for (text, letter, wanted) in [
        (now(SHOP), letter, ""),
        (format!("{SHOP}{SOURCES}"), letter, "nobody maps the type"),
        (now(&SHOP.replace("lego", "duplo")), letter, "may not push for the subject \"lego\""),
        (now(&SHOP.replace("order-row", "reading")), letter, "may not push a order-row"),
        (now(&SHOP.replace("\"shop\"", "\"store\"")), letter, "\"default/shop\" any more"),
        (now(&format!("{SHOP}tenant = \"other\"\n")), letter, "\"default/shop\" any more"),
        (now(OPEN), letter, "\"default/shop\" any more"),
        (now(SHOP), &old, "its producer sends it again"),
        (now(SHOP), &odd, "what it came with cannot be read"),
    ] {
        let found = again(&text, letter);
        match wanted {
            "" => assert_eq!((found.dead, found.events.len()), (None, 1), "{text}"),
            part => {
                let reason = found.dead.unwrap();
                assert!(reason.contains(part) && found.events.is_empty(), "{part}: {reason}");
            }
        }
    }
    let found = again(&format!("{SHOP}{left_out}"), letter);
    assert!(found.nothing.contains("leaves it out") && found.dead.is_none(), "{found:?}");
}
