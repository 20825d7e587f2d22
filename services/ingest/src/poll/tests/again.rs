//! A dead letter of an answer is read again to the very event that it would have been.

use super::*;
use crate::push::PushSettings;
use crate::redrive::{Around, Configured, Redriver};

/// All that an event says, but for its id and when it came.
fn said(value: &[u8]) -> String {
    let ids = SchemaIds::default();
    let event: Listing<'_> = wire::read(value, &ids).unwrap();
    let (id, arrival_time, event_time) = Default::default();
    format!("{:?}", Listing { id, arrival_time, event_time, ..event })
}

#[test]
fn what_comes_of_a_letter_says_by_which_search_it_was_found() {
    for (answer, corrected) in [
        // A row, and an answer as a whole.
        ("{\"items\":[{\"id\":\"a\",\"price\":\"1,5\"}]}", "decimal = \",\"\n"),
        ("{\"items\":{\"id\":\"a\",\"price\":\"1,5\"}}", "decimal = \",\"\nrows = \".items\"\n"),
    ] {
        let world = World::new("");
        world.server.script("/items", [Reply::json(answer)]);
        world.settle();
        let letters = world.letters();
        assert_eq!((letters.len(), letters[0].search.as_str()), (1, "lego"), "{corrected}");
        let address = format!("address = \"{}/items?q={{search}}\"\n", world.server.url());
        let without = SOURCE.replace("items = \"items\"", "");
        let source = if corrected.contains("rows") { &without } else { SOURCE };
        let sources = [config(&format!("{address}{corrected}{source}"))];
        let push = PushSettings::default();
        let configured = Configured { sources: &sources, datasets: &[], push: &push };
        let mut redriver = Redriver::new(configured).unwrap();
        let now = redriver.reread(&letters[0], Around::default()).unwrap();
        assert_eq!((&now.dead, now.events.len()), (&None, 1), "{corrected}");

        // The same by an answer that was right from the start.
        let good = World { more: "decimal = \",\"\n".to_owned(), log: World::new("").log, ..world };
        let answer = "{\"items\":[{\"id\":\"a\",\"price\":\"1,5\"}]}";
        good.server.script("/items", [Reply::json(answer)]);
        good.settle();
        let wanted = good.values(MARKET_LISTINGS);
        assert!(said(&wanted[0].1).contains("[\"lego\"]"), "{}", said(&wanted[0].1));
        let whole = |text: String| text.split(", origin:").next().map(str::to_owned);
        assert_eq!(whole(said(&now.events[0].value)), whole(said(&wanted[0].1)), "{corrected}");
        assert_eq!(now.events[0].key, wanted[0].0);
    }
}
