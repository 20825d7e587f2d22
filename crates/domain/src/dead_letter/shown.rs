//! How bytes that nobody can trust are shown: nothing in them may move a cursor, change a colour or
//! turn the direction of the text. Pure text work.

use std::fmt::Write;

/// Bytes in a line of a dump.
const LINE: usize = 16;

/// The text with everything escaped that is not plainly seen: control characters, marks of direction,
/// what has no width; and the backslash, so that nothing can pass for an escape.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if is_unseen(c) => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' | '\u{e0000}'..='\u{e0fff}')
}

/// Bytes as lines that may be printed anywhere: escaped text, one line for each of theirs, if they are
/// UTF-8; else a dump of sixteen bytes a line.
pub fn dump(bytes: &[u8]) -> Vec<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.split_inclusive('\n').map(escaped).collect(),
        Err(_) => bytes.chunks(LINE).enumerate().map(|(i, line)| hex(i * LINE, line)).collect(),
    }
}

fn hex(at: usize, line: &[u8]) -> String {
    let mut out = format!("{at:08x} ");
    for byte in line {
        let _ = write!(out, " {byte:02x}");
    }
    let seen = line.iter().map(|byte| match byte {
        0x20..0x7f => char::from(*byte),
        _ => '.',
    });
    let room = 3 * (LINE - line.len());
    let _ = write!(out, "{:room$}  |{}|", "", seen.collect::<String>());
    out
}

/// JSON in which every character beyond ASCII, and DEL, is written as `\u…`: the same document, and no
/// terminal obeys it.
pub fn ascii_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        for (text, wanted) in [
            ("plain, größer ✓", "plain, größer ✓"),
            ("\u{1b}[31mred\u{1b}]0;title\u{7}", "\\u{1b}[31mred\\u{1b}]0;title\\u{7}"),
            ("a\tb\r\n", "a\\tb\\r\\n"),
            ("c1 \u{9b}31m, del \u{7f}", "c1 \\u{9b}31m, del \\u{7f}"),
            ("rtl \u{202e}evil\u{2066}", "rtl \\u{202e}evil\\u{2066}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("not \\n an escape", "not \\\\n an escape"),
        ] {
            assert_eq!(escaped(text), wanted);
        }
    }

    #[test]
    fn text_is_shown_as_text_and_bytes_as_bytes() {
        assert_eq!(dump(b"a,b\n\x1b[2J"), ["a,b\\n", "\\u{1b}[2J"]);
        let wanted = format!("00000000  ff 00 41 1b{}  |..A.|", " ".repeat(36));
        assert_eq!(dump(b"\xff\0A\x1b"), [wanted]);
        assert_eq!(dump(&[0xff; 17])[1], format!("00000010  ff{}  |.|", " ".repeat(45)));
        assert!(dump(b"").is_empty());
    }

    #[test]
    fn json_stays_the_same_document() {
        let text = "\u{9b}31m \u{202e} é 🔔 \u{7f} \u{1b}";
        let json = ascii_json(&serde_json::to_string(text).unwrap());
        assert!(json.bytes().all(|b| (0x20..0x7f).contains(&b)), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
