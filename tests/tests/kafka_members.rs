//! Members of one group on a real Kafka: partitions move when one comes, and come back when it goes,
//! at whatever moment that is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tocsin_domain::topics::{Topic, Topics};
use tocsin_stream::kafka::{KafkaLog, KafkaOptions};
use tocsin_stream::{Log, Polled, Worker, WorkerSpec};
use tocsin_testkit::servers;

const PARTITIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// Two inputs of a group that nobody else has.
struct Group {
    log: Arc<dyn Log>,
    name: String,
    inputs: Vec<Arc<str>>,
}

impl Group {
    fn new() -> Group {
        let options =
            KafkaOptions { bootstrap: servers::kafka().to_owned(), ..KafkaOptions::default() };
        let log = KafkaLog::connect(options).unwrap();
        let model = Topics::builtin().iter().next().unwrap();
        let topic =
            |name| Topic { name: servers::unique(name), partitions: PARTITIONS, ..model.clone() };
        let topics = [topic("left"), topic("right")];
        log.create_topics(&topics.iter().collect::<Vec<_>>()).unwrap();
        let inputs = topics.iter().map(|topic| topic.name.as_str().into()).collect();
        Group { log, name: servers::unique("group"), inputs }
    }

    fn member(&self, slot: u32) -> Member {
        let (id, group) = (format!("{}-{slot}", self.name), self.name.clone());
        let worker = self.log.worker(&WorkerSpec { id, group, inputs: self.inputs.clone() });
        Member { worker: worker.unwrap(), ours: BTreeSet::new() }
    }
}

/// A worker and the partitions that it has.
struct Member {
    worker: Box<dyn Worker>,
    ours: BTreeSet<u32>,
}

impl Member {
    /// One poll; whether partitions were announced to go.
    fn turn(&mut self) -> bool {
        match self.worker.poll(100, Duration::from_millis(50)).unwrap() {
            Polled::Assigned(partitions) => {
                self.worker.open(&partitions);
                self.ours.extend(partitions);
            }
            Polled::Revoked { partitions, .. } => {
                self.ours.retain(|one| !partitions.contains(one));
                return true;
            }
            Polled::Records(_) => {}
        }
        false
    }

    /// Leaves the group, which must not take for ever.
    fn leave(self) {
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            drop(self);
            said.send(()).unwrap();
        });
        heard.recv_timeout(PATIENCE).expect("the member does not come out of its group");
    }
}

/// Turns them all until `done`.
fn until(members: &mut [&mut Member], what: &str, mut done: impl FnMut(&[&mut Member]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(members) {
        assert!(Instant::now() < end, "waited a minute in vain: {what}");
        members.iter_mut().for_each(|member| _ = member.turn());
    }
}

#[test]
fn partitions_are_divided_and_come_back() {
    let group = Group::new();
    let mut first = group.member(0);
    until(&mut [&mut first], "one has all", |all| all[0].ours.len() == 4);
    let mut second = group.member(1);
    until(&mut [&mut first, &mut second], "two have two each", |all| {
        all.iter().all(|member| member.ours.len() == 2)
    });
    assert!(first.ours.is_disjoint(&second.ours));
    second.leave();
    until(&mut [&mut first], "one has all again", |all| all[0].ours.len() == 4);
    first.leave();
}

#[test]
fn a_member_can_leave_while_it_is_asked_to_let_go() {
    let group = Group::new();
    let mut first = group.member(0);
    until(&mut [&mut first], "one has all", |all| all[0].ours.len() == 4);
    let mut second = group.member(1);
    let end = Instant::now() + PATIENCE;
    while !first.turn() {
        assert!(Instant::now() < end, "nothing is asked of the first");
        second.turn();
    }
    // What it was told to let go goes with its next poll, which never comes.
    first.leave();
    until(&mut [&mut second], "the other one has all", |all| all[0].ours.len() == 4);
    second.leave();
}

#[test]
fn a_member_can_leave_while_partitions_come() {
    let group = Group::new();
    let mut first = group.member(0);
    first.turn();
    // Time for the broker to give it all of them, which nobody takes up.
    std::thread::sleep(Duration::from_secs(5));
    first.leave();
    let mut second = group.member(1);
    until(&mut [&mut second], "the other one has all", |all| all[0].ours.len() == 4);
    second.leave();
}
