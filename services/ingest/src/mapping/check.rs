//! Which keys a mapping needs for each event, and which mean nothing for it: a key that is not
//! read is a wish that is not granted.

use crate::settings::{EventKind, SourceConfig};

/// Keys that are needed and keys that may be given, for each event.
fn keys_of(event: EventKind) -> (&'static [&'static str], &'static [&'static str]) {
    match event {
        EventKind::Reading => {
            (&["subject", "time"], &["measure", "value", "unit", "averaging", "values", "place"])
        }
        EventKind::Listing => (
            &["listing", "price", "currency"],
            &["time", "title", "url", "seller", "search", "units_sold", "units_available"],
        ),
        EventKind::OrderRow => {
            (&["subject", "time", "price", "currency"], &["title", "order", "units"])
        }
        EventKind::DatasetRow => (&[], &["subject", "time"]),
    }
}

/// Keys of other events, which mean nothing for this one.
pub(crate) fn unread(event: EventKind) -> Vec<&'static str> {
    let others =
        [EventKind::Reading, EventKind::Listing, EventKind::OrderRow, EventKind::DatasetRow];
    let both = |event| -> Vec<&'static str> {
        let (needed, allowed) = keys_of(event);
        [needed, allowed].concat()
    };
    let read = both(event);
    others.into_iter().flat_map(both).filter(|key| !read.contains(key)).collect()
}

/// Refuses a mapping that lacks a key or has one too many.
pub(super) fn keys(event: EventKind, config: &SourceConfig) -> Result<(), String> {
    let given: [(&str, bool); 20] = [
        ("subject", config.subject.is_some()),
        ("place", config.place.is_some()),
        ("measure", config.measure.is_some()),
        ("value", config.value.is_some()),
        ("unit", config.unit.is_some()),
        ("averaging", config.averaging.is_some()),
        ("values", !config.values.is_empty()),
        ("listing", config.listing.is_some()),
        ("title", config.title.is_some()),
        ("url", config.url.is_some()),
        ("seller", config.seller.is_some()),
        ("search", config.search.is_some()),
        ("order", config.order.is_some()),
        ("price", config.price.is_some()),
        ("currency", config.currency.is_some()),
        ("units", config.units.is_some()),
        ("units_sold", config.units_sold.is_some()),
        ("units_available", config.units_available.is_some()),
        ("time", config.time.is_some()),
        ("id", config.id.is_some()),
    ];
    let (needed, allowed) = keys_of(event);
    let list = |keys: &[&str]| keys.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
    // What an answer says is so when it comes, if nothing is said.
    let needs_time = event != EventKind::Reading || !config.is_polled();
    for key in needed.iter().copied().filter(|key| *key != "time" || needs_time) {
        if !given.contains(&(key, true)) {
            return Err(format!("`{key}` is missing; this event needs {}", list(needed)));
        }
    }
    for (key, is_given) in given {
        if is_given && key != "id" && !needed.contains(&key) && !allowed.contains(&key) {
            let all = [needed, allowed].concat();
            return Err(format!("`{key}` means nothing for this event; allowed: {}", list(&all)));
        }
    }
    let single = config.measure.is_some() && config.value.is_some();
    let half = config.measure.is_some() != config.value.is_some();
    if event == EventKind::Reading && (half || single != config.values.is_empty()) {
        return Err("give either `measure` and `value`, or `[[sources.values]]`, not both".into());
    }
    Ok(())
}
