//! The US EPA air quality index of a concentration: 40 CFR Part 58 Appendix G with the PM2.5 rows in
//! force since 6 May 2024. Whole numbers throughout, so that an index never depends on how a binary
//! float rounds. It converts no mass into a mixing ratio: that needs a temperature.

mod tables;

pub use tables::{Band, bands};
use tables::{Row, TABLES, Table};

/// An index and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// 0 to 500.
    pub aqi: u32,
    /// The band that it lies in.
    pub band: &'static Band,
}

/// Why there is no index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AqiError {
    /// The scale has no table for it.
    #[error(
        "the US EPA index has no table for {measure:?} averaged over {averaging:?}: it has {known}"
    )]
    NoTable {
        /// What was measured.
        measure: String,
        /// As it was said.
        averaging: String,
        /// Every measure and averaging that it has.
        known: String,
    },
    /// The unit is another and cannot be converted exactly.
    #[error("the US EPA index of {measure} needs {wanted}, found {found:?}")]
    Unit {
        /// What was measured.
        measure: &'static str,
        /// The units that are allowed.
        wanted: &'static str,
        /// As it was said.
        found: String,
    },
    /// The table begins higher.
    #[error("the US EPA index of {measure} over {averaging} begins at {lowest}: use {instead}")]
    TooLow {
        /// What was measured.
        measure: &'static str,
        /// What it is an average over.
        averaging: &'static str,
        /// The lowest concentration that has an index, with its unit.
        lowest: &'static str,
        /// The averaging whose table holds lower values.
        instead: &'static str,
    },
    /// It is no number that a concentration can be.
    #[error("a concentration must be a finite number below 1,000,000,000, found {found}")]
    Range {
        /// The number.
        found: String,
    },
}

/// Millionths: how a printed concentration is held exactly.
const MILLION: i128 = 1_000_000;

/// The index of a concentration as printed: `("pm25", "PT24H", "ug/m3", 35.49)` is 100. An empty
/// `averaging` means the pollutant's main table. Negative concentrations count as 0, and above its
/// last row a table gives the last row's highest index. Allocates only for an error.
pub fn us_epa(measure: &str, averaging: &str, unit: &str, value: f64) -> Result<Index, AqiError> {
    let millionths = millionths(value).ok_or_else(|| range(value))?;
    us_epa_exact(measure, averaging, unit, i128::from(millionths), MILLION)
}

/// The index of the exact concentration `numerator / denominator`, for example a sum of hours and
/// their number. The denominator must be positive. Otherwise as [`us_epa`].
pub fn us_epa_exact(
    measure: &str,
    averaging: &str,
    unit: &str,
    numerator: i128,
    denominator: i128,
) -> Result<Index, AqiError> {
    let table = table(measure, averaging)?;
    let (times, over) = conversion(table, unit)?;
    let parts = 10_i128.pow(table.digits) * times;
    let truncated = (denominator > 0)
        .then(|| Some(numerator.max(0).checked_mul(parts)? / denominator.checked_mul(over)?))
        .flatten()
        .ok_or_else(|| range(format_args!("{numerator}/{denominator}")))?;
    let aqi = interpolate(table, truncated)?;
    Ok(Index { aqi, band: band_of(aqi) })
}

/// The band of an index; above 500 the last.
pub fn band_of(aqi: u32) -> &'static Band {
    let [low @ .., last] = bands();
    low.iter().find(|band| aqi <= band.high).unwrap_or(last)
}

#[cold]
fn range(found: impl std::fmt::Display) -> AqiError {
    AqiError::Range { found: found.to_string() }
}

/// The decimal that `value` prints as, in millionths; digits behind them are dropped, downwards.
/// Below 10^9 the product is below 2^53, so the nearest whole number is the exact one, and dividing
/// it back tells whether there were more digits.
fn millionths(value: f64) -> Option<i64> {
    if !value.is_finite() || value.abs() >= 1e9 {
        return None;
    }
    let nearest = (value * 1e6).round();
    let beyond = nearest / 1e6 > value;
    Some(nearest as i64 - i64::from(beyond))
}

fn table(measure: &str, averaging: &str) -> Result<&'static Table, AqiError> {
    let averaging = if averaging == "P1D" { "PT24H" } else { averaging };
    TABLES
        .iter()
        .filter(|table| table.measure == measure)
        .find(|table| averaging.is_empty() || table.averaging == averaging)
        .ok_or_else(|| AqiError::NoTable {
            measure: measure.to_owned(),
            averaging: averaging.to_owned(),
            known: TABLES.map(|table| format!("{} {}", table.measure, table.averaging)).join(", "),
        })
}

/// What a value in `unit` is multiplied with and divided by to be in the table's unit.
fn conversion(table: &Table, unit: &str) -> Result<(i128, i128), AqiError> {
    let unit = unit.strip_suffix(" LC").unwrap_or(unit);
    match (table.unit, unit) {
        ("ug/m3", "ug/m3" | "µg/m3" | "µg/m³" | "μg/m3" | "μg/m³" | "ug/m³") => Ok((1, 1)),
        ("ug/m3", "mg/m3" | "mg/m³") => Ok((1000, 1)),
        ("ppm", "ppm") | ("ppb", "ppb") => Ok((1, 1)),
        ("ppm", "ppb") => Ok((1, 1000)),
        ("ppb", "ppm") => Ok((1000, 1)),
        (wanted, found) => Err(AqiError::Unit {
            measure: table.measure,
            wanted: if wanted == "ug/m3" { "ug/m3 or mg/m3" } else { "ppm or ppb" },
            found: found.to_owned(),
        }),
    }
}

/// Linear between a row's ends, a half rounded up. `value` is in the table's last digit.
fn interpolate(table: &Table, value: i128) -> Result<u32, AqiError> {
    if let Some((lowest, instead)) = table.lowest
        && value < i128::from(table.rows[0].low)
    {
        let Table { measure, averaging, .. } = *table;
        return Err(AqiError::TooLow { measure, averaging, lowest, instead });
    }
    let [.., last] = table.rows else { return Ok(0) };
    let Some(row) = table.rows.iter().find(|row| value <= i128::from(row.high)) else {
        return Ok(last.aqi_high);
    };
    let Row { low, high, aqi_low, aqi_high } = *row;
    let above = (value as u64).saturating_sub(low);
    let (rise, run) = (u64::from(aqi_high - aqi_low), high - low);
    Ok(aqi_low + ((2 * rise * above + run) / (2 * run)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aqi(measure: &str, averaging: &str, unit: &str, value: f64) -> u32 {
        us_epa(measure, averaging, unit, value).unwrap().aqi
    }

    #[test]
    fn concentrations_are_truncated_not_rounded() {
        for (value, wanted) in [(9.0, 50), (9.09, 50), (9.099_999_9, 50), (9.1, 51), (35.49, 100)] {
            assert_eq!(aqi("pm25", "", "ug/m3", value), wanted, "{value}");
        }
        // 0.07 is below seven hundredths in binary.
        assert_eq!(aqi("o3", "PT8H", "ppm", 0.07), 100);
        assert_eq!(aqi("o3", "PT8H", "ppm", 0.071), 101);
        // The mean of nine hours that is a hair under 9.1.
        let exact = us_epa_exact("pm25", "", "ug/m3", 818, 90).unwrap();
        assert_eq!(exact.aqi, 50);
    }

    #[test]
    fn the_superseded_table_is_not_used() {
        assert_eq!(aqi("pm25", "", "ug/m3", 12.0), 56);
        assert_eq!(aqi("pm25", "", "ug/m3", 150.4), 226);
        assert_eq!(aqi("pm25", "", "ug/m3", 325.4), 500);
    }

    #[test]
    fn the_ends_of_the_scale() {
        assert_eq!(aqi("pm25", "", "ug/m3", -3.0), 0);
        assert_eq!(aqi("pm25", "", "ug/m3", 999_999_999.0), 500);
        assert_eq!(aqi("o3", "PT8H", "ppm", 0.3), 300, "this table says nothing higher");
        assert_eq!(aqi("so2", "PT1H", "ppb", 900.0), 200, "this table says nothing higher");
        for (measure, averaging, value) in [("o3", "PT1H", 0.1), ("so2", "PT24H", 0.1)] {
            let error = us_epa(measure, averaging, "ppm", value).unwrap_err();
            assert!(matches!(error, AqiError::TooLow { .. }), "{error}");
        }
    }

    #[test]
    fn units_are_converted_only_where_it_is_exact() {
        assert_eq!(aqi("pm25", "P1D", "µg/m³", 35.4), 100);
        assert_eq!(aqi("pm25", "PT24H", "ug/m3 LC", 35.4), 100);
        assert_eq!(aqi("pm25", "PT24H", "mg/m3", 0.0354), 100);
        assert_eq!(aqi("o3", "", "ppb", 70.9), 100);
        assert_eq!(aqi("no2", "", "ppm", 0.1), 100);
        for (measure, unit, says) in [
            ("co", "mg/m3", "ppm or ppb"),
            ("no2", "ug/m3", "ppm or ppb"),
            ("pm25", "ppb", "ug/m3 or mg/m3"),
        ] {
            let error = us_epa(measure, "", unit, 1.0).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_has_no_index_is_an_error() {
        for (measure, averaging) in [("pm25", "PT1H"), ("radon", ""), ("PM25", "")] {
            let error = us_epa(measure, averaging, "ug/m3", 1.0).unwrap_err();
            assert!(matches!(error, AqiError::NoTable { .. }), "{error}");
        }
        for value in [f64::NAN, f64::INFINITY, 1e9, -1e300] {
            let error = us_epa("pm25", "", "ug/m3", value).unwrap_err();
            assert!(matches!(error, AqiError::Range { .. }), "{error}");
        }
        for (over, under) in [(1, 0), (1, -1), (i128::MAX, 1)] {
            assert!(us_epa_exact("pm25", "", "ug/m3", over, under).is_err());
        }
    }

    #[test]
    fn every_printed_millionth_is_kept_and_every_digit_behind_is_dropped() {
        for (text, wanted) in [
            ("0.000001", 1),
            ("35.45", 35_450_000),
            ("999999999.999999", 999_999_999_999_999),
            ("0.0000019999", 1),
            ("9.0999999999999", 9_099_999),
            ("-0.1", -100_000),
        ] {
            assert_eq!(millionths(text.parse().unwrap()), Some(wanted), "{text}");
        }
    }
}
