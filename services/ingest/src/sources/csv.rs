//! Delimited text: a header, then a row a line. Forgiving of form (delimiter, quotes, empty tails),
//! strict about content: what does not fit becomes a dead letter with its original bytes.

use super::Kind;
use crate::fields::{Fields, detect_delimiter, is_blank};
use crate::mapping::{Fault, Mapping, Origin, RowError};
use crate::rows::{Found, ROW_CAP, Rows};
use crate::settings::{Encoding, EventKind, SourceConfig};
use crate::source::{Again, File, IngestError, Item, Mark, Sink, Skipped, Source};
use crate::template::Row;
use std::borrow::Cow;
use std::fmt::Write;
use tocsin_domain::event::DatasetRowKind;
use tocsin_service::config::suggest;

pub(super) const KIND: Kind = Kind { name: "csv", keys: KEYS, preset: "", open, upstream: None };

/// How delimited text is read.
pub(super) const KEYS: &[&str] =
    &["delimiter", "header", "columns", "encoding", "skip_lines", "comment", "header_begins"];

/// The longest field, in bytes.
const FIELD_CAP: usize = 64 << 10;
/// The most columns.
const COLUMN_CAP: usize = 10_000;

struct Csv {
    config: SourceConfig,
    delimiter: Option<u8>,
    comment: Option<u8>,
    mapping: Mapping,
}

pub(super) fn open(config: &SourceConfig) -> Result<Box<dyn Source>, String> {
    let ascii = |key: &str, given: Option<char>| match given {
        None => Ok(None),
        Some(c) if c.is_ascii() && !matches!(c, '"' | '\n' | '\r') => Ok(Some(c as u8)),
        Some(c) => Err(format!("`{key}` is {c:?}; it must be one ASCII character, and no quote")),
    };
    if config.header == Some(false) && config.columns.is_none() {
        return Err("without a header, `columns` must name the columns".into());
    }
    if config.header != Some(false) && config.columns.is_some() {
        return Err("`columns` is for files without a header; say `header = false`".into());
    }
    Ok(Box::new(Csv {
        delimiter: ascii("delimiter", config.delimiter)?,
        comment: ascii("comment", config.comment)?,
        mapping: Mapping::compile(config)?,
        config: config.clone(),
    }))
}

/// What is known of a file once its header is read.
struct Layout {
    delimiter: u8,
    columns: Vec<String>,
    /// The column of each slot.
    slots: Vec<usize>,
    /// The row that names the columns; empty if there is none.
    head: Vec<u8>,
}

/// What is kept from row to row, so that no row allocates.
#[derive(Default)]
struct Scratch {
    fields: Fields,
    spans: Vec<(usize, usize)>,
}

impl Source for Csv {
    fn read(&mut self, file: File<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        let mut rows = Rows::new(file.content);
        let layout = self.layout(&mut rows, file.name)?;
        let begin = Origin { file: file.name, line: 0, text: file.name, now: (file.now)() };
        if file.from == Mark::default() {
            self.mapping.border(DatasetRowKind::Opened, &begin, sink)?;
        } else {
            let skipped = rows.skip_to(file.from.lines, file.from.bytes);
            skipped.map_err(|e| self.refuse(file.name, format!("cannot go on in it: {e}")))?;
        }
        let (mut scratch, mut origin) = (Scratch::default(), String::new());
        let mut done = file.from.rows;
        loop {
            let found = rows.next(Some(layout.delimiter));
            let found = found.map_err(|e| self.broken(file.name, &rows, &e))?;
            if found == Found::End {
                let now = (file.now)();
                let end = Origin { now, ..begin };
                return self.mapping.border(DatasetRowKind::Closed, &end, sink);
            }
            origin.clear();
            // Writing to a String cannot fail.
            let _ = write!(origin, "{}:{}", file.name, rows.line());
            let (line, now) = (rows.line(), (file.now)());
            let at = Origin { file: file.name, line, text: &origin, now };
            let whole = check_whole(found).map_err(RowError::from);
            let read = whole.and_then(|()| self.row(&layout, rows.row(), &at, &mut scratch, sink));
            match read {
                Ok(()) => {}
                Err(RowError::Sink(error)) => return Err(error),
                Err(RowError::Fault(fault)) => {
                    let mut letter = self.mapping.dead_letter(fault, rows.row(), &at);
                    letter.head.clone_from(&layout.head);
                    sink(Item::DeadLetter(letter))?;
                }
            }
            done += 1;
            sink(rows.end(done))?;
        }
    }

    fn reread(&mut self, again: Again<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        if self.config.header != Some(false) && again.head.is_empty() {
            let reason = "the header is not kept with the row; import the file once more";
            return Err(self.refuse(again.at.file, reason.to_owned()));
        }
        let layout = self.layout_of(again.head, again.at.file)?;
        let (mut input, mut scratch) = (again.bytes, Scratch::default());
        let mut rows = Rows::new(&mut input);
        let found = rows.next(Some(layout.delimiter));
        let found = found.map_err(|e| self.broken(again.at.file, &rows, &e))?;
        let read = check_whole(found).and_then(|()| match rows.row().len() == again.bytes.len() {
            true => Ok(()),
            false => {
                Err(Fault::new("csv", "it is more than one row now: was the delimiter changed?"))
            }
        });
        let read = read.map_err(RowError::from);
        let read =
            read.and_then(|()| self.row(&layout, again.bytes, &again.at, &mut scratch, sink));
        match read {
            Err(RowError::Fault(fault)) => {
                let letter = self.mapping.dead_letter(fault, again.bytes, &again.at);
                sink(Item::DeadLetter(letter))
            }
            Err(RowError::Sink(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }
}

impl Csv {
    fn layout(&self, rows: &mut Rows<'_>, file: &str) -> Result<Layout, IngestError> {
        for _ in 0..self.config.skip_lines.unwrap_or(0) {
            rows.next(None).map_err(|e| self.broken(file, rows, &e))?;
        }
        if self.config.header != Some(false) {
            // Quotes in the header are balanced on its line, whatever the delimiter is.
            while rows.next(None).map_err(|e| self.broken(file, rows, &e))? != Found::End
                && !self.is_header(rows.row())
            {}
            return self.layout_of(rows.row(), file);
        }
        self.layout_of(&[], file)
    }

    /// What the row that names the columns says, or the configuration if there is none.
    fn layout_of(&self, row: &[u8], file: &str) -> Result<Layout, IngestError> {
        let mut delimiter = self.delimiter.unwrap_or(b',');
        let mut columns = self.config.columns.clone().unwrap_or_default();
        let has_header = self.config.header != Some(false);
        if has_header {
            delimiter = self.delimiter.unwrap_or_else(|| detect_delimiter(row));
            let text = self.text(trim_end(row)).map_err(|e| self.refuse(file, e.reason))?;
            let text = text.trim_start_matches('\u{feff}');
            let mut fields = Fields::default();
            let (text, spans) = fields.split(text, delimiter);
            let name = |(start, end): &(usize, usize)| text[*start..*end].trim().to_owned();
            columns = spans.iter().map(name).collect();
        }
        if columns.len() > COLUMN_CAP {
            let reason = format!("it has {} columns; allowed: {COLUMN_CAP}", columns.len());
            return Err(self.refuse(file, reason));
        }
        let slots = self.mapping.names().iter().map(|name| {
            let at = |name: &str| columns.iter().position(|column| column == name.trim());
            let found = at(name).or_else(|| name.split('|').find_map(at));
            found.ok_or_else(|| self.no_column(file, name, &columns))
        });
        let slots = slots.collect::<Result<_, _>>()?;
        let head = if has_header { row.to_vec() } else { Vec::new() };
        Ok(Layout { delimiter, slots, columns, head })
    }

    fn row(
        &mut self,
        layout: &Layout,
        bytes: &[u8],
        at: &Origin<'_>,
        scratch: &mut Scratch,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowError> {
        if is_blank(bytes, layout.delimiter) || self.is_comment(bytes) {
            return Ok(sink(Item::Skipped(Skipped::Blank))?);
        }
        // Text is only owned where bytes are Latin-1 and not ASCII.
        let text = self.text(trim_end(bytes))?;
        let (text, all) = scratch.fields.split(&text, layout.delimiter);
        check_shape(layout, text, all)?;
        scratch.spans.clear();
        for column in &layout.slots {
            let span = all.get(*column).copied().ok_or_else(|| {
                let (has, name) = (all.len(), &layout.columns[*column]);
                let wanted = layout.columns.len();
                let reason = format!(
                    "the row has {has} fields and none in column `{name}`; \
                    the header has {wanted}"
                );
                Fault::new("csv", reason)
            })?;
            scratch.spans.push(span);
        }
        let row = Row { text, spans: &scratch.spans };
        let named = match self.mapping.event() {
            EventKind::DatasetRow => {
                let names = layout.columns.iter().map(String::as_str);
                names.zip(all.iter().map(|(start, end)| &text[*start..*end])).collect()
            }
            _ => Vec::new(),
        };
        self.mapping.row(&row, named, at, sink)
    }

    fn text<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, str>, Fault> {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => Ok(Cow::Borrowed(text)),
            _ if self.config.encoding == Some(Encoding::Latin1) => {
                Ok(Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()))
            }
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(e) => {
                let at = e.valid_up_to() + 1;
                let reason = format!(
                    "byte {at} of the row is not UTF-8; \
                    if the file is Latin-1, say encoding = \"latin-1\""
                );
                Err(Fault::new("csv", reason))
            }
        }
    }

    fn is_comment(&self, row: &[u8]) -> bool {
        self.comment.is_some() && row.first().copied() == self.comment
    }

    /// Whether the first row that is none of the comments is the header.
    fn is_header(&self, row: &[u8]) -> bool {
        if self.is_comment(row) || row.trim_ascii().is_empty() {
            return false;
        }
        let Some(first) = self.config.header_begins.as_ref() else { return true };
        let row = row.strip_prefix("\u{feff}".as_bytes()).unwrap_or(row);
        let row = row.strip_prefix(b"\"").unwrap_or(row);
        let rest = row.strip_prefix(first.as_bytes()).unwrap_or(b"x");
        !rest.first().is_some_and(u8::is_ascii_alphanumeric)
    }

    fn no_column(&self, file: &str, name: &str, columns: &[String]) -> IngestError {
        let known = || columns.iter().map(String::as_str);
        let meant = suggest(name, known()).map(|c| format!("; did you mean `{c}`?"));
        let shown: Vec<String> = known().take(50).map(|c| format!("`{c}`")).collect();
        let reason = format!(
            "it has no column `{name}`{} its columns are {}",
            meant.unwrap_or_else(|| ";".into()),
            shown.join(", ")
        );
        self.refuse(file, reason)
    }

    fn refuse(&self, file: &str, reason: String) -> IngestError {
        IngestError::Read { name: self.config.name.clone(), file: file.to_owned(), reason }
    }

    fn broken(&self, file: &str, rows: &Rows<'_>, error: &std::io::Error) -> IngestError {
        self.refuse(file, format!("after line {}: {error}", rows.position().0))
    }
}

/// A row must end where it should.
fn check_whole(found: Found) -> Result<(), Fault> {
    match found {
        Found::Row | Found::End => Ok(()),
        Found::TooLong => {
            let reason = format!("the row is longer than {ROW_CAP} bytes, which is the limit");
            Err(Fault::new("limit", reason))
        }
        Found::OpenQuote => {
            let reason = "a quote is opened and not closed; quotes in quoted fields are doubled";
            Err(Fault::new("csv", reason))
        }
    }
}

/// Fields beyond the header must be empty, and none may be huge.
fn check_shape(layout: &Layout, text: &str, all: &[(usize, usize)]) -> Result<(), Fault> {
    let extra = all.iter().skip(layout.columns.len());
    let filled = extra.filter(|(s, e)| !is_blank(&text.as_bytes()[*s..*e], layout.delimiter));
    if filled.count() > 0 {
        let (has, wanted) = (all.len(), layout.columns.len());
        let reason = format!(
            "the row has {has} fields and the header {wanted}; \
            is a delimiter in a field without quotes?"
        );
        return Err(Fault::new("csv", reason));
    }
    match all.iter().position(|(start, end)| end - start > FIELD_CAP) {
        None => Ok(()),
        Some(i) => {
            let reason =
                format!("field {} is longer than {FIELD_CAP} bytes, which is the limit", i + 1);
            Err(Fault::new("limit", reason))
        }
    }
}

fn trim_end(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

#[cfg(test)]
mod tests {
    use crate::sources::testing::{collect, config};

    const EPA: &str = "\"State Name\",\"county Name\",\"Date\",\"AQI\",\"Category\"\n\
        \"Alabama\",\"Baldwin\",\"2020-01-01\",48,\"Good\"\n\
        \"Alabama\",\"Baldwin\",\"2020-01-32\",13,\"Good\"\n\
        \"Alabama\",\"Clay\",\"2020-01-02\",,\"Good\"\n\
        \"Alabama\",\"\",\"2020-01-02\",x,\"Good\"\n\
        \"Alabama\",\"Clay\",\"2020-01-03\",x,\"Good\"\n\
        \"Alabama\"\n";

    const EPA_SOURCE: &str = r#"
        name = "epa"
        kind = "csv"
        event = "reading"
        subject = "{State Name}/{county Name}"
        measure = "aqi"
        value = "{AQI}"
        unit = "AQI-US"
        time = "{Date}"
    "#;

    /// Excerpt of the UCI Air Quality set (Saverio De Vito, CC BY 4.0).
    const UCI: &str = "Date;Time;CO(GT);T;RH;AH;;,,,,,\r\n\
        10/03/2004;18.00.00;2,6;13,6;48,9;0,7578;;\r\n\
        10/03/2004;19.00.00;-200;13,3;47,7;0,7255;;\r\n\
        ;;;;;;;,,,,,\r\n";

    const UCI_SOURCE: &str = r#"
        name = "uci"
        kind = "csv"
        event = "reading"
        decimal = ","
        missing = ["-200"]
        subject = "city"
        time = "{Date} {Time}"
        time_format = "%d/%m/%Y %H.%M.%S"
        time_zone = "Europe/Rome"
        [[values]]
        measure = "co"
        value = "{CO(GT)}"
        unit = "mg/m3"
        [[values]]
        measure = "temperature"
        value = "{T}"
    "#;

    /// Excerpt of the UCI Online Retail set (Daqing Chen, CC BY 4.0).
    const RETAIL: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice\n\
        536365,85123A,\"WHITE, HANGING \"\"HEART\"\"\",6,2010-12-01 08:26:00,2.55\n\
        C536379,D,Discount,-1,2010-12-01 09:41:00,27.5\n\
        536365,71053,LANTERN,6,2010-12-01 08:26:00,3.39,extra\n";

    const RETAIL_SOURCE: &str = r#"
        name = "retail"
        kind = "csv"
        event = "order-row"
        subject = "{StockCode}"
        order = "{InvoiceNo}"
        title = "{Description}"
        units = "{Quantity}"
        price = "{UnitPrice}"
        currency = "GBP"
        time = "{InvoiceDate}"
        [[only]]
        field = "{Quantity}"
        above = "0"
    "#;

    #[test]
    fn good_rows_are_events_and_bad_rows_dead_letters() {
        let found = collect(EPA_SOURCE, "epa.csv", EPA.as_bytes()).unwrap();
        let wanted = [
            "aqi default/Alabama/Baldwin/aqi 48 AQI-US 2020-01-01T00:00:00Z epa.csv:2",
            "dead time epa.csv:3 \"2020-01-32\" is not a time; allowed: an ISO date or date-time; \
             give time_format if it is another form",
            "NoValue",
            "dead value epa.csv:6 aqi \"x\" is not a number; allowed: digits with a decimal point \
             and no thousands separators",
            "dead csv epa.csv:7 the row has 1 fields and none in column `county Name`; \
             the header has 5",
        ];
        let found: Vec<_> = found.into_iter().filter(|l| !l.contains("epa.csv:5")).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn semicolons_decimal_commas_sentinels_and_empty_tails() {
        let wanted = [
            "co default/city/co 2.6 mg/m3 2004-03-10T17:00:00Z u.csv:2",
            "temperature default/city/temperature 13.6  2004-03-10T17:00:00Z u.csv:2",
            "NoValue",
            "temperature default/city/temperature 13.3  2004-03-10T18:00:00Z u.csv:3",
            "Blank",
        ];
        assert_eq!(collect(UCI_SOURCE, "u.csv", UCI.as_bytes()).unwrap(), wanted);
    }

    #[test]
    fn order_rows_are_filtered_and_keep_quotes() {
        let wanted = [
            "order default/85123A 6 x 2.55 GBP WHITE, HANGING \"HEART\" r.csv:2",
            "Filtered",
            "dead csv r.csv:4 the row has 7 fields and the header 6; \
             is a delimiter in a field without quotes?",
        ];
        assert_eq!(collect(RETAIL_SOURCE, "r.csv", RETAIL.as_bytes()).unwrap(), wanted);
    }

    #[test]
    fn a_file_without_a_needed_column_is_refused_with_a_suggestion() {
        let text = EPA.replace("county Name", "County Name");
        let error = collect(EPA_SOURCE, "epa.csv", text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no column `county Name`; did you mean `County Name`?"), "{error}");
    }

    #[test]
    fn encodings_marks_comments_and_files_without_header() {
        let latin = b"# note\n\xef\xbb\xbf".to_vec();
        let base = "kind = \"csv\"\nevent = \"reading\"\nmeasure = \"m\"\nvalue = \"{v}\"\n\
            subject = \"{s}\"\ntime = \"2020-01-01\"\n";
        let source = format!("name = \"a\"\n{base}comment = \"#\"\n");
        let text = [&latin[..], b"s,v\nM\xc3\xbcnchen,1\nM\xfcnchen,2\n#x,y\n"].concat();
        let found = collect(&source, "a.csv", &text).unwrap();
        assert!(found[0].starts_with("m default/München/m 1"), "{found:?}");
        assert!(
            found[1].starts_with("dead csv a.csv:4 byte 2 of the row is not UTF-8"),
            "{found:?}"
        );
        assert_eq!(found[2], "Blank");

        let source = format!(
            "name = \"a\"\n{base}encoding = \"latin-1\"\nheader = false\n\
             columns = [\"s\", \"v\"]\ndelimiter = \"|\"\nskip_lines = 1\n"
        );
        let found = collect(&source, "a.csv", b"skipped\nM\xfcnchen|2\n").unwrap();
        assert!(found[0].starts_with("m default/München/m 2"), "{found:?}");
    }

    #[test]
    fn data_set_rows_keep_every_field_and_are_opened_and_closed() {
        let source = "name = \"d\"\nkind = \"csv\"\nevent = \"dataset-row\"\n";
        let found = collect(source, "d.csv", b"a,b\n1,x\n").unwrap();
        assert_eq!(
            found,
            [
                "dataset d Opened 0 []",
                "dataset d Row 2 [(\"a\", \"1\"), (\"b\", \"x\")]",
                "dataset d Closed 0 []"
            ]
        );
    }

    #[test]
    fn configurations_that_cannot_work_are_refused() {
        for (from, to, wanted) in [
            ("time = \"{Date}\"", "", "`time` is missing"),
            ("\"{AQI}\"", "\"{AQI\"", "has a brace without its partner"),
            ("measure = \"aqi\"", "", "give either `measure`"),
            ("unit = \"AQI-US\"", "price = \"1\"", "`price` means nothing for this event"),
            (
                "unit = \"AQI-US\"",
                "items = \"x\"",
                "`items` is not a key of a source of kind `csv`",
            ),
            ("unit = \"AQI-US\"", "time_zone = \"Mars\"", "time_zone \"Mars\" is not known"),
            ("unit = \"AQI-US\"", "delimiter = \"é\"", "must be one ASCII character"),
            ("\"csv\"", "\"xml\"", "kind `xml` is not known; allowed: `airnow`, `airnow-daily`"),
        ] {
            let text = EPA_SOURCE.replace(from, to);
            let error = crate::sources::open(&config(&text)).err().unwrap_or_default();
            assert!(error.contains(wanted), "{to}: {error}");
        }
    }
}
