//! The step of the service: decodes an event, puts it into the order of its subject, leads it to
//! the detectors of the conditions about it, and publishes what they find. It decides nothing.

use crate::conditions::{Conditions, Rule};
use crate::detector::{Event, Finding, Input, Seen};
use crate::memory::MOST_OFFSETS;
use crate::subjects::Subject;
use crate::topology::ALERTS;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::alert::{Alert, Evidence};
use tocsin_domain::event::{Listing, OrderRow, Reading, too_far_ahead};
use tocsin_domain::topics::Topics;
use tocsin_domain::wire::avro::Text;
use tocsin_domain::wire::{self, Fact, RawReading, SchemaIds};
use tocsin_domain::{Id, Micros, Position};
use tocsin_stream::state::Store;
use tocsin_stream::step::Ring;
use tocsin_stream::time::{Arrival, Waiting};
use tocsin_stream::{Effects, Poison, Record, Step};

/// Events and conditions in, alerts out.
pub struct DetectStep {
    streams: [Stream; 3],
    ids: SchemaIds,
    conditions: Conditions,
    key: Vec<u8>,
    findings: Vec<Finding>,
    scratch: Vec<u8>,
}

/// One input.
struct Stream {
    input: Input,
    topic: Arc<str>,
    lateness: Duration,
    /// Begins the keys of its state: a listing and a product of the same name are two subjects.
    prefix: u8,
}

impl DetectStep {
    /// A step that knows no condition yet. `lateness`: how long the events of a topic wait, in
    /// event time, so that they are seen in order; what it leaves out is as topics.yaml says.
    pub fn new(lateness: impl Into<BTreeMap<String, Duration>>) -> DetectStep {
        let lateness = lateness.into();
        let streams = Input::ALL.map(|input| {
            let said = lateness.get(input.topic()).copied();
            let usual = || Topics::builtin().get(input.topic()).map(|topic| topic.allowed_lateness);
            Stream {
                input,
                topic: input.topic().into(),
                lateness: said.or_else(usual).unwrap_or_default(),
                prefix: b"rlo"[input as usize],
            }
        });
        let (conditions, ids) = (Conditions::default(), SchemaIds::default());
        let (key, findings, scratch) = (Vec::new(), Vec::new(), Vec::new());
        DetectStep { streams, ids, conditions, key, findings, scratch }
    }

    /// Reads events that a registry's schema ids frame, too.
    pub fn with_schema_ids(mut self, ids: SchemaIds) -> DetectStep {
        self.ids = ids;
        self
    }
}

impl Step for DetectStep {
    type State = Subject;
    type Write = ();

    fn on_record(
        &mut self,
        record: &Record<'_>,
        now: Micros,
        store: &mut Store<Subject>,
        effects: &mut Effects,
    ) -> Result<(), Poison> {
        let Self { streams, ids, conditions, key, findings, scratch } = self;
        let stream = streams.iter().find(|s| *s.topic == **record.topic).ok_or_else(|| {
            Poison::new("value", format!("the step does not read topic {:?}", record.topic))
        })?;
        let value = record.value.ok_or_else(|| {
            Poison::new("framing", "the record has no value: an event must be in it")
        })?;
        let body = open(stream.input, value, ids)?;
        let event = decode(stream.input, &body)?;
        check_key(record.key, &event)?;
        check_time(&event, record.time)?;
        let identity = event.identity();
        effects.saw(identity.0);
        stream.key(key, record.key);
        let subject = store.change(key);
        subject.partition = record.partition;
        subject.meet(conditions, || stream.about(record.key));
        let mut scene = Scene { stream, ids, conditions, now, findings, scratch, effects };
        match subject.timeline.arrive(identity, stream.lateness, record.offset, value) {
            Arrival::Now => scene.evaluate(subject, &event, record),
            Arrival::Waits => {}
            Arrival::Duplicate => scene.effects.duplicate(),
            Arrival::Late { watermark } => scene.effects.late(record, identity.0, watermark),
        }
        let watermark = subject.timeline.watermark(stream.lateness);
        scene.release(subject, record.key, watermark);
        scene.close(subject, record.key, subject.timeline.seen());
        Ok(())
    }

    fn on_wake(&mut self, wake: Ring<'_>, store: &mut Store<Subject>, effects: &mut Effects) {
        let Self { streams, ids, conditions, findings, scratch, .. } = self;
        let Some((prefix, key)) = wake.key.split_first() else { return };
        let Some(stream) = streams.iter().find(|stream| stream.prefix == *prefix) else { return };
        let subject = store.change(wake.key);
        let now = wake.now;
        let mut scene = Scene { stream, ids, conditions, now, findings, scratch, effects };
        subject.meet(conditions, || stream.about(key));
        scene.release(subject, key, wake.event_time);
        scene.close(subject, key, wake.event_time);
    }

    fn learn(&mut self, id: u32, schema: &str) -> Result<(), Poison> {
        Ok(self.ids.learn(id, schema)?)
    }

    fn on_table(&mut self, _: &str, key: &[u8], value: Option<&[u8]>) -> Result<(), Poison> {
        self.conditions.apply(key, value, &self.ids)
    }
}

impl Stream {
    /// The key of the state, written over `out`.
    fn key(&self, out: &mut Vec<u8>, record_key: &[u8]) {
        out.clear();
        out.push(self.prefix);
        out.extend_from_slice(record_key);
    }

    /// What a record's key is about: a tenant and a measure have no slash in them.
    fn about<'k>(&self, key: &'k [u8]) -> (Input, &'k str, &'k str, &'k str) {
        let key = std::str::from_utf8(key).unwrap_or_default();
        let (tenant, rest) = key.split_once('/').unwrap_or_default();
        let (subject, measure) = match self.input {
            Input::Readings => rest.rsplit_once('/').unwrap_or_default(),
            Input::Listings | Input::OrderRows => (rest, ""),
        };
        (self.input, tenant, subject, measure)
    }
}

/// What is at hand while one subject is worked on.
struct Scene<'a> {
    stream: &'a Stream,
    ids: &'a SchemaIds,
    conditions: &'a Conditions,
    now: Micros,
    findings: &'a mut Vec<Finding>,
    scratch: &'a mut Vec<u8>,
    effects: &'a mut Effects,
}

impl Scene<'_> {
    /// Leads an event to every condition about its subject. A value that one cannot use is a dead
    /// letter, once; the others go on.
    fn evaluate(&mut self, subject: &mut Subject, event: &Event<'_>, record: &Record<'_>) {
        let mut refused = None;
        for slot in &mut subject.slots {
            let Some(rule) = self.conditions.rule(slot.rule) else { continue };
            if rule.detector.passes_by(event, slot.memory.bytes()) {
                continue;
            }
            let seen = Seen { event, offset: record.offset };
            let done = slot
                .memory
                .change(self.scratch, |memory| rule.detector.observe(seen, memory, self.findings));
            slot.set_due(rule, self.stream.lateness);
            if let Err(reason) = done {
                let condition = &rule.condition.name;
                refused.get_or_insert_with(|| format!("condition {condition:?}: {reason}"));
            }
            self.publish(rule, record.key, subject.partition);
        }
        if let Some(reason) = refused {
            self.effects.dead_letter(record, "value", &reason);
        }
    }

    /// Evaluates the events that wait at `until` or before.
    fn release(&mut self, subject: &mut Subject, key: &[u8], until: Micros) {
        while let Some(waiting) = subject.timeline.release(until) {
            let Waiting { offset, bytes, .. } = &waiting;
            let (topic, partition) = (&self.stream.topic, subject.partition);
            let value = Some(bytes.as_slice());
            let record = Record { topic, partition, offset: *offset, time: self.now, key, value };
            let body = open(self.stream.input, bytes, self.ids);
            let event = body
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|body| decode(self.stream.input, body));
            match event {
                Ok(event) => self.evaluate(subject, &event, &record),
                // It was read when it arrived: only a changed schema id can make this happen.
                Err(Poison { class, reason, .. }) => {
                    self.effects.dead_letter(&record, class, &reason);
                }
            }
        }
    }

    /// Closes the windows whose time has come. Events of a closed window are late from then on.
    fn close(&mut self, subject: &mut Subject, key: &[u8], seen: Micros) {
        if subject.slots.iter().all(|slot| slot.due > seen || slot.due == Micros::MAX) {
            return;
        }
        for slot in &mut subject.slots {
            if slot.due > seen || slot.due == Micros::MAX {
                continue;
            }
            let Some(rule) = self.conditions.rule(slot.rule) else { continue };
            subject.timeline.advance(rule.detector.due(slot.memory.bytes()));
            slot.memory.change(self.scratch, |memory| rule.detector.close(memory, self.findings));
            slot.set_due(rule, self.stream.lateness);
            self.publish(rule, key, subject.partition);
        }
    }

    fn publish(&mut self, rule: &Rule, key: &[u8], partition: u32) {
        if self.findings.is_empty() {
            return;
        }
        let (_, _, subject, _) = self.stream.about(key);
        let at = At { subject, topic: &self.stream.topic, partition, now: self.now };
        self.scratch.clear();
        self.scratch.extend_from_slice(rule.alert_key.as_bytes());
        self.scratch.extend_from_slice(subject.as_bytes());
        for finding in self.findings.drain(..) {
            self.effects.publish(ALERTS, self.scratch, &alert(rule, finding, &at));
        }
    }
}

/// Where and when something was found.
struct At<'a> {
    subject: &'a str,
    topic: &'a str,
    partition: u32,
    now: Micros,
}

/// The alert that a finding is. Its ids follow from what it is, so a repeat is the same alert.
fn alert(rule: &Rule, finding: Finding, at: &At<'_>) -> Alert {
    let condition = &rule.condition;
    let began = finding.began.0.to_le_bytes();
    let time = finding.event_time.0.to_le_bytes();
    let episode =
        [&condition.id.as_bytes()[..], condition.version.as_bytes(), at.subject.as_bytes(), &began];
    let [id, version, subject, began] = episode;
    let alert = [id, version, subject, began, finding.state.as_str().as_bytes(), &time];
    let newest = finding.offsets.len().saturating_sub(MOST_OFFSETS);
    let position = |offset: &u64| Position {
        topic: at.topic.to_owned(),
        partition: at.partition,
        offset: *offset,
    };
    Alert {
        id: Id::of("alert", &alert),
        tenant: condition.tenant.clone(),
        episode: Id::of("episode", &episode),
        state: finding.state,
        condition: condition.id,
        condition_name: condition.name.clone(),
        condition_version: condition.version.clone(),
        detector: condition.detector.clone(),
        subject: at.subject.to_owned(),
        measure: finding.measure,
        place: finding.place,
        event_time: finding.event_time,
        detected_at: at.now,
        value: finding.value,
        unit: finding.unit,
        limit: finding.limit,
        band: finding.band.to_owned(),
        evidence: Evidence {
            positions: finding.offsets[newest..].iter().map(position).collect(),
            figures: finding.figures,
            before: finding.before,
            after: finding.after,
        },
    }
}

#[inline(always)]
fn open<'b>(input: Input, value: &'b [u8], ids: &SchemaIds) -> Result<Cow<'b, [u8]>, Poison> {
    Ok(match input {
        Input::Readings => wire::open::<Reading<'_>>(value, ids),
        Input::Listings => wire::open::<Listing<'_>>(value, ids),
        Input::OrderRows => wire::open::<OrderRow<'_>>(value, ids),
    }?)
}

#[inline(always)]
fn decode(input: Input, body: &[u8]) -> Result<Event<'_>, Poison> {
    Ok(match input {
        Input::Readings => Event::Reading(RawReading::decode(body)?),
        Input::Listings => Event::Listing(Listing::decode(body)?),
        Input::OrderRows => Event::OrderRow(OrderRow::decode(body)?),
    })
}

/// An event under another key would be on another partition than the rest of its subject, and out
/// of their order. A slash in its tenant would make it another tenant's event.
fn check_key(key: &[u8], event: &Event<'_>) -> Result<(), Poison> {
    let names = event.names();
    let [tenant, subject, measure] = names.map(Text::as_bytes);
    let rest = key.strip_prefix(tenant).and_then(|rest| rest.strip_prefix(b"/"));
    let rest = rest.and_then(|rest| rest.strip_prefix(subject));
    let fits = match event {
        Event::Reading(_) => rest.and_then(|rest| rest.strip_prefix(b"/")) == Some(measure),
        Event::Listing(_) | Event::OrderRow(_) => rest == Some(&[]),
    };
    match fits && !names[0].has(b'/') && !names[2].has(b'/') {
        true => Ok(()),
        false => Err(wrong_key(key, event)),
    }
}

#[cold]
fn wrong_key(key: &[u8], event: &Event<'_>) -> Poison {
    let [tenant, subject, measure] = event.names().map(Text::as_str);
    let wanted = match event {
        Event::Reading(_) => format!("{tenant}/{subject}/{measure}"),
        Event::Listing(_) | Event::OrderRow(_) => format!("{tenant}/{subject}"),
    };
    Poison::new(
        "key",
        format!(
            "the key is {:?}: it must be {wanted:?}, so that the subject's events are in one \
             partition, and neither the tenant nor the measure may have a slash in it",
            String::from_utf8_lossy(key),
        ),
    )
}

/// `taken` is when the log took it: a producer may leave the arrival out.
fn check_time(event: &Event<'_>, taken: Micros) -> Result<(), Poison> {
    let ((time, _), arrival) = (event.identity(), event.arrival().max(taken));
    too_far_ahead(time, arrival).map_or(Ok(()), |reason| Err(Poison::new("time", reason)))
}

#[cfg(test)]
mod tests;
