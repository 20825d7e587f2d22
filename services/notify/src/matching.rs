//! Meets alerts with watches: alerts in, one notice for each watch that asked for it out. Watches
//! are found by condition and subject, so those of other subjects cost nothing. It does not decide
//! whether, when or where to somebody is written; that is `deliver`.

use std::collections::{BTreeMap, HashMap};
use tocsin_domain::alert::Alert;
use tocsin_domain::condition::EVERY_SUBJECT;
use tocsin_domain::notice::Notice;
use tocsin_domain::watch::Watch;
use tocsin_domain::wire::{SchemaIds, read_owned};
use tocsin_domain::{Id, Micros, topics};
use tocsin_stream::state::Store;
use tocsin_stream::topology::{Scope, Table};
use tocsin_stream::{Effects, Poison, Record, Step, Topology};

/// What `match` reads and publishes.
pub fn topology() -> Topology {
    Topology {
        service: "match",
        does: "meets alerts with watches",
        inputs: vec![topics::ALERTS],
        tables: vec![Table { topic: topics::WATCHES, scope: Scope::Global }],
        changelog: None,
        outputs: vec![topics::NOTICES],
        foreign: None,
    }
}

/// Every watch that stands, by what it is about.
#[derive(Debug, Default)]
pub struct Watches {
    by_condition: HashMap<Id, Audience>,
    /// Where the watch with this key of the table is found.
    places: HashMap<Box<[u8]>, (Id, String, Id)>,
}

/// The watches of one condition by subject, [`EVERY_SUBJECT`] among them; in the order of their
/// ids, so that a replay publishes in the same order.
type Audience = HashMap<String, BTreeMap<Id, Watch>>;

impl Watches {
    /// Takes over the latest word about the watch with this key; `None` forgets it.
    pub fn set(&mut self, key: &[u8], watch: Option<Watch>) {
        if let Some(place) = self.places.remove(key) {
            self.forget(&place);
        }
        if let Some(watch) = watch.filter(|watch| watch.active) {
            let place = (watch.condition, watch.subject.clone(), watch.id);
            self.places.insert(key.into(), place);
            let audience = self.by_condition.entry(watch.condition).or_default();
            audience.entry(watch.subject.clone()).or_default().insert(watch.id, watch);
        }
    }

    fn forget(&mut self, (condition, subject, id): &(Id, String, Id)) {
        let Some(audience) = self.by_condition.get_mut(condition) else { return };
        if let Some(watches) = audience.get_mut(subject) {
            watches.remove(id);
            if watches.is_empty() {
                audience.remove(subject);
            }
        }
        if audience.is_empty() {
            self.by_condition.remove(condition);
        }
    }

    /// The watches that ask for this alert.
    pub fn asking_for<'a>(&'a self, alert: &'a Alert) -> impl Iterator<Item = &'a Watch> {
        let audience = self.by_condition.get(&alert.condition);
        // A subject that is called like the sign for every subject must not be told twice.
        let exact = (alert.subject != EVERY_SUBJECT).then_some(alert.subject.as_str());
        exact
            .into_iter()
            .chain([EVERY_SUBJECT])
            .filter_map(move |subject| audience?.get(subject))
            .flat_map(BTreeMap::values)
            .filter(|watch| watch.tenant == alert.tenant && watch.on.contains(&alert.state))
    }
}

fn notice(alert: &Alert, watch: &Watch, now: Micros) -> Notice {
    Notice {
        id: Notice::id_of(alert.id, watch.id),
        tenant: watch.tenant.clone(),
        subscriber: watch.subscriber,
        watch: watch.id,
        channel: watch.channel.clone(),
        alert: alert.clone(),
        at: now,
    }
}

/// The step of [`topology`].
#[derive(Debug, Default)]
pub struct MatchStep {
    watches: Watches,
    ids: SchemaIds,
}

impl MatchStep {
    /// A step that reads these schema ids beside single-object frames.
    pub fn new(ids: SchemaIds) -> MatchStep {
        MatchStep { watches: Watches::default(), ids }
    }
}

impl Step for MatchStep {
    type State = ();
    type Write = ();

    fn on_record(
        &mut self,
        record: &Record<'_>,
        now: Micros,
        _: &mut Store<()>,
        effects: &mut Effects,
    ) -> Result<(), Poison> {
        let Some(value) = record.value else { return Ok(()) };
        let alert: Alert = read_owned(value, &self.ids)?;
        effects.saw(alert.event_time);
        for watch in self.watches.asking_for(&alert) {
            let notice = notice(&alert, watch, now);
            effects.publish(0, notice.key().as_bytes(), &notice);
        }
        Ok(())
    }

    fn learn(&mut self, id: u32, schema: &str) -> Result<(), Poison> {
        Ok(self.ids.learn(id, schema)?)
    }

    fn on_table(&mut self, _: &str, key: &[u8], value: Option<&[u8]>) -> Result<(), Poison> {
        let watch = value.map(|value| read_owned(value, &self.ids)).transpose()?;
        self.watches.set(key, watch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{alert, watch};
    use tocsin_domain::alert::AlertState::{Cleared, Raised, Updated};
    use tocsin_domain::topics::Topics;

    fn told(watches: &Watches, alert: &Alert) -> Vec<Id> {
        watches.asking_for(alert).map(|watch| watch.id).collect()
    }

    #[test]
    fn the_topology_is_sound() {
        assert_eq!(topology().problems(Topics::builtin()), Vec::<String>::new());
    }

    #[test]
    fn who_is_told() {
        let here = watch("ada@example.org", "fairhope", &[Raised, Cleared]);
        let every = watch("bob@example.org", EVERY_SUBJECT, &[Raised]);
        let elsewhere = watch("eve@example.org", "lahore", &[Raised]);
        let mut watches = Watches::default();
        for watch in [&here, &every, &elsewhere] {
            watches.set(watch.key().as_bytes(), Some(watch.clone()));
        }
        let other_condition = Alert { condition: Id::of("condition", &[]), ..alert(Raised) };
        let other_tenant = Alert { tenant: "other".into(), ..alert(Raised) };
        for (alert, wanted) in [
            (alert(Raised), vec![here.id, every.id]),
            (alert(Cleared), vec![here.id]),
            (alert(Updated), vec![]),
            (other_condition, vec![]),
            (other_tenant, vec![]),
        ] {
            assert_eq!(told(&watches, &alert), wanted, "{:?}", alert.state);
        }
        let moved = Watch { subject: "lahore".into(), ..here.clone() };
        watches.set(moved.key().as_bytes(), Some(moved));
        assert_eq!(told(&watches, &alert(Cleared)), []);
        watches.set(here.key().as_bytes(), Some(here.clone()));
        watches.set(every.key().as_bytes(), Some(Watch { active: false, ..every }));
        assert_eq!(told(&watches, &alert(Raised)), [here.id]);
        watches.set(here.key().as_bytes(), None);
        watches.set(elsewhere.key().as_bytes(), None);
        assert!(watches.by_condition.is_empty() && watches.places.is_empty());
    }

    #[test]
    fn a_notice_is_the_same_whenever_it_is_made() {
        let (alert, watch) = (alert(Raised), watch("ada@example.org", "*", &[Raised]));
        let (first, again) = (notice(&alert, &watch, Micros(1)), notice(&alert, &watch, Micros(2)));
        assert_eq!((first.id, first.key()), (again.id, again.key()));
        assert_eq!(first.subscriber, watch.subscriber);
    }
}
