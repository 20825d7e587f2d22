//! Between a Kafka client and its broker: passes every request and answer on, save those that it was
//! told to lose, to cut off or to answer otherwise. It knows where a request ends, which call it is and
//! where an answer says its error; nothing else of Kafka.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A call of the protocol, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Produce = 0,
    FindCoordinator = 10,
    AddPartitions = 24,
    AddOffsets = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
}

/// What happens to such a call, instead of passing.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The broker never sees it, and the connection is cut.
    CutBefore,
    /// The broker does it; its answer is lost, and the connection is cut.
    CutAfter,
    /// The broker never sees it; this error is the answer. Only for [`Call::EndTxn`].
    Refuse(i16),
    /// The broker does it; the answer says this error.
    Lie(i16),
    /// The broker does it; the answer never comes, and the connection stands.
    Swallow,
    /// The broker never sees it; the answer says that all is well. Only for [`Call::AddPartitions`] and
    /// [`Call::AddOffsets`]: what was not added has no mark when the transaction ends.
    Pretend,
}

/// The next so many calls of a kind have a fault.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub call: Call,
    pub fault: Fault,
    pub times: u32,
}

/// A port that stands for a broker.
pub struct Proxy {
    pub address: String,
    plans: Arc<Mutex<Vec<Plan>>>,
}

impl Proxy {
    /// Stands for the broker at `broker`, `127.0.0.1:port`.
    pub fn before(broker: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let plans = Arc::new(Mutex::new(Vec::new()));
        // A broker tells its clients where it is; they must keep coming here.
        let swap = (place(broker), place(&address));
        let (broker, shared) = (broker.to_owned(), plans.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                // While the broker is away, whoever comes is sent away.
                let Ok(broker) = TcpStream::connect(&broker) else { continue };
                Connection::run(client.unwrap(), broker, shared.clone(), swap.clone());
            }
        });
        Proxy { address, plans }
    }

    /// From now on these happen, beside what was planned and did not happen yet.
    pub fn plan(&self, plans: &[Plan]) {
        self.plans.lock().unwrap().extend(plans);
    }

    /// How often a call has still to fail.
    pub fn times_left(&self, call: Call) -> u32 {
        let plans = self.plans.lock().unwrap();
        plans.iter().filter(|plan| plan.call == call).map(|plan| plan.times).sum()
    }

    /// What was planned and has not happened; forgets it.
    pub fn left(&self) -> Vec<Plan> {
        std::mem::take(&mut *self.plans.lock().unwrap())
    }
}

/// How an address stands in an answer: the host, then the port as four bytes.
fn place(address: &str) -> Vec<u8> {
    let (host, port) = address.split_once(':').unwrap();
    [host.as_bytes(), &port.parse::<i32>().unwrap().to_be_bytes()].concat()
}

/// What is to be done with answers, by their number.
type Waiting = Arc<Mutex<HashMap<[u8; 4], (Call, Fault)>>>;

struct Connection {
    client: TcpStream,
    broker: TcpStream,
    waiting: Waiting,
}

impl Connection {
    fn run(
        client: TcpStream,
        broker: TcpStream,
        plans: Arc<Mutex<Vec<Plan>>>,
        swap: (Vec<u8>, Vec<u8>),
    ) {
        let both = [&client, &broker];
        both.iter().for_each(|stream| stream.set_nodelay(true).unwrap());
        let waiting = Waiting::default();
        let answers = Connection {
            client: client.try_clone().unwrap(),
            broker: broker.try_clone().unwrap(),
            waiting: waiting.clone(),
        };
        let requests = Connection { client, broker, waiting };
        std::thread::spawn(move || {
            while requests.request(&plans).is_some() {}
            requests.cut();
        });
        std::thread::spawn(move || {
            while answers.answer(&swap).is_some() {}
            answers.cut();
        });
    }

    /// Passes one request on; `None` if the connection ends.
    fn request(&self, plans: &Mutex<Vec<Plan>>) -> Option<()> {
        let frame = read(&self.client)?;
        let number: [u8; 4] = frame.get(4..8)?.try_into().ok()?;
        match due(plans, i16::from_be_bytes([frame[0], frame[1]])) {
            None => {}
            Some((_, Fault::CutBefore)) => return None,
            Some((call, Fault::Refuse(code))) => {
                assert_eq!(call, Call::EndTxn, "the answer to {call:?} cannot be made up");
                let answer = [&number[..], &[0; 4], &code.to_be_bytes()].concat();
                return write(&self.client, &answer);
            }
            Some((call, Fault::Pretend)) => {
                let body = pretended(call, &frame)?;
                return write(&self.client, &[&number[..], &body].concat());
            }
            Some(other) => _ = self.waiting.lock().unwrap().insert(number, other),
        }
        write(&self.broker, &frame)
    }

    /// Passes one answer on; `None` if the connection ends.
    fn answer(&self, (from, to): &(Vec<u8>, Vec<u8>)) -> Option<()> {
        let mut frame = read(&self.broker)?;
        let number: [u8; 4] = frame.get(..4)?.try_into().ok()?;
        match self.waiting.lock().unwrap().remove(&number) {
            Some((_, Fault::CutAfter)) => return None,
            Some((_, Fault::Swallow)) => return Some(()),
            Some((call, Fault::Lie(code))) => {
                let at = error_at(call, frame.len());
                frame[at..at + 2].copy_from_slice(&code.to_be_bytes());
            }
            _ => {}
        }
        let found: Vec<usize> =
            (0..frame.len()).filter(|at| frame[*at..].starts_with(from)).collect();
        found.iter().for_each(|at| frame[*at..at + to.len()].copy_from_slice(to));
        write(&self.client, &frame)
    }

    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

/// The fault that a call has now, if there is one.
fn due(plans: &Mutex<Vec<Plan>>, number: i16) -> Option<(Call, Fault)> {
    let mut plans = plans.lock().unwrap();
    let at = plans.iter().position(|plan| plan.call as i16 == number)?;
    let Plan { call, fault, .. } = plans[at];
    plans[at].times -= 1;
    plans.retain(|plan| plan.times > 0);
    Some((call, fault))
}

/// The answer to a request, behind its number, if everything in it had been done: nothing is throttled,
/// and each error is 0. In the versions that librdkafka speaks.
fn pretended(call: Call, request: &[u8]) -> Option<Vec<u8>> {
    let mut answer = vec![0; 4];
    let mut rest = match call {
        Call::AddOffsets => return Some([answer, vec![0; 2]].concat()),
        Call::AddPartitions => &request[8..],
        call => panic!("the answer to {call:?} cannot be made up"),
    };
    // The client, the id of the transaction, then the producer's own id and epoch.
    text(&mut rest)?;
    text(&mut rest)?;
    rest = rest.get(10..)?;
    let topics = count(&mut rest)?;
    answer.extend(topics.to_be_bytes());
    for _ in 0..topics {
        answer.extend(text(&mut rest)?);
        let partitions = count(&mut rest)?;
        answer.extend(partitions.to_be_bytes());
        for _ in 0..partitions {
            answer.extend(count(&mut rest)?.to_be_bytes());
            answer.extend([0; 2]);
        }
    }
    Some(answer)
}

/// A text with its length before it.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    let (found, behind) = rest.split_at_checked(2 + length)?;
    *rest = behind;
    Some(found)
}

fn count(rest: &mut &[u8]) -> Option<u32> {
    let (found, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_be_bytes(*found))
}

/// Where the (last) error stands in an answer, in the versions that librdkafka speaks.
fn error_at(call: Call, length: usize) -> usize {
    match call {
        Call::EndTxn | Call::AddOffsets | Call::AddPartitions => length - 2,
        // Behind its number it says for how long one is throttled.
        Call::FindCoordinator => 8,
        // Behind it end the partition, the topic and the answer, a byte each.
        Call::TxnOffsetCommit => length - 5,
        Call::Produce => panic!("where an answer to Produce says its error is not known here"),
    }
}

fn read(mut from: &TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn write(mut to: &TcpStream, frame: &[u8]) -> Option<()> {
    let length = (frame.len() as u32).to_be_bytes();
    to.write_all(&[&length[..], frame].concat()).ok()
}
