//! What is accepted is there once, whatever becomes of a commit and however often a key comes.

use super::*;

#[test]
fn a_key_gives_the_same_answer_again_and_writes_nothing_also_after_a_restart() {
    let world = World::open();
    let keyed = [STRUCTURED, ("idempotency-key", "k1")];
    let first = world.post(&keyed, READING);
    let again = world.post(&keyed, READING);
    assert_eq!((first.status, again.status, &first.body), (202, 202, &again.body));
    assert_eq!(world.count(topics::AQI_READINGS), 1);
    let other = world.post(&keyed, READING.replace("35.40", "36"));
    assert_eq!((other.status, &other.body["code"]), (422, &"key-reused".into()), "{other:?}");
    let meant = world.post(&[BATCH, ("idempotency-key", "k1")], READING);
    assert_eq!(meant.body["code"], "key-reused", "the content type is of the request, too");

    let log = world.log.clone();
    drop(world);
    let world = World::on(log, "[push]\nwithout_token = true");
    assert_eq!(world.post(&keyed, READING).body, first.body);
    assert_eq!(world.count(topics::AQI_READINGS), 1, "nothing is written after the restart");
    let wrong = world.post(&[STRUCTURED, ("idempotency-key", "k2")], "{}");
    assert_eq!(wrong.status, 422);
    let right = world.post(&[STRUCTURED, ("idempotency-key", "k2")], READING);
    assert_eq!(right.status, 202, "what was refused has not used up its key");
}

#[test]
fn a_key_that_is_under_way_is_refused_until_it_is_done() {
    let log = new_log();
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let (told, tell) = std::sync::mpsc::channel();
    log.fail_commits(move |_| {
        told.send(()).unwrap();
        open.recv().unwrap();
        None
    });
    let world = Arc::new(World::on(log, "[push]\nwithout_token = true"));
    let keyed = [STRUCTURED, ("idempotency-key", "k")];
    let first = {
        let world = world.clone();
        std::thread::spawn(move || world.post(&keyed, READING))
    };
    tell.recv().unwrap();
    let second = world.post(&keyed, READING);
    assert_eq!((second.status, &second.body["code"]), (409, &"key-under-way".into()));
    assert_eq!(second.headers["retry-after"], "1");
    gate.send(()).unwrap();
    assert_eq!(first.join().unwrap().status, 202);
    assert_eq!(world.post(&keyed, READING).status, 202);
    assert_eq!(world.count(topics::AQI_READINGS), 1);
}

#[test]
fn whatever_becomes_of_a_commit_what_is_accepted_is_there_once() {
    for fault in [Fault::Busy, Fault::Abort, Fault::LostAnswer, Fault::LostRequest] {
        let log = new_log();
        let mut times = 0;
        log.fail_commits(move |_| {
            times += 1;
            (times <= 2).then_some(fault)
        });
        let world = World::on(log, "[push]\nwithout_token = true");
        for id in ["1", "2", "3"] {
            let text = READING.replace("\"1\"", &format!("\"{id}\""));
            let got = world.post(&[STRUCTURED, ("idempotency-key", id)], text);
            assert_eq!(got.status, 202, "{fault:?} {got:?}");
        }
        assert_eq!(world.count(topics::AQI_READINGS), 3, "{fault:?}");
    }
}

#[test]
fn what_is_not_proven_is_never_accepted() {
    for fault in [Fault::Abort, Fault::LostRequest, Fault::Busy] {
        let log = new_log();
        let mut times = 0;
        log.fail_commits(move |_| Some(fault).inspect(|_| times += 1));
        let world = World::on(log.clone(), "[push]\nwithout_token = true");
        let keyed = [STRUCTURED, ("idempotency-key", "k")];
        let got = world.post(&keyed, READING);
        assert_eq!((got.status, &got.body["code"]), (503, &"log".into()), "{fault:?} {got:?}");
        assert!(got.headers.contains_key("retry-after"));
        assert_eq!(world.count(topics::AQI_READINGS), 0, "{fault:?}");
        log.fail_commits(|_| None);
        assert_eq!(world.post(&keyed, READING).status, 202, "{fault:?}");
        assert_eq!(world.count(topics::AQI_READINGS), 1, "{fault:?}");
    }
}

#[test]
fn a_writer_that_is_shut_out_ends_and_says_no() {
    let world = World::open();
    let log: Arc<dyn Log> = world.log.clone();
    let spec = tocsin_stream::WorkerSpec { id: "push-0".into(), ..Default::default() };
    let _other = log.worker(&spec).unwrap();
    let got = world.post(&[STRUCTURED], READING);
    assert_eq!(got.status, 503, "{got:?}");
    assert_eq!(world.post(&[STRUCTURED], READING).body["code"], "stopping");
    assert_eq!(world.count(topics::AQI_READINGS), 0);
}
