//! How detectors write what they remember: fixed little-endian numbers and text with its length.
//! Readers answer `None` for bytes that end too soon, and never panic.

use tocsin_domain::Micros;
use tocsin_stream::chunk::{read_number, write_number};

/// The most positions that the evidence of an alert names.
pub const MOST_OFFSETS: usize = 16;

pub fn put_micros(out: &mut Vec<u8>, time: Micros) {
    out.extend_from_slice(&time.0.to_le_bytes());
}

pub fn take_micros(bytes: &mut &[u8]) -> Option<Micros> {
    Some(Micros(i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?)))
}

pub fn put_wide(out: &mut Vec<u8>, number: i128) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub fn take_wide(bytes: &mut &[u8]) -> Option<i128> {
    Some(i128::from_le_bytes(*bytes.split_off(..16)?.first_chunk()?))
}

pub fn put_text(out: &mut Vec<u8>, text: &str) {
    write_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let length = read_number(bytes)? as usize;
    String::from_utf8(bytes.split_off(..length)?.to_vec()).ok()
}

pub fn put_offsets(out: &mut Vec<u8>, offsets: &[u64]) {
    write_number(out, offsets.len() as u64);
    offsets.iter().for_each(|offset| write_number(out, *offset));
}

pub fn take_offsets(bytes: &mut &[u8]) -> Option<Vec<u64>> {
    let count = read_number(bytes)?.min(MOST_OFFSETS as u64);
    (0..count).map(|_| read_number(bytes)).collect()
}

/// Adds the newest offset and forgets the oldest if there are too many.
pub fn note_offset(offsets: &mut Vec<u64>, offset: u64) {
    if offsets.len() == MOST_OFFSETS {
        offsets.remove(0);
    }
    offsets.push(offset);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_and_cuts_are_none() {
        let mut bytes = Vec::new();
        put_micros(&mut bytes, Micros(-5));
        put_wide(&mut bytes, i128::MIN);
        put_text(&mut bytes, "Dör");
        put_offsets(&mut bytes, &[1, 300]);
        let take = |mut bytes: &[u8]| {
            let rest = &mut bytes;
            Some((take_micros(rest)?, take_wide(rest)?, take_text(rest)?, take_offsets(rest)?))
        };
        let all = (Micros(-5), i128::MIN, "Dör".to_owned(), vec![1, 300]);
        assert_eq!(take(&bytes), Some(all));
        assert!((0..bytes.len()).all(|cut| take(&bytes[..cut]).is_none()));
    }

    #[test]
    fn only_the_newest_offsets_are_kept() {
        let mut offsets = Vec::new();
        (0..20).for_each(|offset| note_offset(&mut offsets, offset));
        assert_eq!(offsets, (4..20).collect::<Vec<_>>());
    }
}
