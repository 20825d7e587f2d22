//! Reading a partition without a group: tables, restores, whoever looks something up. A cursor that
//! was read to somewhere is kept for a while, because most reads go on where the last one stopped.

use crate::kafka::client::{Context, KafkaOptions};
use crate::kafka::cluster::CALL;
use crate::kafka::gather::Gather;
use crate::kafka::native::{Cursor, Messages};
use crate::log::{LogError, Span};
use crate::record::Batch;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;

/// A cursor that nobody has read from for so long is given up; it fetches ahead until then.
const KEPT: Duration = Duration::from_secs(5);
/// A record has about so many bytes: what a wish in bytes comes to in records.
const RECORD_BYTES: usize = 128;

/// The cursors that are not being read from.
pub(super) struct Readers {
    options: KafkaOptions,
    kept: Mutex<Vec<Reader>>,
    clients: Mutex<Vec<Client>>,
}

/// A client, and what is read through it: one cursor a partition.
struct Client {
    consumer: Weak<BaseConsumer<Context>>,
    busy: Vec<TopicPartition>,
}

/// A cursor and where it stands.
struct Reader {
    at: TopicPartition,
    next: u64,
    used: Instant,
    cursor: Cursor<Context>,
    consumer: Arc<BaseConsumer<Context>>,
}

impl Readers {
    pub(super) fn new(options: KafkaOptions) -> Readers {
        Readers { options, kept: Mutex::default(), clients: Mutex::default() }
    }

    /// Records from `from` on; `ask` tells what the partition holds now.
    pub(super) fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        max_bytes: usize,
        ask: &dyn Fn() -> Result<Span, LogError>,
    ) -> Result<Batch, LogError> {
        let mut reader = match self.take_kept(at, from) {
            Some(reader) => reader,
            None => {
                ask()?.check(at, from)?;
                self.start(at, from)?
            }
        };
        match self.read_on(&mut reader, max_bytes, ask) {
            Ok(batch) => {
                reader.used = Instant::now();
                lock(&self.kept).push(reader);
                Ok(batch)
            }
            Err(error) => {
                self.end(reader);
                Err(error)
            }
        }
    }

    fn read_on(
        &self,
        reader: &mut Reader,
        max_bytes: usize,
        ask: &dyn Fn() -> Result<Span, LogError>,
    ) -> Result<Batch, LogError> {
        let failed = |code| self.options.unavailable(&format!("read {}", reader.at), code);
        let (mut messages, mut gather) = (Messages::default(), Gather::default());
        let records = (max_bytes / RECORD_BYTES).clamp(1, 10_000);
        let begun = Instant::now();
        let empty = |next| Batch {
            topic: reader.at.topic.clone(),
            partition: reader.at.partition,
            from: next,
            next,
            chunks: Vec::new(),
        };
        // What was fetched ahead is there at once; otherwise the end must be known first.
        let mut end = None;
        loop {
            let wait = if end.is_some() { Duration::from_millis(100) } else { Duration::ZERO };
            reader.cursor.take(&mut messages, records, wait).map_err(failed)?;
            let (from, mut moved) = (reader.next, None);
            for message in messages.iter() {
                match message.error {
                    None if message.offset as u64 >= reader.next => {
                        gather.push(&message);
                        reader.next = message.offset as u64 + 1;
                    }
                    None => {}
                    // Behind the last record may stand what is no record: marks of transactions.
                    Some(RDKafkaErrorCode::PartitionEOF) => moved = Some(message.offset as u64),
                    Some(RDKafkaErrorCode::AutoOffsetReset) => {
                        ask()?.check(&reader.at, reader.next)?;
                        return Err(failed(RDKafkaErrorCode::AutoOffsetReset));
                    }
                    Some(code) => return Err(failed(code)),
                }
            }
            messages.clear();
            reader.next = moved.map_or(reader.next, |moved| moved.max(reader.next));
            if let Some(batch) = gather.take(&reader.at) {
                return Ok(Batch { next: reader.next, ..batch });
            }
            // Fillers and marks of transactions take up offsets and are no records.
            if reader.next > from {
                return Ok(Batch { from, ..empty(reader.next) });
            }
            let until = match end {
                Some(end) => end,
                None => ask()?.end,
            };
            end = Some(until);
            if reader.next >= until {
                return Ok(empty(reader.next));
            }
            if begun.elapsed() > CALL {
                return Err(failed(RDKafkaErrorCode::OperationTimedOut));
            }
        }
    }

    /// Begins to fetch, so that what is read soon is there by then. A failure shows when it is read.
    pub(super) fn fetch_ahead(&self, at: &TopicPartition, from: u64) {
        let reader = self.take_kept(at, from).map_or_else(|| self.start(at, from), Ok);
        if let Ok(reader) = reader {
            lock(&self.kept).push(reader);
        }
    }

    /// Nobody reads on here soon.
    pub(super) fn forget(&self, at: &TopicPartition) {
        let mut kept = lock(&self.kept);
        let (gone, stay): (Vec<_>, Vec<_>) = kept.drain(..).partition(|reader| reader.at == *at);
        *kept = stay;
        drop(kept);
        gone.into_iter().for_each(|reader| self.end(reader));
    }

    /// The cursor that stands there, if there is one; gives up those that were not used for long.
    fn take_kept(&self, at: &TopicPartition, from: u64) -> Option<Reader> {
        let mut kept = lock(&self.kept);
        let (old, fresh): (Vec<_>, Vec<_>) =
            kept.drain(..).partition(|reader| reader.used.elapsed() > KEPT);
        *kept = fresh;
        let found = kept.iter().position(|reader| reader.at == *at && reader.next == from);
        let found = found.map(|i| kept.swap_remove(i));
        drop(kept);
        old.into_iter()
            .filter(|old| !(old.at == *at && old.next == from))
            .for_each(|r| self.end(r));
        found
    }

    fn start(&self, at: &TopicPartition, from: u64) -> Result<Reader, LogError> {
        let consumer = self.client_for(at)?;
        let cursor = Cursor::start(consumer.clone(), &at.topic, at.partition, from);
        match cursor {
            Ok(cursor) => {
                let (at, used) = (at.clone(), Instant::now());
                Ok(Reader { at, next: from, used, cursor, consumer })
            }
            Err(code) => {
                self.release(&consumer, at);
                Err(self.options.unavailable(&format!("read {at}"), code))
            }
        }
    }

    /// A client that does not read this partition yet.
    fn client_for(&self, at: &TopicPartition) -> Result<Arc<BaseConsumer<Context>>, LogError> {
        let mut clients = lock(&self.clients);
        clients.retain(|client| client.consumer.strong_count() > 0);
        for client in clients.iter_mut().filter(|client| !client.busy.contains(at)) {
            if let Some(consumer) = client.consumer.upgrade() {
                client.busy.push(at.clone());
                return Ok(consumer);
            }
        }
        let mut config = self.options.reader("read_committed")?;
        config.set("enable.partition.eof", "true").set("queued.max.messages.kbytes", "8192");
        let made = config.create_with_context(Context::default());
        let failed = |error: KafkaError| self.options.unavailable("start a reader", error);
        let consumer: Arc<BaseConsumer<Context>> = Arc::new(made.map_err(failed)?);
        clients.push(Client { consumer: Arc::downgrade(&consumer), busy: vec![at.clone()] });
        Ok(consumer)
    }

    fn end(&self, reader: Reader) {
        let Reader { at, cursor, consumer, .. } = reader;
        drop(cursor);
        self.release(&consumer, &at);
    }

    fn release(&self, consumer: &Arc<BaseConsumer<Context>>, at: &TopicPartition) {
        for client in lock(&self.clients).iter_mut() {
            if std::ptr::eq(client.consumer.as_ptr(), Arc::as_ptr(consumer)) {
                client.busy.retain(|busy| busy != at);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
