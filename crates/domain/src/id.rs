//! Identity: every id is a UUIDv5 of what the fact is, so that the same fact has the same id
//! however often it is made.

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use std::fmt;
use uuid::Uuid;

/// The id of a fact.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Id(Uuid);

/// UUIDv5 of the URL namespace and `https://tocsin.dev/ids`: fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x7b1f_6a54_95a5_5c0e_8a0f_3d2e_6c41_9b70);

impl Id {
    /// The id of what `parts` say. The kind keeps an alert and a notice of the same parts apart;
    /// each part is preceded by its length, so that `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn of(kind: &str, parts: &[&[u8]]) -> Id {
        let mut name = Sha1::new_with_prefix(NAMESPACE.as_bytes());
        for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
            name.update((part.len() as u32).to_be_bytes());
            name.update(part);
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&name.finalize()[..16]);
        Id(uuid::Builder::from_sha1_bytes(hash).into_uuid())
    }

    /// The sixteen bytes, as Avro `fixed(16)` holds them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From sixteen bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Id {
        Id(Uuid::from_bytes(bytes))
    }

    /// From its text, `6fa459ea-ee8a-5ca4-894e-db77e160355e`.
    pub fn parse(text: &str) -> Option<Id> {
        Uuid::try_parse(text).ok().map(Id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parts_give_the_same_id_and_other_parts_another() {
        assert_eq!(Id::of("alert", &[b"a", b"b"]), Id::of("alert", &[b"a", b"b"]));
        assert_ne!(Id::of("alert", &[b"ab", b"c"]), Id::of("alert", &[b"a", b"bc"]));
        assert_ne!(Id::of("alert", &[b"a"]), Id::of("notice", &[b"a"]));
        assert_eq!(Id::of("alert", &[b"a"]).as_bytes()[6] >> 4, 5);
    }

    /// Ids that stand in logs must come out the same for ever.
    #[test]
    fn an_id_is_the_uuid_of_its_parts() {
        let id = Id::of("alert", &[b"a", &[0; 100]]);
        assert_eq!(id.to_string(), "cc6ba744-d68f-5ee6-aacd-db71da24c86c");
    }

    #[test]
    fn text_and_bytes_go_there_and_back() {
        let id = Id::of("event", &[b"x"]);
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        assert_eq!(Id::from_bytes(*id.as_bytes()), id);
    }
}
