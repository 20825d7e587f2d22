//! The sender against a real SMTP server and a log in memory. Nothing here depends on how fast
//! anything is; waiting has an end only so that a failure is one.

use crate::channel::{Channel, Message, Sending};
use crate::channels::{Channels, ChannelsSection, EMAIL, EmailSection, Encryption, open};
use crate::deliver::{self, DeliverStep};
use crate::fixtures::{NOON, notice, requested, subscriber};
use crate::retry::Retry;
use crate::send::{Options, Sender, topology};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tocsin_domain::alert::AlertState;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::partition::partition_of;
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::wire::{self, Fact, SchemaIds};
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::memory::{Fault as CommitFault, MemoryLog};
use tocsin_stream::processor::{self, Processor};
use tocsin_stream::{Log, Observer, Progress, Transaction, WorkerSpec};
use tocsin_testkit::smtp::{Fault, Faults, SmtpServer, Stage};
use tocsin_testkit::veil::Veiled;

const PATIENCE: Duration = Duration::from_secs(30);

fn log() -> Arc<MemoryLog> {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    log
}

fn publish<'a, F: Fact<'a>>(log: &dyn Log, topic: &str, facts: &[(String, F)]) {
    let spec = WorkerSpec { id: "test".into(), group: "test".into(), inputs: vec![] };
    let (mut worker, mut transaction) = (log.worker(&spec).unwrap(), Transaction::default());
    let output = transaction.register(topic, log.partitions(topic).unwrap());
    for (key, fact) in facts {
        let out = transaction.to(output, key.as_bytes());
        out.push_with(key.as_bytes(), |bytes| wire::write(fact, bytes));
    }
    worker.commit(&mut transaction).unwrap();
}

/// Attempts for these addresses, all in one partition.
fn publish_attempts(log: &dyn Log, addresses: &[&str]) {
    publish_for(log, addresses, |_| "one@example.org");
}

/// Attempts for these addresses, each in the partition of its subscriber.
fn publish_for(log: &dyn Log, addresses: &[&str], subscriber: impl Fn(&str) -> &str) {
    let fact = |address: &&str| {
        let id = Id::of("delivery", &[address.as_bytes()]);
        let fact = Delivery {
            id,
            message_id: format!("{id}@tocsin.example"),
            state: DeliveryState::Attempt,
            attempt: 1,
            address: (*address).to_owned(),
            ..requested(subscriber(address))
        };
        (fact.key(), fact)
    };
    publish(log, topics::DELIVERIES, &addresses.iter().map(fact).collect::<Vec<_>>());
}

/// Every fact about deliveries, partition by partition, in order.
fn deliveries(log: &dyn Log) -> Vec<Delivery> {
    let mut facts = Vec::new();
    for partition in 0..log.partitions(topics::DELIVERIES).unwrap() {
        let at = TopicPartition::new(topics::DELIVERIES, partition);
        let batch = log.read(&at, 0, usize::MAX).unwrap();
        facts.extend(batch.records().map(|record| {
            wire::read_owned::<Delivery>(record.value.unwrap(), &SchemaIds::default()).unwrap()
        }));
    }
    facts
}

fn outcomes(log: &dyn Log) -> Vec<Delivery> {
    use DeliveryState::{Deferred, Refused, Sent, Unknown};
    let is_outcome = |d: &Delivery| matches!(d.state, Sent | Refused | Deferred | Unknown);
    deliveries(log).into_iter().filter(is_outcome).collect()
}

/// The state that each address has come to.
fn states(log: &dyn Log, addresses: &[&str]) -> Vec<Option<DeliveryState>> {
    let by_id: BTreeMap<Id, DeliveryState> =
        outcomes(log).iter().map(|d| (d.id, d.state)).collect();
    let state = |a: &&str| by_id.get(&Id::of("delivery", &[a.as_bytes()])).copied();
    addresses.iter().map(state).collect()
}

fn smtp(server: &SmtpServer) -> Channels {
    let email = EmailSection {
        transport: "smtp".into(),
        from: "Tocsin <bell@tocsin.example>".into(),
        host: "127.0.0.1".into(),
        port: Some(server.port()),
        tls: Encryption::None,
        ..EmailSection::default()
    };
    open(&ChannelsSection { email }, "https://tocsin.example", Path::new("unused")).unwrap()
}

fn options(in_flight: usize) -> Options {
    Options { in_flight, grace: PATIENCE, ..Options::default() }
}

/// Runs a sender until `done`; what it observed.
fn send_until<L: Log + 'static>(
    log: &Arc<L>,
    channels: Channels,
    options: Options,
    done: impl Fn() -> bool,
) -> usize {
    let sender = Sender::new(log.clone(), channels, options);
    let (stop, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut observe = |_: &Delivery| {
                seen.fetch_add(1, Ordering::SeqCst);
            };
            sender.run(&|| stop.load(Ordering::SeqCst), &|| NOON, &mut observe)
        });
        let until = Instant::now() + PATIENCE;
        while !done() && Instant::now() < until && !running.is_finished() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let in_time = done();
        stop.store(true, Ordering::SeqCst);
        running.join().unwrap().unwrap();
        assert!(in_time, "not within {PATIENCE:?}");
    });
    seen.into_inner()
}

fn faults<const N: usize>(faults: [(&str, Fault); N]) -> Faults {
    faults.map(|(address, fault)| (address.to_owned(), vec![fault])).into()
}

#[test]
fn the_topology_is_sound() {
    assert_eq!(topology().problems(Topics::builtin()), Vec::<String>::new());
}

#[test]
fn one_slow_recipient_holds_nobody_else() {
    let log = log();
    let server = SmtpServer::start(faults([("slow@x.org", Fault::Hang(Stage::Rcpt))])).unwrap();
    publish_attempts(&*log, &["slow@x.org", "a@x.org", "b@x.org", "c@x.org"]);
    let seen = send_until(&log, smtp(&server), options(2), || {
        // The others have their outcomes committed while the slow one still hangs.
        if outcomes(&*log).len() == 3 && server.wait_for_hanging(1, Duration::ZERO) {
            let order: Vec<_> = server.accepted().into_iter().map(|mail| mail.to).collect();
            assert_eq!(order, ["a@x.org", "b@x.org", "c@x.org"]);
            server.release();
        }
        outcomes(&*log).len() == 4
    });
    assert_eq!((seen, server.accepted().len()), (4, 4));
    assert!(outcomes(&*log).iter().all(|fact| fact.state == DeliveryState::Sent));
}

#[test]
fn each_answer_has_its_outcome() {
    use DeliveryState::{Deferred, Refused, Sent, Unknown};
    let table = [
        ("good@x.org", Fault::None, Sent),
        ("later@x.org", Fault::Reply(Stage::Rcpt, 450), Deferred),
        ("never@x.org", Fault::Reply(Stage::Rcpt, 550), Refused),
        ("data-later@x.org", Fault::Reply(Stage::Data, 451), Deferred),
        ("dot-later@x.org", Fault::Reply(Stage::Dot, 452), Deferred),
        ("dot-never@x.org", Fault::Reply(Stage::Dot, 554), Refused),
        ("cut-early@x.org", Fault::Cut(Stage::Rcpt), Deferred),
        ("cut-data@x.org", Fault::Cut(Stage::Data), Deferred),
        ("cut-dot@x.org", Fault::Cut(Stage::Dot), Unknown),
        ("cut-late@x.org", Fault::CutAfterDot, Unknown),
        ("no address", Fault::None, Refused),
    ];
    let log = log();
    let addresses = table.map(|(address, _, _)| address);
    let server = SmtpServer::start(faults(table.map(|(a, fault, _)| (a, fault)))).unwrap();
    publish_attempts(&*log, &addresses);
    send_until(&log, smtp(&server), options(4), || outcomes(&*log).len() == table.len());
    assert_eq!(states(&*log, &addresses), table.map(|(_, _, state)| Some(state)));
    for fact in outcomes(&*log) {
        let personal = !fact.address.is_empty() || !fact.notices.is_empty();
        assert!(!personal && !fact.reason.is_empty(), "{fact:?}");
        assert_eq!(fact.next_attempt_at.is_some(), !fact.state.is_final(), "{fact:?}");
    }
}

#[test]
fn a_server_that_is_not_there_and_a_channel_that_is_not_there_are_deferred() {
    let server = SmtpServer::start(Faults::new()).unwrap();
    let gone = smtp(&server);
    drop(server);
    let none = Channels::new(gone.site.clone());
    for (channels, says) in [(gone, "cannot connect"), (none, "[channels.email]")] {
        let log = log();
        publish_attempts(&*log, &["a@x.org"]);
        send_until(&log, channels, options(1), || outcomes(&*log).len() == 1);
        let fact = outcomes(&*log).remove(0);
        assert_eq!(fact.state, DeliveryState::Deferred);
        assert!(fact.reason.contains(says), "{}", fact.reason);
    }
}

#[test]
fn after_a_crash_only_what_was_under_way_is_unknown() {
    let log = log();
    let names = ["a@x.org", "b@x.org", "c@x.org", "d@x.org", "e@x.org"];
    let hang = |name| (name, Fault::Hang(Stage::Dot));
    let server = SmtpServer::start(faults([hang(names[0]), hang(names[2])])).unwrap();
    publish_attempts(&*log, &names[..4]);
    // No grace: as far as the log can see, the process was killed. b is sent and committed.
    let killed = Options { grace: Duration::ZERO, ..options(2) };
    send_until(&log, smtp(&server), killed, || {
        outcomes(&*log).len() == 1 && server.wait_for_hanging(2, Duration::ZERO)
    });
    let mut left: Vec<_> = server.accepted().into_iter().map(|mail| mail.to).collect();
    left.sort();
    assert_eq!(left, names[..3], "a and c arrived and nobody knows");

    let server = SmtpServer::start(Faults::new()).unwrap();
    send_until(&log, smtp(&server), options(2), || outcomes(&*log).len() == 4);
    use DeliveryState::{Sent, Unknown};
    assert_eq!(states(&*log, &names[..4]), [Unknown, Sent, Unknown, Sent].map(Some));
    assert_eq!(server.accepted().len(), 1, "no second copy without a second attempt");

    publish_attempts(&*log, &names[4..]);
    send_until(&log, smtp(&server), options(2), || outcomes(&*log).len() == 5);
    assert_eq!(states(&*log, &names[4..]), [Some(Sent)], "a clean stop leaves no doubt");
}

#[test]
fn after_a_crash_no_more_is_unknown_than_was_under_way_in_all_partitions_together() {
    let log = log();
    let names: Vec<String> = (0..40).map(|i| format!("n{i}@x.org")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hanging = names.iter().map(|name| ((*name).to_owned(), vec![Fault::Hang(Stage::Dot)]));
    let server = SmtpServer::start(hanging.collect()).unwrap();
    publish_for(&*log, &names, |address| address);
    let parts = (0..8).map(|n| log.span(&TopicPartition::new(topics::DELIVERIES, n)).unwrap());
    assert!(parts.filter(|span| span.end > 1).count() > 4, "they are in several partitions");
    let killed = Options { grace: Duration::ZERO, ..options(3) };
    send_until(&log, smtp(&server), killed, || server.wait_for_hanging(3, Duration::ZERO));
    let left: Vec<String> = server.accepted().into_iter().map(|mail| mail.to).collect();
    assert_eq!(left.len(), 3);

    let server = SmtpServer::start(Faults::new()).unwrap();
    send_until(&log, smtp(&server), options(3), || outcomes(&*log).len() == names.len());
    for (name, state) in names.iter().zip(states(&*log, &names)) {
        let was_under_way = left.iter().any(|to| to == name);
        let wanted = if was_under_way { DeliveryState::Unknown } else { DeliveryState::Sent };
        assert_eq!(state, Some(wanted), "{name}");
    }
    assert_eq!(server.accepted().len(), names.len() - 3);
}

#[test]
fn what_the_last_sender_has_committed_is_waited_for_until_it_can_be_seen() {
    let log = Veiled::new(log());
    let names = ["a@x.org", "b@x.org", "c@x.org"];
    let server = SmtpServer::start(faults([(names[0], Fault::Hang(Stage::Dot))])).unwrap();
    publish_attempts(&*log, &names);
    let number = partition_of(deliveries(&*log)[0].key().as_bytes(), 8);
    let records = TopicPartition::new(topics::NOTIFY_SENDS_CHANGELOG, number);
    let before = log.span(&records).unwrap().end;
    // a hangs, so that progress stays before it: that b and c are done, only the record says.
    let killed = Options { grace: Duration::ZERO, ..options(2) };
    send_until(&log, smtp(&server), killed, || outcomes(&*log).len() == 2);
    assert!(log.span(&records).unwrap().end > before);

    log.draw(records, before);
    let server = SmtpServer::start(Faults::new()).unwrap();
    let waits = Arc::new(AtomicUsize::new(0));
    let heard = waits.clone();
    let observer = Observer::new(move |progress| {
        if let Progress::Waits(waits) = progress {
            heard.store(waits.map_or(0, |(count, _)| count), Ordering::SeqCst);
        }
    });
    let before = Mutex::new(None);
    send_until(&log, smtp(&server), Options { observer, ..options(2) }, || {
        let mut before = before.lock().unwrap();
        if before.is_none() && waits.load(Ordering::SeqCst) == 1 {
            // Time enough for whoever does not wait.
            std::thread::sleep(Duration::from_millis(100));
            *before = Some((server.accepted().len(), outcomes(&*log).len()));
            log.lift();
        }
        outcomes(&*log).len() == 3
    });
    assert_eq!(before.into_inner().unwrap(), Some((0, 2)), "it did not wait");
    use DeliveryState::{Sent, Unknown};
    assert_eq!(states(&*log, &names), [Unknown, Sent, Sent].map(Some));
    assert_eq!((server.accepted().len(), waits.load(Ordering::SeqCst)), (0, 0));
}

#[test]
fn the_first_start_doubts_nothing() {
    let (log, server) = (log(), SmtpServer::start(Faults::new()).unwrap());
    publish_attempts(&*log, &["a@x.org", "b@x.org", "c@x.org"]);
    send_until(&log, smtp(&server), options(2), || outcomes(&*log).len() == 3);
    assert_eq!(server.accepted().len(), 3);
}

#[test]
fn commits_that_fail_lose_no_outcome_and_send_nothing_twice() {
    let (log, server) = (log(), SmtpServer::start(Faults::new()).unwrap());
    let names: Vec<String> = (0..40).map(|i| format!("n{i}@x.org")).collect();
    publish_attempts(&*log, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut commits = 0;
    log.fail_commits(move |_| {
        use CommitFault::{Abort, Busy, LostAnswer, LostRequest};
        commits += 1;
        match commits % 9 {
            2 => Some(Abort),
            4 => Some(LostAnswer),
            6 => Some(LostRequest),
            8 => Some(Busy),
            _ => None,
        }
    });
    let seen = send_until(&log, smtp(&server), options(3), || outcomes(&*log).len() == 40);
    let facts = outcomes(&*log);
    let sent = facts.iter().filter(|fact| fact.state == DeliveryState::Sent);
    let mut sent: Vec<_> = sent.map(|fact| fact.message_id.clone()).collect();
    sent.sort();
    assert_eq!((seen, facts.len()), (40, 40));
    assert!(server.counts().values().all(|count| *count == 1));
    assert_eq!(server.counts().into_keys().collect::<Vec<_>>(), sent);
}

/// A channel that breaks.
struct Broken;

impl Channel for Broken {
    fn send<'a>(&'a self, _: &'a Message) -> Sending<'a> {
        Box::pin(async { panic!("as told") })
    }
}

#[test]
fn an_attempt_that_breaks_off_is_unknown_and_gives_its_slot_back() {
    let (log, server) = (log(), SmtpServer::start(Faults::new()).unwrap());
    let channels = Channels::new(smtp(&server).site).with(EMAIL, Arc::new(Broken));
    publish_attempts(&*log, &["a@x.org", "b@x.org"]);
    send_until(&log, channels, options(1), || outcomes(&*log).len() == 2);
    assert!(outcomes(&*log).iter().all(|fact| fact.state == DeliveryState::Unknown));
}

fn deliver(log: &Arc<MemoryLog>) -> Processor<DeliverStep> {
    let options =
        deliver::Options { mail_domain: "tocsin.example".into(), retry: Retry::default() };
    let step = DeliverStep::new(options, SchemaIds::default());
    let run = processor::Options::default();
    Processor::new(deliver::topology(), log.clone(), step, Box::new(()), run).unwrap()
}

/// More turns than needed: partitions are assigned first, and wakes ring in later ones.
fn turns(deliver: &mut Processor<DeliverStep>, now: Micros) {
    for _ in 0..5 {
        deliver.turn(Duration::ZERO, now).unwrap();
    }
}

#[test]
fn a_lost_answer_leads_to_a_second_attempt_with_the_same_bytes() {
    let log = log();
    let ada = subscriber("ada@example.org");
    let asked = notice("ada@example.org", AlertState::Raised);
    publish(&*log, topics::SUBSCRIBERS, &[(ada.key(), ada)]);
    publish(&*log, topics::NOTICES, &[(asked.key(), asked.clone())]);
    let script = vec![Fault::CutAfterDot, Fault::Reply(Stage::Rcpt, 450), Fault::None];
    let server = SmtpServer::start([("ada@example.org".to_owned(), script)].into()).unwrap();
    let (mut deliver, mut now) = (deliver(&log), NOON);
    for round in 1..=3 {
        turns(&mut deliver, now);
        send_until(&log, smtp(&server), options(2), || outcomes(&*log).len() == round);
        now = now.plus(Duration::from_secs(60));
    }
    publish(&*log, topics::NOTICES, &[(asked.key(), asked)]);
    turns(&mut deliver, now);
    let states: Vec<_> = deliveries(&*log).iter().map(|fact| (fact.state, fact.attempt)).collect();
    use DeliveryState::{Attempt, Deferred, Requested, Sent, Unknown};
    let wanted = [
        (Requested, 0),
        (Attempt, 1),
        (Unknown, 1),
        (Attempt, 2),
        (Deferred, 2),
        (Attempt, 3),
        (Sent, 3),
    ];
    assert_eq!(states[..7], wanted);
    let mails = server.accepted();
    assert_eq!(mails.len(), 2);
    assert!(mails[0].bytes == mails[1].bytes, "the second copy differs from the first");
    assert_eq!(server.counts().into_values().collect::<Vec<_>>(), [2]);
}
