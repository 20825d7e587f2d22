//! What may stand in a cell: numbers and dates as declared, and nothing that a spreadsheet would
//! compute. It keeps a cell's text; only a decimal mark is written as a point.

use super::settings::{CellType, DatasetConfig};
use crate::moment::Moments;
use crate::number::Numbers;
use crate::settings::OneOrMany;
use rust_decimal::Decimal;
use std::borrow::Cow;

/// Reads the cells of one file.
pub struct Cells {
    comma: bool,
    numbers: Numbers,
    moments: Moments,
    formats: String,
}

impl Cells {
    /// Cells of `set`, with a decimal comma or a point.
    ///
    /// # Errors
    /// If the set's date formats are none.
    pub fn new(set: &DatasetConfig, comma: bool) -> Result<Cells, String> {
        let formats = set.date_format.as_ref().map(OneOrMany::all).unwrap_or_default();
        let shown = match formats {
            [] => "an ISO date or date-time".to_owned(),
            formats => formats.join(" or "),
        };
        Ok(Cells {
            comma,
            numbers: Numbers::new(comma, None),
            moments: Moments::new(formats, "UTC")?,
            formats: shown,
        })
    }

    /// What is wrong with a cell of that type.
    ///
    /// # Errors
    /// What was found and what is allowed.
    pub fn check(&mut self, cell: &str, wanted: CellType) -> Result<(), String> {
        let cell = cell.trim();
        match wanted {
            _ if cell.is_empty() => Ok(()),
            CellType::Text => Ok(()),
            CellType::Whole if is_whole(cell) => Ok(()),
            CellType::Whole => Err(format!("{} is not a whole number", shown(cell))),
            CellType::Decimal if self.is_decimal(cell) => Ok(()),
            CellType::Decimal => {
                let mark = if self.comma { "comma" } else { "point" };
                Err(format!(
                    "{} is not a number; allowed: digits with a decimal {mark} and no thousands \
                     separators",
                    shown(cell)
                ))
            }
            CellType::Date => match self.moments.read(cell) {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("{} is not a date; allowed: {}", shown(cell), self.formats)),
            },
        }
    }

    /// The cell as events have it.
    pub fn value<'a>(&self, cell: &'a str, wanted: CellType) -> Cow<'a, str> {
        match self.comma && wanted == CellType::Decimal && cell.contains(',') {
            true => Cow::Owned(cell.replacen(',', ".", 1)),
            false => Cow::Borrowed(cell),
        }
    }

    fn is_decimal(&self, cell: &str) -> bool {
        // Exponents and words such as `inf` are numbers to a computer, not in a table.
        let plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | ',');
        cell.chars().all(plain) && self.numbers.float(cell).is_ok()
    }
}

fn is_whole(cell: &str) -> bool {
    cell.parse::<i64>().is_ok()
}

/// Whether a spreadsheet would compute the cell: it begins with `=`, `+`, `-`, `@`, a tab or a line
/// end, something follows, and it is no number.
pub fn is_formula(cell: &str) -> bool {
    let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if !begins || cell.chars().nth(1).is_none() {
        return false;
    }
    let number = cell.trim().replacen(',', ".", 1);
    Decimal::from_str_exact(&number).is_err() && number.parse::<f64>().is_err()
}

/// A cell that no spreadsheet computes: with an apostrophe before it if it would be.
pub fn tame(cell: &str) -> Cow<'_, str> {
    match is_formula(cell) {
        true => Cow::Owned(format!("'{cell}")),
        false => Cow::Borrowed(cell),
    }
}

/// A cell as it is shown in a text: quoted, and not longer than a line.
pub fn shown(cell: &str) -> String {
    const MOST: usize = 60;
    match cell.char_indices().nth(MOST) {
        Some((at, _)) => format!("{:?}…", &cell[..at]),
        None => format!("{cell:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked() {
        use CellType::{Date, Decimal, Text, Whole};
        let set = DatasetConfig::default();
        let (mut point, mut comma) =
            (Cells::new(&set, false).unwrap(), Cells::new(&set, true).unwrap());
        for (cell, wanted, with_point, with_comma) in [
            ("", Whole, true, true),
            ("  ", Decimal, true, true),
            ("=x", Text, true, true),
            ("12", Whole, true, true),
            (" -12 ", Whole, true, true),
            ("1.0", Whole, false, false),
            ("9223372036854775808", Whole, false, false),
            ("1.5", Decimal, true, false),
            ("1,5", Decimal, false, true),
            ("-0,5", Decimal, false, true),
            ("1,234,5", Decimal, false, false),
            ("1.234,5", Decimal, false, false),
            ("1e3", Decimal, false, false),
            ("inf", Decimal, false, false),
            ("2020-02-29", Date, true, true),
            ("2021-02-29", Date, false, false),
            ("29/02/2020", Date, false, false),
        ] {
            assert_eq!(point.check(cell, wanted).is_ok(), with_point, "{cell} with a point");
            assert_eq!(comma.check(cell, wanted).is_ok(), with_comma, "{cell} with a comma");
        }
        assert_eq!(comma.value("1,5", Decimal), "1.5");
        assert_eq!(comma.value("1,5", Text), "1,5");
        let text = "format = [\"%d/%m/%Y\", \"%d.%m.%Y\"]".replace("format", "date_format");
        let set = toml_set(&text);
        let mut dates = Cells::new(&set, false).unwrap();
        assert!(dates.check("29/02/2020", Date).is_ok() && dates.check("29.02.2020", Date).is_ok());
        let error = dates.check("2020-02-29", Date).unwrap_err();
        assert_eq!(error, "\"2020-02-29\" is not a date; allowed: %d/%m/%Y or %d.%m.%Y");
    }

    fn toml_set(text: &str) -> DatasetConfig {
        let text =
            format!("[[datasets]]\nname = \"a\"\n{text}\n[[datasets.files]]\nname = \"f\"\n");
        let document = tocsin_service::config::Document::parse(&text, "t").unwrap();
        super::super::settings::section(&document).unwrap().remove(0)
    }

    #[test]
    fn formulas_are_known_and_tamed() {
        for (cell, formula) in [
            ("=1+1", true),
            ("=cmd|' /C calc'!A0", true),
            ("+49 30 1234", true),
            ("-x", true),
            ("@SUM(A1)", true),
            ("\t=1", true),
            ("\r=1", true),
            ("-5", false),
            ("+5", false),
            ("-5,3", false),
            ("-5.3", false),
            ("-1e5", false),
            ("-", false),
            ("a=b", false),
            (" =x", false),
            ("", false),
        ] {
            assert_eq!(is_formula(cell), formula, "{cell}");
            assert_eq!(tame(cell).starts_with('\''), formula, "{cell}");
        }
    }
}
