//! Keyed state of one partition: a map in memory, what the open transaction changed in it, and what
//! goes to the changelog. What stood before a change is kept until the commit, and an abort puts it
//! back.

use crate::chunk::ChunkBuilder;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::hash::BuildHasher;
use tocsin_domain::Micros;

/// What is kept for one key.
pub trait State: Clone + Default + Send + 'static {
    /// Appends what [`State::decode`] reads.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads what [`State::encode`] wrote, now or in an older version; `None` if it is neither.
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// Whether there is nothing left to keep: the key is then deleted.
    fn is_empty(&self) -> bool {
        false
    }

    /// When this key wants to be woken. Timers need no store of their own: they follow from the
    /// state, are committed with it and restored with it.
    fn wake(&self) -> Wake {
        Wake::default()
    }
}

/// The next times at which a key wants [`crate::Step::on_wake`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// In event time: when its subject's input is idle or has ended. While events come, a step
    /// sees the time in them.
    pub event: Option<Micros>,
    /// By the wall clock.
    pub processing: Option<Micros>,
}

/// Which clock rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clock {
    /// Event time.
    Event,
    /// The wall clock.
    Processing,
}

/// The state of one partition.
#[derive(Debug)]
pub struct Store<S> {
    /// The slots by their keys, which stand in them once.
    index: HashTable<u32>,
    hasher: RandomState,
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    /// The first `open` are the open transaction's; the others only lend their memory.
    changes: Vec<Change<S>>,
    open: usize,
    wakes: BTreeSet<(Clock, Micros, u32)>,
    now: Micros,
}

#[derive(Debug)]
struct Slot<S> {
    key: Key,
    /// As the open transaction sees it; `None` in a free slot.
    state: Option<S>,
    /// Whether the open transaction changed it.
    dirty: bool,
    /// When it was last changed here, by the wall clock; a restore counts as a change.
    touched: Micros,
}

/// Most keys stand in their slot, where no pointer has to be followed.
type Key = SmallVec<[u8; 32]>;

/// A change of the open transaction.
#[derive(Debug)]
struct Change<S> {
    /// The slot.
    at: u32,
    /// Whether there was a state before.
    committed: bool,
    /// That state, if there was one.
    before: S,
}

impl<S> Default for Store<S> {
    fn default() -> Self {
        let (index, hasher, now) = (HashTable::new(), RandomState::default(), Micros::default());
        let (slots, free, changes, wakes) = (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        Store { index, hasher, slots, free, changes, open: 0, wakes, now }
    }
}

impl<S: State> Store<S> {
    /// The wall clock from now on; what changes is touched then.
    pub fn set_now(&mut self, now: Micros) {
        self.now = now;
    }

    /// Everything counts as changed now: nothing is idle that was only looked at from elsewhere.
    pub(crate) fn touch_all(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.touched = self.now);
    }

    /// The state of a key as the open transaction sees it.
    pub fn get(&self, key: &[u8]) -> Option<&S> {
        self.slots[self.find(key)? as usize].state.as_ref()
    }

    /// The state of a key, to be changed in the open transaction; a new key begins with the
    /// default.
    pub fn change(&mut self, key: &[u8]) -> &mut S {
        let at = match self.find(key) {
            Some(at) => at,
            None => self.insert(key),
        };
        if !self.slots[at as usize].dirty {
            self.begin(at);
        }
        self.slots[at as usize].state.get_or_insert_default()
    }

    /// Keeps what stands in the slot until the transaction ends.
    fn begin(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        (slot.dirty, slot.touched) = (true, self.now);
        if self.open == self.changes.len() {
            self.changes.push(Change { at, committed: false, before: S::default() });
        }
        let change = &mut self.changes[self.open];
        (change.at, change.committed) = (at, slot.state.is_some());
        if let Some(state) = &slot.state {
            change.before.clone_from(state);
        }
        self.open += 1;
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        let is_it = |at: &u32| *self.slots[*at as usize].key == *key;
        self.index.find(self.hasher.hash_one(key), is_it).copied()
    }

    fn insert(&mut self, key: &[u8]) -> u32 {
        let key = Key::from_slice(key);
        let hash = self.hasher.hash_one(&*key);
        let slot = Slot { key, state: None, dirty: false, touched: self.now };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        let rehash = |at: &u32| self.hasher.hash_one(&*self.slots[*at as usize].key);
        self.index.insert_unique(hash, at, rehash);
        at
    }

    /// Appends what the open transaction changed: each key once, with its last state.
    pub fn write_changes(&self, out: &mut ChunkBuilder) {
        for change in &self.changes[..self.open] {
            let slot = &self.slots[change.at as usize];
            match &slot.state {
                Some(state) if !state.is_empty() => {
                    out.push_with(&slot.key, |bytes| state.encode(bytes));
                }
                _ if change.committed => out.push(&slot.key, None),
                _ => {}
            }
        }
    }

    /// Whether the open transaction changed anything.
    pub fn is_dirty(&self) -> bool {
        self.open > 0
    }

    /// The transaction was committed: its changes stay.
    pub fn fold(&mut self) {
        for i in 0..std::mem::take(&mut self.open) {
            let Change { at, committed, before } = &self.changes[i];
            let (at, slot) = (*at, &mut self.slots[*at as usize]);
            slot.dirty = false;
            let before = if *committed { before.wake() } else { Wake::default() };
            match &slot.state {
                Some(state) if !state.is_empty() => {
                    set_wake(&mut self.wakes, at, before, state.wake());
                }
                _ => {
                    set_wake(&mut self.wakes, at, before, Wake::default());
                    self.remove(at);
                }
            }
        }
    }

    /// The transaction was dropped: its changes never were.
    pub fn abort(&mut self) {
        for i in 0..std::mem::take(&mut self.open) {
            let Change { at, committed, before } = &mut self.changes[i];
            let (at, slot) = (*at, &mut self.slots[*at as usize]);
            slot.dirty = false;
            match &mut slot.state {
                Some(state) if *committed => std::mem::swap(state, before),
                _ => self.remove(at),
            }
        }
    }

    fn remove(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(&*slot.key), |it| *it == at) {
            entry.remove();
        }
        (slot.key, slot.state) = (Key::new(), None);
        self.free.push(at);
    }

    /// Takes over one record of the changelog. `false` if its value cannot be read.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> bool {
        let state = match value.map(S::decode) {
            Some(None) => return false,
            Some(state) => state,
            None => None,
        };
        let at = match (self.find(key), &state) {
            (Some(at), _) => at,
            (None, Some(_)) => self.insert(key),
            (None, None) => return true,
        };
        let slot = &mut self.slots[at as usize];
        let before = slot.state.as_ref().map(State::wake).unwrap_or_default();
        let after = state.as_ref().map(State::wake).unwrap_or_default();
        set_wake(&mut self.wakes, at, before, after);
        slot.state = state;
        if slot.state.is_none() {
            self.remove(at);
        }
        true
    }

    /// Every key and its committed state, in no order.
    pub fn committed(&self) -> impl Iterator<Item = (&[u8], &S)> {
        let calm = self.slots.iter().filter(|slot| !slot.dirty);
        let calm = calm.filter_map(|slot| Some((&*slot.key, slot.state.as_ref()?)));
        let changed = self.changes[..self.open].iter().filter(|change| change.committed);
        calm.chain(changed.map(|change| (&*self.slots[change.at as usize].key, &change.before)))
    }

    /// How state is compared between two runs: the same committed state has the same number.
    pub fn hash(&self) -> u32 {
        let mut entries: Vec<(&[u8], &S)> = self.committed().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), Vec::new());
        for (key, state) in entries {
            bytes.clear();
            state.encode(&mut bytes);
            for part in [key, &bytes] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        hasher.finalize()
    }

    /// How many keys have a committed state.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether no key has any state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first committed wake of a clock: when, and which key.
    pub fn next_wake(&self, clock: Clock) -> Option<(Micros, &[u8])> {
        let (found, at, slot) = self.wakes.range((clock, Micros::MIN, 0)..).next()?;
        (*found == clock).then(|| (*at, &*self.slots[*slot as usize].key))
    }

    /// The keys whose committed wake of a clock is at `until` or before, earliest first, and that
    /// nothing has changed after `quiet_since`.
    pub fn due(
        &self,
        clock: Clock,
        until: Micros,
        quiet_since: Micros,
    ) -> Vec<(Micros, Box<[u8]>)> {
        self.wakes
            .range((clock, Micros::MIN, 0)..=(clock, until, u32::MAX))
            .map(|(_, at, slot)| (*at, &self.slots[*slot as usize]))
            .filter(|(_, slot)| slot.touched <= quiet_since)
            .map(|(at, slot)| (at, slot.key.as_slice().into()))
            .collect()
    }
}

fn set_wake(wakes: &mut BTreeSet<(Clock, Micros, u32)>, at: u32, before: Wake, after: Wake) {
    if before == after {
        return;
    }
    for (clock, old, new) in [
        (Clock::Event, before.event, after.event),
        (Clock::Processing, before.processing, after.processing),
    ] {
        if let Some(time) = old {
            wakes.remove(&(clock, time, at));
        }
        if let Some(time) = new {
            wakes.insert((clock, time, at));
        }
    }
}

/// The state of a step that keeps none.
impl State for () {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &[u8]) -> Option<()> {
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;
    use std::sync::Arc;

    #[derive(Clone, Default, Debug, PartialEq)]
    struct Count(u8);

    impl State for Count {
        fn encode(&self, out: &mut Vec<u8>) {
            out.push(self.0);
        }
        fn decode(bytes: &[u8]) -> Option<Self> {
            Some(Count(*bytes.first()?))
        }
        fn is_empty(&self) -> bool {
            self.0 == 0
        }
        fn wake(&self) -> Wake {
            Wake { event: None, processing: Some(Micros(i64::from(self.0))) }
        }
    }

    fn changes(store: &Store<Count>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut out = ChunkBuilder::default();
        store.write_changes(&mut out);
        let chunk =
            Chunk { base: 0, time: Micros(0), count: out.count(), bytes: out.bytes().into() };
        let topic = Arc::from("t");
        chunk.records(&topic, 0).map(|r| (r.key.to_vec(), r.value.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn a_change_is_seen_at_once_and_kept_only_by_a_fold() {
        let mut store = Store::<Count>::default();
        store.change(b"a").0 = 1;
        store.change(b"a").0 = 2;
        assert_eq!(store.get(b"a"), Some(&Count(2)));
        assert_eq!(changes(&store), [(b"a".to_vec(), Some(vec![2]))]);
        store.abort();
        assert_eq!((store.get(b"a"), store.len()), (None, 0));
        store.change(b"a").0 = 3;
        store.fold();
        store.change(b"a").0 = 9;
        store.abort();
        assert_eq!(store.get(b"a"), Some(&Count(3)));
        assert_eq!(store.next_wake(Clock::Processing), Some((Micros(3), &b"a"[..])));
    }

    #[test]
    fn what_is_committed_is_seen_behind_an_open_transaction() {
        let (mut store, long) = (Store::<Count>::default(), [b'k'; 99]);
        for (key, value) in [(&b"a"[..], 1), (b"b", 2), (&long, 3)] {
            store.change(key).0 = value;
        }
        store.fold();
        let (before, wake) = (store.hash(), Some((Micros(1), &b"a"[..])));
        for (key, value) in [(&b"a"[..], 9), (b"b", 0), (&long, 7), (b"new", 5)] {
            store.change(key).0 = value;
        }
        assert_eq!((store.hash(), store.committed().count()), (before, 3));
        assert_eq!(store.next_wake(Clock::Processing), wake);
        store.abort();
        assert_eq!((store.hash(), store.len(), store.is_dirty()), (before, 3, false));
        assert_eq!((store.get(&long), store.get(b"new")), (Some(&Count(3)), None));
        assert_eq!(store.next_wake(Clock::Processing), wake);
    }

    #[test]
    fn an_empty_state_is_a_tombstone_once_it_was_committed() {
        let mut store = Store::<Count>::default();
        store.change(b"a").0 = 0;
        assert_eq!(changes(&store), []);
        store.fold();
        store.change(b"a").0 = 1;
        store.fold();
        store.change(b"a").0 = 0;
        assert_eq!(changes(&store), [(b"a".to_vec(), None)]);
        store.fold();
        assert!(store.is_empty());
        assert_eq!(store.next_wake(Clock::Processing), None);
    }

    #[test]
    fn a_changelog_gives_the_same_state_again() {
        let (mut store, mut copy) = (Store::<Count>::default(), Store::<Count>::default());
        for (key, value) in [(b"a", 1), (b"b", 2), (b"a", 0), (b"c", 3), (b"b", 5)] {
            store.change(key).0 = value;
            for (key, value) in changes(&store) {
                assert!(copy.restore(&key, value.as_deref()));
            }
            store.fold();
        }
        let sorted = |store: &Store<Count>| {
            let mut all: Vec<_> = store.committed().map(|(k, s)| (k.to_vec(), s.clone())).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        assert_eq!(sorted(&store), sorted(&copy));
        assert_eq!(copy.due(Clock::Processing, Micros(4), Micros::MAX).len(), 1);
        assert!(!copy.restore(b"x", Some(b"")));
    }
}
