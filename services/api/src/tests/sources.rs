//! The sources that are asked, as a page and as JSON.

use super::*;
use tocsin_domain::upstream::{Asked, Pause, Quota};

/// How a source stands that is asked, as `ingest` commits it.
pub(super) fn asked(log: &dyn Log, transaction: &mut Transaction) {
    let quota = Quota {
        source: "shop".into(),
        budget: Some(50),
        day: "1970-01-01".into(),
        spent: 7,
        calls: 9,
        failures: 5,
        free_at: Some(Micros(9 * HOUR)),
        error: HOSTILE.into(),
        ..Quota::default()
    };
    let search = Asked {
        source: "shop".into(),
        search: HOSTILE.into(),
        every: 600,
        due_at: Some(Micros(1)),
        events: 3,
        warning: "a filter was ignored".into(),
        ..Asked::default()
    };
    // Another configuration has ended its pause.
    let goes_on = Quota { called_at: Some(Micros(2 * HOUR)), ..quota.clone() };
    let pause = Pause {
        at: Micros(HOUR),
        reason: HOSTILE.into(),
        file: String::new(),
        config: Id::default(),
        resumed: None,
    };
    let topic = topics::INGEST_CURSORS_CHANGELOG;
    let number = transaction.register(topic, log.partitions(topic).unwrap());
    for (key, value) in [
        (Quota::key("default", "shop"), serde_json::to_vec(&quota).unwrap()),
        (Asked::key("default", "shop", HOSTILE), serde_json::to_vec(&search).unwrap()),
        (Quota::key("other", "theirs"), serde_json::to_vec(&quota).unwrap()),
        (Quota::key("default", "goes-on"), serde_json::to_vec(&goes_on).unwrap()),
        (Pause::key("default", "shop"), serde_json::to_vec(&pause).unwrap()),
        (Pause::key("default", "goes-on"), serde_json::to_vec(&pause).unwrap()),
        ("default/shop//a/file.csv".to_owned(), b"{}".to_vec()),
    ] {
        transaction.to(number, key.as_bytes()).push(key.as_bytes(), Some(&value));
    }
}

#[test]
fn sources_show_what_was_spent_and_what_is_wrong() {
    let world = world();
    let app = App { clock: Arc::new(|| Micros(HOUR)), ..app(&world) };
    serve(app, |ask| {
        for _ in 0..2 {
            let json = ask("GET", "/api/v1/sources").json();
            assert_eq!(json["items"].as_array().unwrap().len(), 2, "{json}");
            let (goes_on, shop) = (&json["items"][0], &json["items"][1]);
            assert_eq!(
                (&goes_on["paused"], &shop["paused"]["reason"]),
                (&serde_json::Value::Null, &HOSTILE.into())
            );
            assert_eq!((&shop["source"], &shop["breaker"]), (&"shop".into(), &"open".into()));
            assert_eq!((&shop["spent"], &shop["left"]), (&7.into(), &43.into()));
            assert_eq!(shop["searches"][0]["events"], 3);
            assert_eq!(shop["searches"][0]["warning"], "a filter was ignored");
            assert_eq!(shop["searches"][0]["next_call_at"], shop["free_at"]);
        }
        let page = ask("GET", "/sources").body;
        assert!(page.contains("7 of 50 calls today") && page.contains("never answered"), "{page}");
        assert!(page.contains("Warning: a filter was ignored"), "{page}");
        assert_eq!(page.matches("Paused since").count(), 1, "{page}");
    });
}
