//! In which encoding a text came, as whoever sent it says: a mark at its beginning, the `Content-Type`
//! of its answer, the declaration of an XML document. It guesses nothing.

use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// The mark that UTF-8 may begin with.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// How far an XML declaration goes at most, in bytes.
const DECLARATION_CAP: usize = 256;

/// The encoding that a `Content-Type` names, if it names one that is known.
pub(crate) fn of_type(content_type: &str) -> Option<&'static Encoding> {
    let named = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    });
    Encoding::for_label(named?.as_bytes())
}

/// The encoding of a mark at the beginning, and how long the mark is.
pub(crate) fn of_mark(bytes: &[u8]) -> Option<(&'static Encoding, usize)> {
    Encoding::for_bom(bytes)
}

/// The encoding of an XML document and where it begins: by its mark, else as it declares, else UTF-8.
///
/// # Errors
/// If it declares one that is not known.
pub(crate) fn of_xml(bytes: &[u8]) -> Result<(&'static Encoding, usize), String> {
    if let Some(marked) = of_mark(bytes) {
        return Ok(marked);
    }
    match bytes {
        [b'<', 0, ..] => return Ok((UTF_16LE, 0)),
        [0, b'<', ..] => return Ok((UTF_16BE, 0)),
        _ => {}
    }
    let Some(label) = declared(bytes) else { return Ok((UTF_8, 0)) };
    let known = Encoding::for_label(label.as_bytes());
    let known = known.ok_or_else(|| format!("it is in {label:?}, which is no known encoding"))?;
    // A declaration that could be read so far is not in UTF-16, whatever it says.
    Ok((known.output_encoding(), 0))
}

/// What stands for `encoding` in the declaration.
fn declared(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.trim_ascii_start();
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION_CAP)]).into_owned();
    let head = head.strip_prefix("<?xml")?.split_once("?>")?.0;
    let value = head.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    Some(value[1..].split_once(quote)?.0.to_owned())
}

/// The text as UTF-8 with a mark, which says so to whoever reads it. A byte that is no text in
/// `encoding` is none here either, so that its row is refused and no other.
pub(crate) fn to_utf8(bytes: &[u8], encoding: &'static Encoding) -> Vec<u8> {
    let (encoding, begin) = of_mark(bytes).unwrap_or((encoding, 0));
    let mut rest = &bytes[begin..];
    if encoding == UTF_8 {
        return [MARK, rest].concat();
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (mut text, mut piece) = (MARK.to_vec(), vec![0; 64 << 10]);
    loop {
        let (result, read, written) =
            decoder.decode_to_utf8_without_replacement(rest, &mut piece, true);
        text.extend_from_slice(&piece[..written]);
        rest = &rest[read..];
        match result {
            DecoderResult::InputEmpty => return text,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => text.push(0xff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_encoding_is_named_by_a_type_or_a_declaration() {
        for (content_type, wanted) in [
            ("text/csv", None),
            ("text/csv; charset=ISO-8859-1", Some("windows-1252")),
            ("text/csv;header=present; Charset=\"windows-1251\"", Some("windows-1251")),
            ("text/csv; charset=utf8", Some("UTF-8")),
            ("text/csv; charset=klingon", None),
            ("charset=utf-8", None),
        ] {
            assert_eq!(of_type(content_type).map(Encoding::name), wanted, "{content_type}");
        }
        for (bytes, wanted) in [
            (b"<rss/>".as_slice(), "UTF-8 0"),
            (b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><rss/>", "windows-1252 0"),
            (b" <?xml version='1.0' encoding = 'koi8-r' ?><rss/>", "KOI8-R 0"),
            (b"<?xml version='1.0'?><a encoding='koi8-r'/>", "UTF-8 0"),
            (b"<?xml encoding='utf-16'?><a/>", "UTF-8 0"),
            (b"\xef\xbb\xbf<?xml encoding='koi8-r'?>", "UTF-8 3"),
            (b"\xff\xfe<\0", "UTF-16LE 2"),
            (b"\0<\0a", "UTF-16BE 0"),
            (b"<?xml encoding='klingon'?>", "it is in \"klingon\", which is no known encoding"),
        ] {
            let found = of_xml(bytes).map(|(encoding, at)| format!("{} {at}", encoding.name()));
            assert_eq!(found.unwrap_or_else(|e| e), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn text_becomes_utf8_and_what_is_none_stays_none() {
        let label = |label: &str| Encoding::for_label(label.as_bytes()).unwrap();
        for (bytes, encoding, wanted) in [
            (b"M\xfcnchen \x80".as_slice(), "latin1", "München €".as_bytes()),
            (b"\x83e\x83X\x83g", "shift_jis", "テスト".as_bytes()),
            (b"a\x83\nb", "shift_jis", b"a\xff\nb"),
            (b"\xef\xbb\xbf\xc3\xbc", "latin1", "ü".as_bytes()),
            (b"\xff\xfe\xfc\0", "utf-8", "ü".as_bytes()),
            (b"\xfe\xff\0a\xd8", "utf-8", b"a\xff"),
            (b"\xff", "utf-8", b"\xff"),
        ] {
            let found = to_utf8(bytes, label(encoding));
            assert_eq!(found, [MARK, wanted].concat(), "{bytes:?} {encoding}");
        }
        let long = "ü".repeat(100_000);
        let latin = vec![0xfc; 100_000];
        assert_eq!(to_utf8(&latin, label("latin1"))[3..], *long.as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        /// Whatever the bytes are and say, it comes to an end within three times their length.
        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..100), which in 0..6) {
            let labels = ["latin1", "shift_jis", "utf-16le", "gb18030", "iso-2022-jp", "replacement"];
            let encoding = Encoding::for_label(labels[which as usize].as_bytes()).unwrap();
            prop_assert!(to_utf8(&bytes, encoding).len() <= 3 * bytes.len() + 3 + 3);
            _ = of_xml(&bytes);
        }
    }
}
