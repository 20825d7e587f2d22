//! A producer who is slow, or sends more than is taken, has its own share of the room; the others push
//! as ever.

use super::*;
use crate::push::room::Room;

/// Two with tokens, and room for eight bodies.
const TWO: &str = "[push]\nmax_body_bytes = 65536\nqueue_bytes = 524288\n\
    [[producers]]\nname = \"slow\"\ntoken_sha256 = \"HASH\"\nevents = [\"reading\"]\n\
    [[producers]]\nname = \"p\"\n\
    token_sha256 = \"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"\n\
    events = [\"reading\"]\n";
const OTHER: (&str, &str) = ("authorization", "Bearer hello");
const BODY: usize = 65_536;

impl World {
    /// A request of the producer `slow` that has sent so many bytes of a body, and not its end.
    fn unfinished(&self, more: &str, bytes: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\
             authorization: Bearer s3cret\r\ncontent-type: application/cloudevents+json\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let chunk = match more.contains("chunked") {
            true => format!("{bytes:x}\r\n{}", " ".repeat(bytes)),
            false => " ".repeat(bytes),
        };
        // Who is refused meanwhile may be cut off.
        _ = stream.write_all(chunk.as_bytes());
        stream
    }
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn who_is_slow_keeps_nobody_else_out() {
    let slow = Duration::from_secs(4);
    let unpacked = format!("[{READING}{}]", " ".repeat(BODY - READING.len() - 2));
    let packed = gzip(unpacked.as_bytes());
    let gzipped = [BATCH, OTHER, ("content-encoding", "gzip")];
    for more in [
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-encoding: gzip\r\n",
        "content-length: 65536\r\n",
    ] {
        let world = World::patient(new_log(), TWO, slow);
        // Whoever only announces much holds nothing.
        let idle: Vec<_> = (0..20).map(|_| world.unfinished(more, 0)).collect();
        assert_eq!(world.post(&[STRUCTURED, TOKEN], READING).status, 202, "{more}");
        let many: Vec<_> = (0..20).map(|_| world.unfinished(more, BODY - 1)).collect();
        for _ in 0..10 {
            assert_eq!(world.post(&[STRUCTURED, OTHER], READING).status, 202, "{more}");
            let got = world.post(&[BATCH, OTHER], &unpacked);
            assert_eq!(got.status, 202, "{more}: {got:?}");
            assert_eq!(world.post(&gzipped, &packed).status, 202, "{more}");
        }
        drop(idle);
        let answers: Vec<_> = many.into_iter().map(answer).collect();
        let of = |code: &str| answers.iter().filter(|answer| answer.contains(code)).count();
        let (busy, slow) = (of("\"busy\""), of("\"slow\""));
        assert!(slow >= 1 && busy >= 16 && busy + slow == 20, "{busy} {slow}: {answers:?}");
        let got = world.post(&[STRUCTURED, TOKEN], READING);
        assert_eq!(got.status, 202, "what it held is given back: {got:?}");
    }
}

#[test]
fn what_is_unpacked_takes_room_as_well_as_what_is_packed() {
    let packed = gzip(&[b' '; BODY]);
    let (small, large) = (Room::new(2 * BODY), Room::new(2 * BODY + 4_096));
    let mut share = small.enter("p").unwrap();
    assert_eq!(body::unpack(&packed, &mut share, BODY).unwrap_err().code, "busy");
    assert!(small.taken() <= BODY);
    let mut share = large.enter("p").unwrap();
    assert_eq!(body::unpack(&packed, &mut share, BODY).unwrap().len(), BODY);
    assert_eq!(large.taken(), BODY + 1_024);
}

#[test]
fn records_take_room_until_they_are_written() {
    let log = new_log();
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let (told, tell) = std::sync::mpsc::channel();
    log.fail_commits(move |_| {
        told.send(()).unwrap();
        open.recv().unwrap();
        None
    });
    let world = Arc::new(World::on(log, TWO));
    let text: String = (0..1_000)
        .map(|n| format!("{{\"station\":\"{n}\",\"v\":1,\"t\":\"2024-05-01\"}}\n"))
        .collect();
    let length = text.len();
    let first = {
        let (world, headers) = (world.clone(), [LINES, OTHER]);
        std::thread::spawn(move || world.ask("POST", "?source=air", &headers, text.as_bytes()))
    };
    tell.recv().unwrap();
    let taken = world.room.taken();
    assert!(taken > 2 * length, "the records of {length} bytes take {taken}");
    gate.send(()).unwrap();
    assert_eq!(first.join().unwrap().status, 202);
    assert_eq!(world.room.taken(), 0);
}
