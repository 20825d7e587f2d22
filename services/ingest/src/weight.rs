//! What a JSON document takes in memory once it is parsed, told from its bytes before anything is:
//! a value takes up to a hundred times as much as its text, so a limit of bytes alone is none.

use serde_json::Value;

/// The most that a document, and the rows that are made of it, may take in memory, in bytes.
pub const WEIGHT_CAP: usize = 256 << 20;

// What each of these takes at most, as tests/memory.rs has measured: the first node of a map, the
// first places of a list, a place in either with its own value, and the buffer of a text.
const OBJECT: usize = 640;
const LIST: usize = 160;
const PLACE: usize = 110;
const TEXT: usize = 48;

/// How many bytes the document `bytes` takes in memory, never less than it does. It need not be JSON:
/// then a parser has taken no more when it finds out.
pub fn weigh(bytes: &[u8]) -> usize {
    let (mut weight, mut rest) = (bytes.len(), bytes.iter());
    while let Some(byte) = rest.next() {
        weight += match byte {
            b'{' => OBJECT,
            b'[' => LIST,
            b',' => PLACE,
            b'"' => {
                skip_text(&mut rest);
                TEXT
            }
            _ => 0,
        };
    }
    weight
}

/// Goes behind the quote that ends a text.
fn skip_text(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(rest.next()),
            _ => {}
        }
    }
}

/// The weight of the document, if `most` is enough for it.
///
/// # Errors
/// If it is not; says so.
pub fn check(bytes: &[u8], most: usize) -> Result<usize, String> {
    Some(weigh(bytes)).filter(|weight| *weight <= most).ok_or_else(|| {
        let (length, most) = (bytes.len(), WEIGHT_CAP >> 20);
        format!(
            "its {length} bytes hold so many values that they take more than {most} MiB in memory, \
            the limit; ask for smaller pages, or write one object a line"
        )
    })
}

/// The value of a document that is not too heavy.
///
/// # Errors
/// If it is too heavy, or is not JSON.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    check(bytes, WEIGHT_CAP)?;
    serde_json::from_slice(bytes).map_err(|e| format!("it is not JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_texts_weighs_no_more_than_its_bytes() {
        for (text, more) in [
            ("", 0),
            ("0", 0),
            ("[0,0]", LIST + PLACE),
            (r#"{"a":"[{,:"}"#, OBJECT + 2 * TEXT),
            (r#""\"[[[""#, TEXT),
            (r#"["\\",[]]"#, 2 * LIST + PLACE + TEXT),
            (r#"["[[["#, LIST + TEXT),
        ] {
            assert_eq!(weigh(text.as_bytes()), text.len() + more, "{text}");
        }
    }

    #[test]
    fn too_many_values_are_refused_before_any_is_made() {
        let lists = "[".repeat(64 << 20);
        let numbers = format!("[{}0]", "0,".repeat(32 << 20));
        for (text, wanted) in [
            (lists.as_str(), "take more than 256 MiB in memory"),
            (&numbers, "take more than 256 MiB in memory"),
            ("[0", "it is not JSON: EOF"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        let long = format!("[\"{}\"]", "[,".repeat(16 << 20));
        assert!(parse(long.as_bytes()).is_ok(), "a long text is one value");
    }
}
