//! Which searches a source is asked: those of its configuration and those of the watches that stand,
//! each once, as often as the most impatient wants it. It follows the watches; it asks nobody.

use super::settings::Polling;
use crate::settings::SourceConfig;
use crate::sources;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tocsin_domain::topics::WATCHES;
use tocsin_domain::watch::{Ask, Watch};
use tocsin_domain::wire::{self, SchemaIds, WireError};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_stream::{Log, LogError};

/// How long it is between two looks at the watches.
const LOOK: Duration = Duration::from_secs(2);

/// The watches that stand and ask one source.
#[derive(Debug, Default)]
pub(super) struct Asks {
    tenant: String,
    source: String,
    by_watch: HashMap<Box<[u8]>, Ask>,
    /// Where each partition of the watches goes on; empty before the first look.
    next: Vec<u64>,
    looked_at: Option<Micros>,
}

impl Asks {
    /// Nobody has asked `source` yet.
    pub fn new(tenant: &str, source: &str) -> Asks {
        Asks { tenant: tenant.to_owned(), source: source.to_owned(), ..Asks::default() }
    }

    /// Reads what was said about watches since the last look, if that was long enough ago; says
    /// whether anything may have changed.
    ///
    /// # Errors
    /// If the log does not answer, or no longer has what comes next.
    pub fn look(&mut self, log: &dyn Log, now: Micros) -> Result<bool, LogError> {
        // A clock that was set back does not keep it from looking.
        if self.looked_at.is_some_and(|last| last <= now && now.since(last) < LOOK) {
            return Ok(false);
        }
        if self.next.is_empty() {
            for number in 0..log.partitions(WATCHES)? {
                self.next.push(log.span(&TopicPartition::new(WATCHES, number))?.start);
            }
        }
        let (mut next, mut changed) = (std::mem::take(&mut self.next), false);
        for (at, number) in next.iter_mut().zip(0..) {
            let place = TopicPartition::new(WATCHES, number);
            *at = log.scan(&place, *at, |record| {
                let read = |value| wire::read_owned::<Watch>(value, &SchemaIds::default());
                changed |= self.hear(record.key, record.value.map(read).transpose());
                Ok::<(), LogError>(())
            })?;
        }
        self.next = next;
        self.looked_at = Some(now);
        Ok(changed)
    }

    /// Takes over the latest word about a watch. One that cannot be read leaves what was known.
    fn hear(&mut self, key: &[u8], watch: Result<Option<Watch>, WireError>) -> bool {
        match watch {
            Ok(watch) => self.set(key, watch),
            Err(error) => {
                let key = String::from_utf8_lossy(key);
                tracing::warn!(source = self.source, %key, %error, "a watch cannot be read");
                false
            }
        }
    }

    /// Takes over the latest word about the watch with this key; says whether it asks otherwise.
    fn set(&mut self, key: &[u8], watch: Option<Watch>) -> bool {
        let ask = watch
            .filter(|watch| watch.active && watch.tenant == self.tenant)
            .and_then(|watch| watch.asks)
            .filter(|ask| ask.source == self.source);
        if self.by_watch.get(key) == ask.as_ref() {
            return false;
        }
        match ask {
            Some(ask) => self.by_watch.insert(key.into(), ask),
            None => self.by_watch.remove(key),
        };
        true
    }

    /// Everything that is to be asked, each search once, and how often: as the most impatient wants.
    pub fn union(&self, polling: &Polling) -> BTreeMap<String, Duration> {
        let configured = polling.searches.iter().map(|(search, every)| (search.as_str(), *every));
        let watched = self
            .by_watch
            .values()
            .map(|ask| (ask.search.as_str(), ask.every.map_or(polling.every, Duration::from_secs)));
        let mut all: BTreeMap<String, Duration> = BTreeMap::new();
        for (search, every) in configured.chain(watched) {
            match all.get_mut(search) {
                Some(known) => *known = every.min(*known),
                None => drop(all.insert(search.to_owned(), every)),
            }
        }
        all
    }
}

/// Whether one of `configured` can be asked what `watch` wants, if it wants anything.
///
/// # Errors
/// If there is no such source, nobody asks it, or it cannot be asked that; says what to do.
pub fn check(configured: &[SourceConfig], watch: &Watch) -> Result<(), String> {
    let Some(Ask { source: name, search, .. }) = &watch.asks else { return Ok(()) };
    let Some(source) = configured.iter().find(|source| source.name == *name) else {
        let polled = configured.iter().filter(|source| source.is_polled());
        let names: Vec<&str> = polled.map(|source| source.name.as_str()).collect();
        let allowed = if names.is_empty() { "none" } else { &*names.join(", ") };
        return Err(format!("there is no source {name:?}; sources that are asked: {allowed}"));
    };
    if source.tenant() != watch.tenant {
        let (theirs, ours) = (source.tenant(), &watch.tenant);
        return Err(format!("source {name:?} is of tenant {theirs:?}, and the watch of {ours:?}"));
    }
    if !source.is_polled() {
        return Err(format!("source {name:?} is not asked: give it `every`, such as \"10m\""));
    }
    let Some(upstream) = sources::upstream(source)? else {
        return Err(format!("nobody can be asked for source {name:?} of kind `{}`", source.kind));
    };
    let fault = |fault| format!("source {name:?} cannot be asked for {search:?}: {fault}");
    upstream.first(search).map(drop).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::config;
    use tocsin_domain::Id;

    const SHOP: &str = "name = \"shop\"\nkind = \"http\"\nevent = \"listing\"\nlisting = \"{id}\"\n\
        price = \"1\"\ncurrency = \"EUR\"\naddress = \"http://u/?q={search}\"\n";

    fn polling() -> Polling {
        let text = format!("{SHOP}every = \"10m\"\nsearches = [\"lego\"]");
        config(&text).polling().unwrap().unwrap()
    }

    /// The word of one watch: whether it stands, and what it asks.
    fn watch(active: bool, asks: Option<(&str, &str, Option<u64>)>) -> Watch {
        let asks = asks.map(|(source, search, every)| Ask {
            source: source.into(),
            search: search.into(),
            every,
        });
        Watch {
            id: Id::of("watch", &[]),
            tenant: "default".into(),
            subscriber: Id::of("s", &[]),
            condition: Id::of("c", &[]),
            subject: "*".into(),
            channel: "email".into(),
            schedule: "at-once".into(),
            on: Vec::new(),
            active,
            created_at: Micros(0),
            asks,
        }
    }

    fn union(asks: &Asks) -> Vec<(String, u64)> {
        asks.union(&polling()).into_iter().map(|(text, every)| (text, every.as_secs())).collect()
    }

    #[test]
    fn a_thousand_watches_of_one_search_are_one_as_often_as_the_most_impatient_wants() {
        let mut asks = Asks::new("default", "shop");
        for number in 0..1_000_u64 {
            let every = (number != 7).then_some(900 - number % 600);
            let one = watch(true, Some(("shop", "duplo", every)));
            assert!(asks.set(&number.to_be_bytes(), Some(one)));
        }
        assert_eq!(union(&asks), [("duplo".into(), 301), ("lego".into(), 600)]);
        for number in (0..1_000_u64).filter(|number| *number != 7) {
            assert!(asks.set(&number.to_be_bytes(), None));
        }
        assert_eq!(union(&asks), [("duplo".into(), 600), ("lego".into(), 600)], "as the source");
        assert!(asks.set(&7_u64.to_be_bytes(), None));
        assert_eq!(union(&asks), [("lego".into(), 600)]);
    }

    #[test]
    fn the_latest_word_about_each_watch_counts() {
        let duplo = |every| Some(watch(true, Some(("shop", "duplo", every))));
        let other = Watch { tenant: "other".into(), ..duplo(None).unwrap() };
        for (words, changes, wanted) in [
            (vec![duplo(Some(60))], 1, vec![("duplo", 60), ("lego", 600)]),
            (vec![duplo(Some(60)), duplo(Some(60))], 1, vec![("duplo", 60), ("lego", 600)]),
            (vec![duplo(Some(60)), duplo(Some(90))], 2, vec![("duplo", 90), ("lego", 600)]),
            (
                vec![duplo(None), Some(watch(false, Some(("shop", "duplo", None))))],
                2,
                vec![("lego", 600)],
            ),
            (vec![duplo(None), None], 2, vec![("lego", 600)]),
            (vec![Some(watch(true, None))], 0, vec![("lego", 600)]),
            (vec![Some(watch(true, Some(("else", "duplo", None))))], 0, vec![("lego", 600)]),
            (vec![Some(other)], 0, vec![("lego", 600)]),
            (vec![Some(watch(true, Some(("shop", "lego", Some(30)))))], 1, vec![("lego", 30)]),
            (vec![Some(watch(true, Some(("shop", "lego", Some(3_600)))))], 1, vec![("lego", 600)]),
        ] {
            let mut asks = Asks::new("default", "shop");
            let told = format!("{words:?}");
            let changed = words.into_iter().filter(|word| asks.set(b"w", word.clone())).count();
            let found = union(&asks);
            let found: Vec<_> = found.iter().map(|(text, every)| (text.as_str(), *every)).collect();
            assert_eq!((found, changed), (wanted, changes), "{told}");
        }
    }

    #[test]
    fn a_watch_that_cannot_be_read_leaves_what_was_known() {
        let mut asks = Asks::new("default", "shop");
        asks.set(b"w", Some(watch(true, Some(("shop", "duplo", None)))));
        let read = wire::read_owned::<Watch>(b"what?", &SchemaIds::default());
        assert!(!asks.hear(b"w", read.map(Some)));
        assert_eq!(union(&asks).len(), 2);
    }

    #[test]
    fn what_nobody_can_be_asked_is_refused() {
        let polled = config(&format!("{SHOP}every = \"10m\""));
        let idle = config(&SHOP.replace("shop", "idle"));
        let theirs =
            config(&format!("{SHOP}every = \"10m\"\ntenant = \"other\"").replace("shop", "theirs"));
        let all = [polled, idle, theirs];
        let ask =
            |source: &str, search: &str| check(&all, &watch(true, Some((source, search, None))));
        assert_eq!(ask("shop", "lego"), Ok(()));
        assert_eq!(check(&[], &watch(true, None)), Ok(()));
        for (source, search, wanted) in [
            ("shoe", "lego", "no source \"shoe\"; sources that are asked: shop, theirs"),
            ("theirs", "lego", "is of tenant \"other\""),
            ("idle", "lego", "\"idle\" is not asked: give it `every`"),
            ("shop", "", "nothing to search for"),
        ] {
            let error = ask(source, search).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
