//! Sends readings to Tocsin's topic aqi.readings: one a line of standard input, as
//! subject,measure,value,unit,time. Usage: producer BROKER

#![allow(clippy::print_stdout, reason = "it says what it has sent")]

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use sha1::{Digest, Sha1};
use std::error::Error;
use std::io::BufRead;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TOPIC: &str = "aqi.readings";
const TENANT: &str = "default";
const SOURCE: &str = "rust-producer";
/// Of schemas/reading.avsc.
const FINGERPRINT: u64 = 0xe01e_fdc0_3245_62b9;
const NAMESPACE: u128 = 0x7b1f_6a54_95a5_5c0e_8a0f_3d2e_6c41_9b70;

/// Counts what the broker has taken.
#[derive(Default)]
struct Taken(AtomicUsize);

impl ClientContext for Taken {}

impl ProducerContext for Taken {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        match result {
            Ok(_) => _ = self.0.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => eprintln!("not taken: {error}"),
        }
    }
}

/// A UUIDv5 of what the fact is: each part behind its length.
fn id(parts: &[&[u8]]) -> [u8; 16] {
    let mut name = Sha1::new_with_prefix(NAMESPACE.to_be_bytes());
    for part in parts {
        name.update((part.len() as u32).to_be_bytes());
        name.update(part);
    }
    let mut id = [0; 16];
    id.copy_from_slice(&name.finalize()[..16]);
    id[6] = id[6] & 0x0f | 0x50;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

/// Avro's long: zig-zag, seven bits a byte.
fn number(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

/// Key and value of a record; the fields in the order of the schema, behind C3 01 and the fingerprint.
fn reading(line: &str) -> Result<(String, Vec<u8>), Box<dyn Error>> {
    let fields: Vec<&str> = line.split(',').collect();
    let [subject, measure, value, unit, time] = fields[..] else {
        return Err(format!("{line:?} has {} fields, not 5", fields.len()).into());
    };
    let time = time.parse::<jiff::Timestamp>()?.as_microsecond();
    let parts = ["reading", TENANT, subject, measure].map(str::as_bytes);
    let mut out = vec![0xc3, 0x01];
    out.extend_from_slice(&FINGERPRINT.to_le_bytes());
    out.extend_from_slice(&id(&[parts[0], parts[1], parts[2], parts[3], &time.to_be_bytes()]));
    for part in [TENANT, subject, measure] {
        text(&mut out, part);
    }
    out.extend_from_slice(&value.parse::<f64>()?.to_le_bytes());
    text(&mut out, unit);
    text(&mut out, ""); // averaging
    text(&mut out, ""); // place
    number(&mut out, time);
    number(&mut out, jiff::Timestamp::now().as_microsecond());
    text(&mut out, SOURCE);
    text(&mut out, ""); // origin
    Ok((format!("{TENANT}/{subject}/{measure}"), out))
}

fn main() -> Result<(), Box<dyn Error>> {
    let broker = std::env::args().nth(1).ok_or("usage: producer BROKER < readings.csv")?;
    let producer: ThreadedProducer<Taken> = ClientConfig::new()
        .set("bootstrap.servers", broker)
        // Java's: librdkafka's own default would put keys elsewhere.
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .create_with_context(Taken::default())?;
    let mut sent = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = reading(line.trim())?;
        producer.send(BaseRecord::to(TOPIC).key(&key).payload(&value)).map_err(|(e, _)| e)?;
        sent += 1;
    }
    producer.flush(Duration::from_secs(30))?;
    let taken = producer.context().0.load(Ordering::Relaxed);
    if taken < sent {
        return Err(format!("{taken} of {sent} readings were taken").into());
    }
    println!("{taken} readings sent");
    Ok(())
}
