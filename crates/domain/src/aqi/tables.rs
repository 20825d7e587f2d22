//! The numbers of the US EPA air quality index: breakpoints and bands. Facts of a federal rule; no
//! arithmetic here.

/// One pollutant's breakpoints for one averaging.
#[derive(Debug)]
pub(super) struct Table {
    pub measure: &'static str,
    /// ISO 8601.
    pub averaging: &'static str,
    /// `ug/m3`, `ppm` or `ppb`.
    pub unit: &'static str,
    /// Digits after the point that a concentration is truncated to; rows count in the last of them.
    pub digits: u32,
    /// The lowest concentration with an index and the averaging that covers what lies below.
    pub lowest: Option<(&'static str, &'static str)>,
    pub rows: &'static [Row],
}

/// Concentrations from `low` to `high`, and the indices at these ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub low: u64,
    pub high: u64,
    pub aqi_low: u32,
    pub aqi_high: u32,
}

const fn row(low: u64, high: u64, aqi_low: u32, aqi_high: u32) -> Row {
    Row { low, high, aqi_low, aqi_high }
}

/// Every table. A pollutant's main table stands before its others.
pub(super) const TABLES: [Table; 8] = [
    Table {
        measure: "pm25",
        averaging: "PT24H",
        unit: "ug/m3",
        digits: 1,
        lowest: None,
        rows: &[
            row(0, 90, 0, 50),
            row(91, 354, 51, 100),
            row(355, 554, 101, 150),
            row(555, 1254, 151, 200),
            row(1255, 2254, 201, 300),
            row(2255, 3254, 301, 500),
        ],
    },
    Table {
        measure: "pm10",
        averaging: "PT24H",
        unit: "ug/m3",
        digits: 0,
        lowest: None,
        rows: &[
            row(0, 54, 0, 50),
            row(55, 154, 51, 100),
            row(155, 254, 101, 150),
            row(255, 354, 151, 200),
            row(355, 424, 201, 300),
            row(425, 604, 301, 500),
        ],
    },
    Table {
        measure: "o3",
        averaging: "PT8H",
        unit: "ppm",
        digits: 3,
        lowest: None,
        rows: &[
            row(0, 54, 0, 50),
            row(55, 70, 51, 100),
            row(71, 85, 101, 150),
            row(86, 105, 151, 200),
            row(106, 200, 201, 300),
        ],
    },
    Table {
        measure: "o3",
        averaging: "PT1H",
        unit: "ppm",
        digits: 3,
        lowest: Some(("0.125 ppm", "PT8H")),
        rows: &[
            row(125, 164, 101, 150),
            row(165, 204, 151, 200),
            row(205, 404, 201, 300),
            row(405, 604, 301, 500),
        ],
    },
    Table {
        measure: "co",
        averaging: "PT8H",
        unit: "ppm",
        digits: 1,
        lowest: None,
        rows: &[
            row(0, 44, 0, 50),
            row(45, 94, 51, 100),
            row(95, 124, 101, 150),
            row(125, 154, 151, 200),
            row(155, 304, 201, 300),
            row(305, 504, 301, 500),
        ],
    },
    Table {
        measure: "so2",
        averaging: "PT1H",
        unit: "ppb",
        digits: 0,
        lowest: None,
        rows: &[
            row(0, 35, 0, 50),
            row(36, 75, 51, 100),
            row(76, 185, 101, 150),
            row(186, 304, 151, 200),
        ],
    },
    Table {
        measure: "so2",
        averaging: "PT24H",
        unit: "ppb",
        digits: 0,
        lowest: Some(("305 ppb", "PT1H")),
        rows: &[row(305, 604, 201, 300), row(605, 1004, 301, 500)],
    },
    Table {
        measure: "no2",
        averaging: "PT1H",
        unit: "ppb",
        digits: 0,
        lowest: None,
        rows: &[
            row(0, 53, 0, 50),
            row(54, 100, 51, 100),
            row(101, 360, 101, 150),
            row(361, 649, 151, 200),
            row(650, 1249, 201, 300),
            row(1250, 2049, 301, 500),
        ],
    },
];

/// A range of the index and how to speak of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Band {
    /// For example `Unhealthy`.
    pub name: &'static str,
    /// The lowest index in it.
    pub low: u32,
    /// The highest index in it.
    pub high: u32,
    /// The scale's colour, `#RRGGBB`.
    pub colour: &'static str,
    /// The colour of text on it, `#RRGGBB`.
    pub ink: &'static str,
    /// What to do, one sentence.
    pub advice: &'static str,
}

/// The six bands, best first.
pub fn bands() -> &'static [Band; 6] {
    &BANDS
}

static BANDS: [Band; 6] = [
    Band {
        name: "Good",
        low: 0,
        high: 50,
        colour: "#00E400",
        ink: "#000000",
        advice: "Enjoy being outside.",
    },
    Band {
        name: "Moderate",
        low: 51,
        high: 100,
        colour: "#FFFF00",
        ink: "#000000",
        advice: "If you are unusually sensitive, take it easier outside and watch for coughing or shortness of breath.",
    },
    Band {
        name: "Unhealthy for Sensitive Groups",
        low: 101,
        high: 150,
        colour: "#FF7E00",
        ink: "#000000",
        advice: "Children, older people and everybody with a heart or lung disease should shorten hard work outside.",
    },
    Band {
        name: "Unhealthy",
        low: 151,
        high: 200,
        colour: "#FF0000",
        ink: "#000000",
        advice: "Everybody should shorten hard work outside; those at risk should move it indoors.",
    },
    Band {
        name: "Very Unhealthy",
        low: 201,
        high: 300,
        colour: "#8F3F97",
        ink: "#FFFFFF",
        advice: "Everybody should avoid hard work outside; those at risk should stay indoors.",
    },
    Band {
        name: "Hazardous",
        low: 301,
        high: 500,
        colour: "#7E0023",
        ink: "#FFFFFF",
        advice: "Everybody should stay indoors and keep the windows closed.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_bands_leave_no_gap() {
        for table in &TABLES {
            for pair in table.rows.windows(2) {
                assert_eq!(pair[0].high + 1, pair[1].low, "{} {}", table.measure, table.averaging);
                assert_eq!(pair[0].aqi_high + 1, pair[1].aqi_low);
            }
            assert_eq!(table.lowest.is_some(), table.rows[0].low > 0);
        }
        for pair in BANDS.windows(2) {
            assert_eq!(pair[0].high + 1, pair[1].low);
        }
    }

    #[test]
    fn text_on_a_band_can_be_read() {
        for band in bands() {
            let (a, b) = (luminance(band.colour) + 0.05, luminance(band.ink) + 0.05);
            assert!(a.max(b) / a.min(b) >= 4.5, "{}", band.name);
        }
    }

    /// Relative luminance as WCAG 2 defines it.
    fn luminance(colour: &str) -> f64 {
        let part = |i: usize| {
            let c = f64::from(u8::from_str_radix(&colour[i..i + 2], 16).unwrap()) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }
}
