//! A row's text cut into fields: RFC 4180, with any delimiter, forgiving of quotes within fields.

/// Fields as places in a text, kept from row to row so that no row allocates.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Where each field begins and ends in the text that [`Fields::split`] returned.
    pub spans: Vec<(usize, usize)>,
    plain: String,
}

/// Delimiters that are tried where the source names none; the most frequent one wins.
pub const DELIMITERS: [u8; 4] = *b",;\t|";

impl Fields {
    /// Cuts `row` (without its line end); returns the text that the spans point into.
    pub fn split<'a>(&'a mut self, row: &'a str, delimiter: u8) -> (&'a str, &'a [(usize, usize)]) {
        self.spans.clear();
        if row.as_bytes().contains(&b'"') {
            self.unquote(row, delimiter);
            return (&self.plain, &self.spans);
        }
        let mut start = 0;
        for (at, byte) in row.bytes().enumerate() {
            if byte == delimiter {
                self.spans.push((start, at));
                start = at + 1;
            }
        }
        self.spans.push((start, row.len()));
        (row, &self.spans)
    }

    fn unquote(&mut self, row: &str, delimiter: u8) {
        self.plain.clear();
        let mut rest = row;
        loop {
            let start = self.plain.len();
            if let Some(quoted) = rest.strip_prefix('"') {
                rest = quoted;
                while let Some(at) = rest.find('"') {
                    self.plain.push_str(&rest[..at]);
                    rest = &rest[at + 1..];
                    match rest.strip_prefix('"') {
                        Some(after) => rest = after,
                        None => break,
                    }
                    self.plain.push('"');
                }
            }
            let end = rest.find(delimiter as char);
            self.plain.push_str(&rest[..end.unwrap_or(rest.len())]);
            self.spans.push((start, self.plain.len()));
            match end {
                Some(at) => rest = &rest[at + 1..],
                None => return,
            }
        }
    }
}

/// The delimiter that stands most often in `header` outside of quotes; a comma if none does.
pub fn detect_delimiter(header: &[u8]) -> u8 {
    let outside = |delimiter: u8| {
        let mut inside = false;
        let counted = header.iter().filter(|byte| {
            inside ^= **byte == b'"';
            !inside && **byte == delimiter
        });
        counted.count()
    };
    let mut best = (0, b',');
    for delimiter in DELIMITERS {
        let count = outside(delimiter);
        if count > best.0 {
            best = (count, delimiter);
        }
    }
    best.1
}

/// Whether nothing stands in `row` but delimiters, quotes and blanks.
pub fn is_blank(row: &[u8], delimiter: u8) -> bool {
    row.iter().all(|byte| *byte == delimiter || *byte == b'"' || b",; \t\r\n".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(row: &str, delimiter: u8) -> Vec<String> {
        let mut fields = Fields::default();
        let (text, spans) = fields.split(row, delimiter);
        spans.iter().map(|(start, end)| text[*start..*end].to_owned()).collect()
    }

    #[test]
    fn cuts_and_unquotes() {
        for (row, wanted) in [
            ("a,b,,c", vec!["a", "b", "", "c"]),
            ("", vec![""]),
            ("\"a,b\",c", vec!["a,b", "c"]),
            ("\"say \"\"hi\"\"\",\"\"", vec!["say \"hi\"", ""]),
            ("5\" pipe,\"x\"y", vec!["5\" pipe", "xy"]),
            ("\"two\nlines\",", vec!["two\nlines", ""]),
        ] {
            assert_eq!(split(row, b','), wanted, "{row}");
        }
    }

    #[test]
    fn finds_the_delimiter_and_blank_rows() {
        assert_eq!(detect_delimiter(b"Date;Time;CO(GT);;,,,,,\r\n"), b',');
        assert_eq!(detect_delimiter(b"Date;Time;CO(GT);T;RH;AH;;,,,,,\r\n"), b';');
        assert_eq!(detect_delimiter(b"\"a;b;c\",d"), b',');
        assert_eq!(detect_delimiter(b"one"), b',');
        assert!(is_blank(b";;;,,,\r\n", b';') && is_blank(b"\"\",\"\"\n", b','));
        assert!(!is_blank(b";0;\n", b';'));
    }

    proptest! {
        #[test]
        fn agrees_with_the_csv_crate(fields in prop::collection::vec("[a-z\",; é\n]{0,6}", 1..6)) {
            let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
            writer.write_record(&fields).unwrap();
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            prop_assert_eq!(split(text.strip_suffix('\n').unwrap(), b','), fields);
        }
    }
}
