//! Numbers as upstreams print them. No thousands separators: `1,234` has two meanings, and one of
//! them is wrong by a factor of a thousand.

use rust_decimal::Decimal;
use std::borrow::Cow;
use std::str::FromStr;
use tocsin_domain::decimal::MONEY_SCALE;

/// Says what a number looks like in one source.
#[derive(Clone, Debug)]
pub struct Numbers {
    comma: bool,
    missing_words: Vec<String>,
    missing_values: Vec<f64>,
}

/// What stands for no value if the source does not say.
const MISSING: [&str; 5] = ["", "NA", "nan", "None", "-"];

impl Numbers {
    /// Numbers with a decimal `comma` or point. `missing` says what stands for no value; nothing at
    /// all always does. What is a number there is compared as one, so `-200` is also `-200,0`.
    pub fn new(comma: bool, missing: Option<&[String]>) -> Numbers {
        let default = || MISSING.map(str::to_owned).to_vec();
        let missing_words = missing.map_or_else(default, <[String]>::to_vec);
        let mut numbers = Numbers { comma, missing_words, missing_values: Vec::new() };
        let values = numbers.missing_words.iter().filter_map(|word| word.trim().parse().ok());
        numbers.missing_values = values.filter(|value: &f64| value.is_finite()).collect();
        numbers
    }

    /// Whether `text` stands for no value.
    pub fn is_missing(&self, text: &str) -> bool {
        text.is_empty()
            || self.missing_words.iter().any(|word| word.trim().eq_ignore_ascii_case(text))
            || (!self.missing_values.is_empty()
                && self.float(text).is_ok_and(|value| self.missing_values.contains(&value)))
    }

    /// A measured value.
    ///
    /// # Errors
    /// If it is no finite number.
    pub fn float(&self, text: &str) -> Result<f64, String> {
        let value = self.point(text).and_then(|text| text.parse::<f64>().ok());
        value.filter(|value| value.is_finite()).ok_or_else(|| self.refuse(text))
    }

    /// A number to compare with a limit, as exact as 28 digits are.
    ///
    /// # Errors
    /// If it is no number, or too great for so many.
    pub fn exact(&self, text: &str) -> Result<Decimal, String> {
        let read = |text: Cow<'_, str>| {
            let rounded = Decimal::from_str(&text).or_else(|_| Decimal::from_scientific(&text));
            rounded.ok()
        };
        self.point(text).and_then(read).ok_or_else(|| self.refuse(text))
    }

    /// An exact amount.
    ///
    /// # Errors
    /// If it is no number, or has more digits after the point than money has on the wire.
    pub fn decimal(&self, text: &str) -> Result<Decimal, String> {
        let value = self.point(text).and_then(|text| Decimal::from_str_exact(&text).ok());
        let value = value.ok_or_else(|| self.refuse(text))?.normalize();
        if value.scale() > MONEY_SCALE {
            return Err(format!("{text:?} has more than {MONEY_SCALE} digits after the point"));
        }
        Ok(value)
    }

    /// A count; `6.0` is 6.
    ///
    /// # Errors
    /// If it is no whole number of 64 bits.
    pub fn whole(&self, text: &str) -> Result<i64, String> {
        if let Ok(value) = text.parse() {
            return Ok(value);
        }
        let value = self.decimal(text)?;
        let whole = value.is_integer().then(|| i64::try_from(value).ok()).flatten();
        whole.ok_or_else(|| format!("{text:?} is not a whole number"))
    }

    /// `text` with a decimal point; `None` if it has a character that no number has.
    fn point<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        match self.comma {
            false => Some(Cow::Borrowed(text)),
            true if text.contains('.') => None,
            true => Some(Cow::Owned(text.replacen(',', ".", 1))),
        }
    }

    fn refuse(&self, text: &str) -> String {
        let mark = if self.comma { "comma" } else { "point" };
        format!(
            "{text:?} is not a number; \
            allowed: digits with a decimal {mark} and no thousands separators"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_points_and_commas() {
        let (point, comma) = (Numbers::new(false, None), Numbers::new(true, None));
        for (numbers, text, wanted) in [
            (&point, "5.3", Some(5.3)),
            (&point, "-19.3", Some(-19.3)),
            (&point, "1e3", Some(1000.0)),
            (&point, "5,3", None),
            (&point, "1,234.5", None),
            (&point, "inf", None),
            (&point, "1e999", None),
            (&point, "5 3", None),
            (&comma, "0,7578", Some(0.7578)),
            (&comma, "1360", Some(1360.0)),
            (&comma, "1.360", None),
            (&comma, "1,2,3", None),
        ] {
            assert_eq!(numbers.float(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn money_is_exact_and_has_six_digits() {
        let numbers = Numbers::new(false, None);
        assert_eq!(numbers.decimal("2.550").unwrap().to_string(), "2.55");
        assert_eq!(numbers.decimal("-11062.06").unwrap().to_string(), "-11062.06");
        assert!(numbers.decimal("0.1234567").is_err());
        assert!(numbers.decimal("0.123456000").is_ok());
        assert_eq!(numbers.whole("17850.0"), Ok(17_850));
        assert!(numbers.whole("1.5").is_err());
    }

    #[test]
    fn what_is_compared_may_be_as_long_as_upstreams_print_it() {
        let numbers = Numbers::new(false, None);
        for (text, wanted) in [
            ("19.123456789012345", "19.123456789012345"),
            ("0.30000000000000000000000000000000004", "0.3"),
            ("1e-7", "0.0000001"),
            ("-200", "-200"),
        ] {
            assert_eq!(numbers.exact(text).unwrap(), wanted.parse().unwrap(), "{text}");
        }
        assert!(numbers.exact("1,5").is_err() && numbers.exact("1e99").is_err());
    }

    #[test]
    fn what_stands_for_no_value_is_said_or_usual() {
        let usual = Numbers::new(false, None);
        let said = Numbers::new(true, Some(&["-200".to_owned()]));
        for (numbers, text, missing) in [
            (&usual, "", true),
            (&usual, "NaN", true),
            (&usual, "-", true),
            (&usual, "-200", false),
            (&said, "-200", true),
            (&said, "-200,0", true),
            (&said, "", true),
            (&said, "NA", false),
            (&said, "200", false),
        ] {
            assert_eq!(numbers.is_missing(text), missing, "{text}");
        }
    }
}
