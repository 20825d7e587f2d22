//! The contract on the wire: Avro bodies behind a frame that names the writer's schema. Two frames
//! are read: Avro's single-object encoding and a Confluent registry's. Nothing is guessed: bytes
//! whose schema is not known are refused.

pub mod avro;
mod canonical;
pub mod catalogue;
mod compatible;
pub mod put;
mod resolve;

mod events;
mod leftovers;
mod outcomes;
mod requests;

pub use canonical::fingerprint;
pub use catalogue::to_json;
pub use compatible::compatible;
pub use events::RawReading;

use crate::Id;
use avro::Reader;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The eight bytes of a schema's CRC-64-AVRO (Rabin) fingerprint, little endian.
pub type Fingerprint = [u8; 8];

/// What stands before the fingerprint in Avro's single-object encoding.
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
/// The length of the single-object frame.
const FRAME: usize = 10;

/// What every fact can do: be written as an Avro body and be read from one.
///
/// `decode` borrows from `bytes` where the type borrows. It fails on anything malformed, and on
/// bytes that are left over; it never panics and allocates nothing before it has checked the size.
pub trait Fact<'a>: Sized {
    /// The schema's full name, `tocsin.Reading`.
    const NAME: &'static str;
    /// The `.avsc` file's text.
    const SCHEMA: &'static str;
    /// Of [`Fact::SCHEMA`], as [`fingerprint`] makes it; a test holds it.
    const FINGERPRINT: Fingerprint;
    /// The longest body in bytes. What holds another record's bytes has room for more than one.
    const MAX_BODY: usize = avro::MAX_BODY;

    /// Appends the Avro body.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads the fact's fields from where the reader stands.
    fn take(r: &mut Reader<'a>) -> Result<Self, WireError>;

    /// Reads an Avro body that was written with [`Fact::SCHEMA`]. Errors are of class `decode` or
    /// `limit`.
    fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        whole(bytes, Self::MAX_BODY, Self::NAME, Self::take)
    }
}

/// Reads a body of at most `max` bytes with `take`, to its last byte.
#[inline(always)]
fn whole<'a, T>(
    body: &'a [u8],
    max: usize,
    name: &str,
    take: impl FnOnce(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let mut r = Reader::new(body, max).map_err(|error| error.reading(name))?;
    let fact = take(&mut r).map_err(|error| error.reading(name))?;
    r.finish().map_err(|error| error.reading(name))?;
    Ok(fact)
}

/// Appends the fact in Avro single-object encoding: `C3 01`, fingerprint, body.
pub fn write<'a, F: Fact<'a>>(fact: &F, out: &mut Vec<u8>) {
    out.extend_from_slice(&SINGLE_OBJECT);
    out.extend_from_slice(&F::FINGERPRINT);
    fact.encode(out);
}

/// Reads a framed fact that was written with today's schema, without a copy.
///
/// What an older version wrote is refused (class `schema`) if it has to be rewritten first: call
/// [`open`] and then [`Fact::decode`], or [`read_owned`], where old records can come.
pub fn read<'a, F: Fact<'a>>(bytes: &'a [u8], ids: &SchemaIds) -> Result<F, WireError> {
    match open::<F>(bytes, ids)? {
        Cow::Borrowed(body) => F::decode(body),
        Cow::Owned(_) => Err(WireError::new(
            "schema",
            format!("{} was written with an older schema: open it before it is decoded", F::NAME),
        )),
    }
}

/// Reads a framed fact that owns its text, whichever known version of the schema wrote it.
pub fn read_owned<F: for<'x> Fact<'x>>(bytes: &[u8], ids: &SchemaIds) -> Result<F, WireError> {
    F::decode(&open::<F>(bytes, ids)?)
}

/// Opens the frame: the body as today's schema of `F` writes it, for [`Fact::decode`]. Borrowed if
/// today's schema wrote it, rewritten if an older version or apache-avro's own framing did. Errors
/// are of class `framing` and `schema`, and where it is rewritten also `decode` and `limit`.
pub fn open<'b, 'f, F: Fact<'f>>(
    bytes: &'b [u8],
    ids: &SchemaIds,
) -> Result<Cow<'b, [u8]>, WireError> {
    if bytes.len() >= FRAME && bytes[..2] == SINGLE_OBJECT && bytes[2..FRAME] == F::FINGERPRINT {
        return Ok(Cow::Borrowed(&bytes[FRAME..]));
    }
    let (writer, body) = split(bytes, ids)?;
    if writer == F::FINGERPRINT {
        return Ok(Cow::Borrowed(body));
    }
    resolve::modernise(body, writer, F::NAME, F::MAX_BODY).map(Cow::Owned)
}

/// The writer's fingerprint and the body.
fn split<'b>(bytes: &'b [u8], ids: &SchemaIds) -> Result<(Fingerprint, &'b [u8]), WireError> {
    if let Some((frame, body)) = bytes.split_first_chunk::<FRAME>()
        && frame[..2] == SINGLE_OBJECT
    {
        let mut writer = Fingerprint::default();
        writer.copy_from_slice(&frame[2..]);
        return Ok((writer, body));
    }
    match bytes.split_first_chunk::<5>() {
        Some(([0, id @ ..], body)) => Ok((ids.get(u32::from_be_bytes(*id))?, body)),
        _ => Err(WireError::new("framing", no_frame(bytes))),
    }
}

#[cold]
fn no_frame(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(FRAME)];
    format!(
        "the value has {} bytes and begins with {start:02x?}: it must begin with c3 01 and a \
         fingerprint of 8 bytes, or with 00 and a schema id of 4 bytes",
        bytes.len()
    )
}

/// The id of a framed event or outcome, without reading the rest: each of them begins with it, and
/// fields never move. `None` if no known frame stands before it, or too little behind.
pub fn id_of(bytes: &[u8]) -> Option<Id> {
    let frame = if bytes.starts_with(&SINGLE_OBJECT) { FRAME } else { 5 };
    let is_framed = frame == FRAME || bytes.first() == Some(&0);
    let (id, _) = bytes.get(frame..).filter(|_| is_framed)?.split_first_chunk::<16>()?;
    Some(Id::from_bytes(*id))
}

/// The schema ids of a Confluent registry, and which schema each names. Empty by default: then only
/// single-object frames are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaIds(BTreeMap<u32, Fingerprint>);

impl SchemaIds {
    /// Says which schema an id names; the last word counts.
    pub fn insert(&mut self, id: u32, fingerprint: Fingerprint) {
        self.0.insert(id, fingerprint);
    }

    /// Ids with the full names of today's schemas, as `[schema.ids]` has them. Fails (class
    /// `schema`) on a name that there is none of.
    pub fn of_names<'n>(
        names: impl IntoIterator<Item = (u32, &'n str)>,
    ) -> Result<SchemaIds, WireError> {
        let known = |(id, name)| catalogue::by_name(name).map(|fact| (id, fact.fingerprint));
        names.into_iter().map(known).collect::<Result<_, _>>().map(SchemaIds)
    }

    /// Every id and what it names, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Fingerprint)> {
        self.0.iter().map(|(id, fingerprint)| (*id, *fingerprint))
    }

    fn get(&self, id: u32) -> Result<Fingerprint, WireError> {
        self.0.get(&id).copied().ok_or_else(|| {
            let known = self.0.len();
            WireError::new(
                "schema",
                format!(
                    "the value names schema id {id}, which is not one of the {known} that are \
                     known: say in [schema.ids] which schema it is, or name the registry in [schema]"
                ),
            )
        })
    }
}

/// Why bytes are not the fact that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {reason}")]
pub struct WireError {
    /// `framing`, `schema`, `decode` or `limit`.
    pub class: &'static str,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl WireError {
    /// An error of `class`.
    pub fn new(class: &'static str, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }

    #[cold]
    fn reading(self, name: &str) -> Self {
        Self { reason: format!("cannot read {name}: {}", self.reason), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Condition;
    use crate::event::Swipe;
    use crate::{Id, Micros};

    fn swipe() -> Swipe<'static> {
        Swipe {
            id: Id::of("swipe", &[]),
            tenant: "default",
            from: "ada",
            to: "bob",
            liked: true,
            event_time: Micros(1),
            arrival_time: Micros(2),
            source: "s",
            origin: "",
        }
    }

    #[test]
    fn both_frames_are_read() {
        let (mut framed, mut confluent) = (Vec::new(), vec![0, 0, 0, 0, 7]);
        write(&swipe(), &mut framed);
        swipe().encode(&mut confluent);
        let ids = SchemaIds::of_names([(7, Swipe::NAME)]).unwrap();
        assert_eq!(read(&framed, &SchemaIds::default()), Ok(swipe()));
        assert_eq!(read(&confluent, &ids), Ok(swipe()));
        assert!(matches!(open::<Swipe>(&framed, &ids), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_fact_that_owns_its_text_is_read_and_no_other_passes_for_it() {
        let condition = Condition::new("default", "c", "threshold", "*", &serde_json::json!({}));
        let mut framed = Vec::new();
        write(&condition, &mut framed);
        let ids = SchemaIds::default();
        assert_eq!(read_owned::<Condition>(&framed, &ids), Ok(condition));
        let error = read::<Swipe>(&framed, &ids).unwrap_err();
        assert_eq!(error.class, "schema");
        assert!(error.reason.contains("tocsin.Condition"), "{error}");
    }

    #[test]
    fn each_fault_has_its_class() {
        let ids = SchemaIds::default();
        let class = |bytes: &[u8]| read::<Swipe>(bytes, &ids).unwrap_err().class;
        let mut framed = Vec::new();
        write(&swipe(), &mut framed);
        assert_eq!(class(b""), "framing");
        assert_eq!(class(b"{\"id\": 1, \"tenant\": \"default\"}"), "framing");
        assert_eq!(class(&framed[..9]), "framing");
        assert_eq!(class(&[0, 0, 0, 0, 7, 1]), "schema");
        assert_eq!(class(&[&[0xc3, 1][..], &[9; 40]].concat()), "schema");
        assert_eq!(class(&framed[..framed.len() - 1]), "decode");
        assert_eq!(class(&[&framed[..], &[0]].concat()), "decode");
        framed.resize(avro::MAX_BODY + FRAME + 1, 0);
        assert_eq!(class(&framed), "limit");
        assert!(SchemaIds::of_names([(1, "tocsin.Swoop")]).is_err());
    }
}
