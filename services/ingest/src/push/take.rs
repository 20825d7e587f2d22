//! The events of one request, one after the other: what is good goes into the lot, what is wrong is
//! named, or becomes a dead letter if the request is lenient. Nobody may put what is out of their
//! scope, lenient or not.

use super::json::Fault;
use super::lot::{Answer, Lot};
use super::problem::{NAMED, Refusal, Wrong};
use super::producers::Producer;
use super::settings::Pushed;
use crate::redrive::OF_PUSH;
use crate::source::Event;
use crate::tally::Tally;
use axum::http::StatusCode;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::too_far_ahead;
use tocsin_domain::{Id, Micros};

/// The most bytes of one event.
pub(super) const EVENT_BYTES: usize = 256 << 10;
/// The most characters of a detail in an answer.
const DETAIL: usize = 300;

/// What is being taken.
pub(super) struct Take<'p> {
    producer: &'p Producer,
    lenient: bool,
    most: usize,
    now: Micros,
    /// The hash of the body: dead letters are told apart by it.
    body: Id,
    /// What dead letters are read again with.
    head: Vec<u8>,
    lot: Lot,
    answer: Answer,
    tally: Tally,
    dead: Vec<usize>,
    wrong: usize,
    out_of_scope: bool,
    too_many: bool,
}

/// A request that can be written.
pub(super) struct Taken {
    pub(super) lot: Lot,
    pub(super) answer: Answer,
    /// The numbers of the events that are dead letters, ascending.
    pub(super) dead: Vec<usize>,
    /// What each of the events has become.
    pub(super) tally: Tally,
}

/// Where the facts of one event go.
pub(super) struct Put<'t> {
    producer: &'t Producer,
    lot: &'t mut Lot,
    pub(super) left_out: usize,
    /// What the event is meant to be, once that is known.
    pub(super) meant: Option<Pushed>,
}

impl<'t> Put<'t> {
    /// Into `lot`, what the producer may.
    pub(super) fn new(producer: &'t Producer, lot: &'t mut Lot) -> Put<'t> {
        Put { producer, lot, left_out: 0, meant: None }
    }

    /// Puts a fact, if the producer may, and if `detect` would take it.
    pub(super) fn event(&mut self, event: &Event<'_>) -> Result<(), Fault> {
        let (kind, subject) = match event {
            Event::Reading(event) => (Pushed::Reading, event.subject),
            Event::Listing(event) => (Pushed::Listing, event.listing),
            Event::OrderRow(event) => (Pushed::OrderRow, event.subject),
            Event::DatasetRow(event) => (Pushed::DatasetRow, event.dataset),
            Event::Swipe(event) => (Pushed::Swipe, event.from),
        };
        if let Some(reason) = self.producer.out_of_scope(kind, subject) {
            return Err(Fault::of("scope", reason));
        }
        if matches!(kind, Pushed::Reading | Pushed::Listing | Pushed::OrderRow)
            && let Some(reason) = too_far_ahead(event.event_time(), event.arrival_time())
        {
            return Err(Fault::of("time", reason));
        }
        self.lot.event(kind, event);
        Ok(())
    }

    /// A value is missing, or the mapping leaves the event out.
    pub(super) fn left_out(&mut self) {
        self.left_out += 1;
    }
}

impl<'p> Take<'p> {
    pub(super) fn new(
        producer: &'p Producer,
        (lenient, most): (bool, usize),
        now: Micros,
        (body, head): (Id, Vec<u8>),
    ) -> Take<'p> {
        Take {
            producer,
            lenient,
            most,
            now,
            body,
            head,
            lot: Lot::default(),
            answer: Answer::default(),
            tally: Tally::default(),
            dead: Vec::new(),
            wrong: 0,
            out_of_scope: false,
            too_many: false,
        }
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> usize {
        self.answer.received
    }

    /// Takes one event, as `read` reads it; says whether another may come.
    pub(super) fn one(
        &mut self,
        raw: &str,
        read: impl FnOnce(&mut Put<'_>) -> Result<(), Fault>,
    ) -> bool {
        if self.answer.received == self.most {
            self.too_many = true;
            return false;
        }
        let before = self.lot.len();
        let mut put = Put::new(self.producer, &mut self.lot);
        let read = match raw.len() > EVENT_BYTES {
            true => Err(Fault::of(
                "limit",
                format!("the event has {} bytes; allowed: {EVENT_BYTES}", raw.len()),
            )),
            false => read(&mut put),
        };
        let (left_out, meant) = (put.left_out, put.meant);
        match read {
            Ok(()) => {
                self.answer.left_out += left_out;
                match self.lot.len() > before {
                    true => self.tally.processed += 1,
                    false => self.tally.filtered += 1,
                }
            }
            Err(fault) => {
                self.lot.cut(before);
                self.fault(fault, raw, meant);
            }
        }
        self.answer.received += 1;
        self.tally.rows += 1;
        true
    }

    fn fault(&mut self, fault: Fault, raw: &str, meant: Option<Pushed>) {
        self.out_of_scope |= fault.class == "scope";
        self.wrong += 1;
        let index = self.answer.received;
        if self.answer.errors.len() < NAMED {
            // What somebody has sent stands in it, and may be long.
            let cut = |text: &str| text.chars().take(DETAIL).collect();
            let (pointer, detail) = (cut(&fault.pointer), cut(&fault.detail));
            self.answer.errors.push(Wrong { index, pointer, detail });
        }
        if self.lenient && fault.class != "scope" {
            self.answer.dead_letters += 1;
            self.tally.dead_letters += 1;
            self.dead.push(index);
            let letter = self.letter(fault, raw, meant);
            self.lot.dead_letter(&letter);
        }
    }

    fn letter(&self, fault: Fault, raw: &str, meant: Option<Pushed>) -> DeadLetter {
        let Producer { name, tenant, .. } = self.producer;
        let index = self.answer.received;
        let kept = &raw.as_bytes()[..raw.len().min(EVENT_BYTES)];
        let number = (index as u64).to_be_bytes();
        let parts = [tenant.as_bytes(), name.as_bytes(), self.body.as_bytes(), &number];
        DeadLetter {
            id: Id::of("dead-letter", &parts),
            topic: meant.map_or("unknown", Pushed::topic).to_owned(),
            position: None,
            origin: format!("push:{name}#{index}"),
            key: format!("{tenant}/{name}").into_bytes(),
            value: kept.to_vec(),
            class: fault.class.to_owned(),
            reason: fault.reason(),
            service: "ingest".to_owned(),
            at: self.now,
            source: format!("{OF_PUSH}{name}"),
            head: self.head.clone(),
            cut: raw.len() > kept.len(),
            search: String::new(),
        }
    }

    /// What is to be written, or why nothing is.
    pub(super) fn done(self) -> Result<Taken, Refusal> {
        let Take { lot, mut answer, tally, dead, wrong, most, .. } = self;
        let refuse = |status, code, detail: String| {
            let refusal = Refusal::new(status, code, detail);
            Err(Refusal { errors: answer.errors.clone(), wrong, ..refusal })
        };
        if self.too_many {
            let detail =
                format!("there are more than {most} events; send them in several requests");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "too-many", detail);
        }
        if self.out_of_scope {
            let detail = "the producer may not push some of the events; nothing was written";
            return refuse(StatusCode::FORBIDDEN, "scope", detail.to_owned());
        }
        if wrong > 0 && !self.lenient {
            let detail = format!(
                "{wrong} events are wrong, and nothing was written; with `Prefer: handling=lenient` \
                 the others would be taken, and these become dead letters"
            );
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, "events", detail);
        }
        answer.written = lot.len() - answer.dead_letters;
        Ok(Taken { lot, answer, dead, tally })
    }
}
