//! Exact numbers for what is compared: parameters as they are written, values as they are printed,
//! and ratios of whole numbers. No limit is ever decided by how a binary float rounds.

use rust_decimal::Decimal;
use serde::Deserialize;
use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

/// Millionths: how a printed value is held.
const MILLION: i128 = 1_000_000;

/// A ratio of whole numbers; the denominator is positive. Values, indexes and limits are millionths,
/// so that most comparisons need no multiplication.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    pub num: i128,
    pub den: i128,
}

impl Ratio {
    /// The decimal that `value` prints as, to six digits after the point.
    pub fn printed(value: f64) -> Ratio {
        let millionths = value * 1e6;
        // Nearly every value fits, and is then cut and rounded in a few instructions.
        let num = match millionths.abs() < 9e18 {
            true => {
                let whole = millionths as i64;
                let rest = millionths - whole as f64;
                i128::from(whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5))
            }
            false => millionths.round() as i128,
        };
        Ratio { num, den: MILLION }
    }

    pub fn whole(number: u32) -> Ratio {
        Ratio { num: i128::from(number) * MILLION, den: MILLION }
    }

    pub fn minus(self, other: Ratio) -> Ratio {
        if self.den == other.den {
            return Ratio { num: self.num.saturating_sub(other.num), den: self.den };
        }
        let (left, right) = (times(self.num, other.den), times(other.num, self.den));
        Ratio { num: left.saturating_sub(right), den: times(self.den, other.den) }
    }

    /// This change as a percentage of `base`; `None` if `base` is zero.
    pub fn percent_of(self, base: Ratio) -> Option<Ratio> {
        let den = times(self.den, base.num.saturating_abs());
        (den > 0).then(|| Ratio { num: times(times(self.num, 100), base.den), den })
    }

    /// Divided by a positive whole number.
    pub fn over(self, by: i128) -> Ratio {
        Ratio { num: self.num, den: times(self.den, by) }
    }
}

/// Numbers that no measurement reaches stop at the end of the range instead of wrapping round it.
fn times(a: i128, b: i128) -> i128 {
    a.saturating_mul(b)
}

impl PartialEq for Ratio {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(match self.den == other.den {
            true => self.num.cmp(&other.num),
            false => times(self.num, other.den).cmp(&times(other.num, self.den)),
        })
    }
}

/// At most six digits after the point, the last one rounded half up; no trailing zeros.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (num, den) = (self.num.unsigned_abs(), self.den.unsigned_abs().max(1));
        let (mut whole, rest) = (num / den, num % den);
        // Halving both keeps the product in range; it changes nothing that six digits can show.
        let (mut rest, mut den) = (rest, den);
        while den > u128::MAX >> 24 {
            (rest, den) = (rest >> 1, den >> 1);
        }
        let mut part = (rest * 2_000_000 + den) / (2 * den);
        if part == MILLION.unsigned_abs() {
            (whole, part) = (whole + 1, 0);
        }
        let sign = if self.num < 0 && (whole, part) != (0, 0) { "-" } else { "" };
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let (mut part, mut digits) = (part as u32, 6);
        while part % 10 == 0 {
            (part, digits) = (part / 10, digits - 1);
        }
        write!(f, "{sign}{whole}.{part:0digits$}")
    }
}

/// A parameter that is an exact decimal, written as a number or as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct Exact(pub Decimal);

impl Exact {
    /// In lowest terms, as far as tens go.
    pub fn fraction(self) -> Ratio {
        let decimal = self.0.normalize();
        Ratio { num: decimal.mantissa(), den: 10_i128.pow(decimal.scale()) }
    }

    /// In millionths, if six digits are enough.
    pub fn ratio(self) -> Ratio {
        let Ratio { num, den } = self.fraction();
        match MILLION % den {
            0 => Ratio { num: times(num, MILLION / den), den: MILLION },
            _ => Ratio { num, den },
        }
    }
}

impl TryFrom<serde_json::Value> for Exact {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Exact, String> {
        let text = match &value {
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::String(text) => text.clone(),
            other => return Err(format!("{other} is not a decimal number such as 35.5")),
        };
        let parsed = match text.contains(['e', 'E']) {
            true => Decimal::from_scientific(&text),
            false => Decimal::from_str_exact(&text),
        };
        let in_range =
            |d: &Decimal| d.normalize().scale() <= 9 && d.abs() < Decimal::from(10_i64.pow(15));
        parsed.ok().filter(in_range).map(Exact).ok_or_else(|| {
            format!(
                "{text:?} is not a decimal number below 10^15 with at most 9 digits after the point"
            )
        })
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.normalize().fmt(f)
    }
}

/// A parameter that is a length of time: `90m`, `3h`, `2d`; a day has 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Lasting(pub Duration);

impl TryFrom<String> for Lasting {
    type Error = String;

    fn try_from(text: String) -> Result<Lasting, String> {
        let span = text
            .parse::<jiff::Span>()
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()));
        span.ok().and_then(|length| Duration::try_from(length).ok()).map(Lasting).ok_or_else(|| {
            format!("{text:?} is not a length of time such as \"90m\", \"3h\" or \"2d\"")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn printed_values_compare_as_they_print() {
        let limit: Exact = serde_json::from_str("35.4").unwrap();
        for (value, above) in [(35.4, false), (35.400001, true), (35.399999, false), (-35.5, false)]
        {
            assert_eq!(Ratio::printed(value) > limit.ratio(), above, "{value}");
        }
        assert_eq!(Ratio::printed(0.1 + 0.2).num, 300_000);
        assert!(Ratio::printed(f64::MAX) > Ratio::whole(1));
        assert!(Ratio::printed(f64::MIN) < Ratio::whole(1));
    }

    #[test]
    fn ratios_are_shown_with_six_digits() {
        for (num, den, text) in [
            (1, 3, "0.333333"),
            (2, 3, "0.666667"),
            (-1, 2, "-0.5"),
            (7, 1, "7"),
            (-1, i128::MAX, "0"),
            (1_999_999_999, 1_000_000_000, "2"),
            (-5, 100, "-0.05"),
            (i128::MAX, i128::MAX, "1"),
        ] {
            assert_eq!(Ratio { num, den }.to_string(), text);
        }
    }

    #[test]
    fn changes_and_percentages_are_exact() {
        let (old, new) = (Ratio::printed(80.0), Ratio::whole(100));
        assert_eq!(new.minus(old).to_string(), "20");
        assert_eq!(new.minus(old).percent_of(old).unwrap().to_string(), "25");
        assert_eq!(old.minus(new).percent_of(old).unwrap().to_string(), "-25");
        assert_eq!(new.percent_of(Ratio::whole(0)), None);
        assert_eq!(Ratio::printed(10.0).over(4).to_string(), "2.5");
    }

    #[test]
    fn parameters_are_read_and_refused() {
        for (json, text) in
            [("100", "100"), ("35.40", "35.4"), ("\"7000000\"", "7000000"), ("1e-7", "0.0000001")]
        {
            assert_eq!(serde_json::from_str::<Exact>(json).unwrap().to_string(), text);
        }
        for json in ["true", "\"many\"", "1e300", "\"0.00000000001\""] {
            assert!(serde_json::from_str::<Exact>(json).is_err(), "{json}");
        }
        let length = |text: &str| Lasting::try_from(text.to_owned()).map(|l| l.0.as_secs());
        assert_eq!(
            (length("3h"), length("2d"), length("PT90S")),
            (Ok(10_800), Ok(172_800), Ok(90))
        );
        assert!(length("soon").is_err() && length("-3h").is_err());
    }

    proptest! {
        #[test]
        fn order_agrees_with_decimals(a in -10_000_000i64..10_000_000, b in -10_000_000i64..10_000_000) {
            let value = a as f64 / 1e3;
            let limit = Exact(Decimal::new(b, 3));
            prop_assert_eq!(Ratio::printed(value).partial_cmp(&limit.ratio()), Decimal::new(a, 3).partial_cmp(&Decimal::new(b, 3)));
        }
    }
}
