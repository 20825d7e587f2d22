//! What is kept for one subject: the order of its events, and what each condition about it
//! remembers. Restored from the changelog, so nothing here points into the table of conditions but
//! what is looked up again.

use crate::conditions::{Conditions, Rule};
use crate::detector::Input;
use smallvec::SmallVec;
use std::time::Duration;
use tocsin_domain::{Id, Micros};
use tocsin_stream::chunk::{read_number, write_number};
use tocsin_stream::state::{State, Wake};
use tocsin_stream::time::Timeline;

/// The state of one key.
#[derive(Debug, Default)]
pub struct Subject {
    /// Its events in the order of their event time.
    pub timeline: Timeline,
    /// The partition that its events stand in.
    pub partition: u32,
    /// What each condition about it remembers, in the order of the conditions' ids.
    pub slots: SmallVec<[Slot; 1]>,
    /// Of the conditions when the slots were matched with them; 0 after a restore. Not kept.
    generation: u64,
}

/// What one condition remembers of the subject.
#[derive(Debug)]
pub struct Slot {
    /// The condition.
    condition: Id,
    /// The version of its parameters that the memory belongs to.
    version: [u8; 8],
    /// When its open window is closed, lateness included; [`Micros::MAX`] if there is none.
    pub due: Micros,
    /// The detector's own.
    pub memory: Memory,
    /// The number of its rule. Not kept.
    pub rule: u32,
}

/// Bytes that stand in their place while they are few: most detectors remember little, and a
/// million subjects with a pointer each to follow would be slow.
#[derive(Debug, Default)]
pub struct Memory(SmallVec<[u8; FEW]>);

const FEW: usize = 24;

impl Memory {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lets `change` work on the bytes; `scratch` is any buffer.
    pub fn change<T>(
        &mut self,
        scratch: &mut Vec<u8>,
        change: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> T {
        if self.0.spilled() {
            let mut many = std::mem::take(&mut self.0).into_vec();
            let done = change(&mut many);
            self.0 = SmallVec::from_vec(many);
            return done;
        }
        scratch.clear();
        scratch.extend_from_slice(&self.0);
        let done = change(scratch);
        self.set(scratch);
        done
    }

    fn set(&mut self, bytes: &[u8]) {
        self.0.clear();
        self.0.extend_from_slice(bytes);
    }
}

impl Clone for Slot {
    fn clone(&self) -> Slot {
        let Slot { condition, version, due, ref memory, rule } = *self;
        let mut copy = Memory::default();
        copy.set(memory.bytes());
        Slot { condition, version, due, memory: copy, rule }
    }

    fn clone_from(&mut self, other: &Slot) {
        (self.condition, self.version) = (other.condition, other.version);
        (self.due, self.rule) = (other.due, other.rule);
        self.memory.set(other.memory.bytes());
    }
}

impl Clone for Subject {
    fn clone(&self) -> Subject {
        let mut clone = Subject::default();
        clone.clone_from(self);
        clone
    }

    /// Once a key and transaction: takes no new memory.
    fn clone_from(&mut self, other: &Subject) {
        (self.partition, self.generation) = (other.partition, other.generation);
        self.timeline.clone_from(&other.timeline);
        self.slots.clone_from(&other.slots);
    }
}

impl Subject {
    /// Matches the slots with the conditions, if those have changed. A condition of the same
    /// version goes on with its memory, another version begins anew, a removed one is forgotten.
    pub fn meet<'k>(
        &mut self,
        conditions: &Conditions,
        about: impl FnOnce() -> (Input, &'k str, &'k str, &'k str),
    ) {
        if self.generation == conditions.generation() {
            return;
        }
        let (input, tenant, subject, measure) = about();
        let mut before = std::mem::take(&mut self.slots);
        for number in conditions.about(input, tenant, subject, measure) {
            let Some(rule) = conditions.rule(number) else { continue };
            let condition = &rule.condition;
            let mut slot = Slot {
                condition: condition.id,
                version: version(&condition.version),
                due: Micros::MAX,
                memory: Memory::default(),
                rule: number,
            };
            let same = |old: &Slot| (old.condition, old.version) == (slot.condition, slot.version);
            if let Some(at) = before.iter().position(same) {
                let old = before.swap_remove(at);
                if rule.detector.reads(old.memory.bytes()) {
                    (slot.due, slot.memory) = (old.due, old.memory);
                } else {
                    rule.warn_unreadable(subject);
                }
            }
            self.slots.push(slot);
        }
        self.generation = conditions.generation();
    }

    /// The earliest end of a window.
    pub fn due(&self) -> Micros {
        self.slots.iter().map(|slot| slot.due).min().unwrap_or(Micros::MAX)
    }
}

impl Slot {
    /// Notes when the open window is to be closed.
    pub fn set_due(&mut self, rule: &Rule, lateness: Duration) {
        self.due = rule.detector.due(self.memory.bytes()).plus(lateness);
    }
}

/// The version's text, cut or filled up to eight bytes.
fn version(text: &str) -> [u8; 8] {
    let mut version = [0; 8];
    version.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    version
}

/// The first byte of an encoded subject: which encoding it is.
const ENCODING: u8 = 1;

impl State for Subject {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(ENCODING);
        self.timeline.encode(out);
        write_number(out, self.partition.into());
        write_number(out, self.slots.len() as u64);
        for slot in &self.slots {
            out.extend_from_slice(slot.condition.as_bytes());
            out.extend_from_slice(&slot.version);
            out.extend_from_slice(&slot.due.0.to_le_bytes());
            let memory = slot.memory.bytes();
            write_number(out, memory.len() as u64);
            out.extend_from_slice(memory);
        }
    }

    fn decode(mut bytes: &[u8]) -> Option<Subject> {
        let rest = &mut bytes;
        if *rest.split_off_first()? != ENCODING {
            return None;
        }
        let timeline = Timeline::decode(rest)?;
        let partition = u32::try_from(read_number(rest)?).ok()?;
        let slots = (0..read_number(rest)?).map(|_| slot(rest)).collect::<Option<_>>()?;
        rest.is_empty().then_some(Subject { timeline, partition, slots, generation: 0 })
    }

    fn wake(&self) -> Wake {
        let first = self.timeline.first_waiting().unwrap_or(Micros::MAX).min(self.due());
        Wake { event: (first < Micros::MAX).then_some(first), processing: None }
    }
}

fn slot(rest: &mut &[u8]) -> Option<Slot> {
    let condition = Id::from_bytes(*rest.split_off(..16)?.first_chunk()?);
    let version = *rest.split_off(..8)?.first_chunk()?;
    let due = Micros(i64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?));
    let length = read_number(rest)? as usize;
    let mut memory = Memory::default();
    memory.set(rest.split_off(..length)?);
    Some(Slot { condition, version, due, memory, rule: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_domain::condition::Condition;
    use tocsin_domain::wire::{self, SchemaIds};

    #[test]
    fn memory_grows_and_shrinks_over_the_border() {
        let (mut memory, mut scratch) = (Memory::default(), b"rubbish".to_vec());
        for length in [0, 3, 24, 25, 100, 24, 25, 0, 1] {
            memory.change(&mut scratch, |bytes| bytes.resize(length, length as u8));
            assert_eq!(
                (memory.bytes().len(), memory.bytes().last()),
                (length, memory.bytes().last())
            );
            let mut copy = Memory::default();
            copy.set(memory.bytes());
            assert_eq!(copy.bytes(), memory.bytes());
        }
        memory.change(&mut scratch, |bytes| *bytes = vec![1, 2, 3]);
        assert_eq!(memory.bytes(), [1, 2, 3]);
    }

    #[test]
    fn encoding_goes_there_and_back_and_cuts_are_none() {
        let slot = |text: &[u8], due| {
            let mut memory = Memory::default();
            memory.set(text);
            let condition = Id::of("condition", &[text]);
            Slot { condition, version: version("0123abcd"), due, memory, rule: 7 }
        };
        let mut subject = Subject { partition: 5, ..Subject::default() };
        subject.timeline.arrive((Micros(9), Id::default()), Duration::ZERO, 1, b"");
        subject.slots.extend([slot(b"", Micros::MAX), slot(&[7; 99], Micros(77))]);
        let mut bytes = Vec::new();
        subject.encode(&mut bytes);
        let read = Subject::decode(&bytes).unwrap();
        let mut again = Vec::new();
        read.encode(&mut again);
        assert_eq!(bytes, again);
        assert_eq!((read.wake().event, read.generation), (Some(Micros(77)), 0));
        assert!((0..bytes.len()).all(|cut| Subject::decode(&bytes[..cut]).is_none()));
        bytes[0] = 9;
        assert!(Subject::decode(&bytes).is_none());
    }

    #[test]
    fn a_memory_that_cannot_be_read_begins_anew_and_others_go_on() {
        let mut conditions = Conditions::default();
        let params = serde_json::json!({"measure": "pm25", "raise_above": 1});
        let [one, other] =
            ["one", "other"].map(|name| Condition::new("default", name, "threshold", "*", &params));
        for condition in [&one, &other] {
            let mut bytes = Vec::new();
            wire::write(condition, &mut bytes);
            let key = condition.key();
            conditions.apply(key.as_bytes(), Some(&bytes), &SchemaIds::default()).unwrap();
        }
        for (memory, kept) in [(&[2, 0][..], true), (&[], true), (&[9], false), (&[2, 0, 7], false)]
        {
            let slot = |condition: &Condition, bytes: &[u8]| {
                let mut memory = Memory::default();
                memory.set(bytes);
                let (condition, version) = (condition.id, version(&condition.version));
                Slot { condition, version, due: Micros(7), memory, rule: 0 }
            };
            let slots = [slot(&one, memory), slot(&other, &[2, 0])].into_iter().collect();
            let mut subject = Subject { slots, ..Subject::default() };
            subject.meet(&conditions, || (Input::Readings, "default", "Lahore", "pm25"));
            let of = |id| subject.slots.iter().find(|slot| slot.condition == id).unwrap();
            let wanted = if kept { (memory, Micros(7)) } else { (&[][..], Micros::MAX) };
            assert_eq!((of(one.id).memory.bytes(), of(one.id).due), wanted, "{memory:?}");
            assert_eq!(of(other.id).memory.bytes(), [2, 0]);
        }
    }

    #[test]
    fn a_restored_window_without_a_condition_is_dropped_and_wakes_nobody() {
        let (condition, memory) = (Id::of("condition", &[b"gone"]), Memory::default());
        let slot = Slot { condition, version: [0; 8], due: Micros(7), memory, rule: 0 };
        let mut bytes = Vec::new();
        Subject { slots: SmallVec::from_buf([slot]), ..Subject::default() }.encode(&mut bytes);
        let mut restored = Subject::decode(&bytes).unwrap();
        assert_eq!(restored.wake().event, Some(Micros(7)));
        let about = || (Input::Readings, "default", "Lahore", "pm25");
        restored.meet(&Conditions::default(), about);
        assert_eq!((restored.slots.len(), restored.wake().event), (0, None));
    }
}
