//! Anomaly: a reading that is further from the mean of the readings before it than so many standard
//! deviations. Decided in whole numbers (ten-thousandths), so that no rounding can flip a flag.

use super::{boxed, parameters};
use crate::detector::{Detector, Event, Finding, Input, Kind, Seen, figures};
use crate::exact::Exact;
use serde::Deserialize;
use tocsin_domain::alert::AlertState;
use tocsin_domain::event::Reading;
use tocsin_domain::wire::RawReading;
use tocsin_domain::{Micros, aqi};

/// The kind.
pub const KIND: Kind =
    Kind { name: "anomaly", does: "a value far from the mean of those before it", build };

/// Its parameters.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    measure: String,
    /// How many values before this one are looked at.
    window: usize,
    /// How many there must be.
    minimum: usize,
    /// How many standard deviations are expected.
    deviations: Exact,
    /// Judge the index of the value instead of the value.
    index: Option<super::threshold::Scale>,
}

/// The mean of so many values fits whole numbers of 128 bits whatever is measured.
const WIDEST: usize = 10_000;
/// Values are held in ten-thousandths.
const SCALE: f64 = 10_000.0;
/// Larger values are refused: their squares would not fit.
const LARGEST: f64 = 1e9;

fn build(params: serde_json::Value) -> Result<Box<dyn Detector>, String> {
    let config: Config = parameters(params)?;
    if !(1..=WIDEST).contains(&config.window) {
        return Err(format!("window is {}: it must be 1 to {WIDEST} values", config.window));
    }
    if !(1..=config.window).contains(&config.minimum) {
        let (found, most) = (config.minimum, config.window);
        return Err(format!("minimum is {found}: it must be 1 to the window, {most}"));
    }
    let k = config.deviations.fraction();
    if k.num <= 0 || k.num > 100 * k.den || k.den > 100 {
        return Err(format!(
            "deviations is {}: it must be above 0, at most 100, with at most 2 digits after the point",
            config.deviations
        ));
    }
    Ok(boxed(config))
}

impl Detector for Config {
    fn input(&self) -> Input {
        Input::Readings
    }

    fn measure(&self) -> &str {
        &self.measure
    }

    fn observe(
        &self,
        seen: Seen<'_>,
        memory: &mut Vec<u8>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), String> {
        let Event::Reading(reading) = seen.event else { return Ok(()) };
        let value = self.scaled(reading)?;
        let mut ring = Ring::of(memory);
        let head = ring.head();
        let flagged = ring.count() >= self.minimum && self.is_far(head.sums(ring.count()), value);
        if flagged || head.up {
            let state = if flagged { AlertState::Raised } else { AlertState::Cleared };
            // Each flagged value is an episode of its own, until a value that is not flagged.
            let began = if flagged { reading.event_time } else { head.began };
            let reading = &reading.reading();
            let about = About { reading, value, state, began, offset: seen.offset };
            findings.push(self.finding(&about, &head, ring.count()));
        }
        let began = if flagged { reading.event_time } else { head.began };
        ring.push(value, self.window, Head { up: flagged, began, ..head });
        Ok(())
    }

    fn reads(&self, memory: &[u8]) -> bool {
        let ring = |values: usize| values.is_multiple_of(8) && values / 8 <= self.window;
        memory.is_empty() || memory.len().checked_sub(HEAD).is_some_and(ring)
    }
}

/// What a finding is about.
struct About<'a> {
    reading: &'a Reading<'a>,
    value: i64,
    state: AlertState,
    began: Micros,
    offset: u64,
}

/// Count, sum and sum of squares of the values before.
#[derive(Clone, Copy)]
struct Sums {
    n: i128,
    sum: i128,
    squares: i128,
}

impl Sums {
    /// The variance times the square of the count.
    fn spread(self) -> i128 {
        self.n * self.squares - self.sum * self.sum
    }
}

impl Config {
    fn scaled(&self, reading: &RawReading<'_>) -> Result<i64, String> {
        if self.index.is_some() {
            let Reading { measure, averaging, unit, value, .. } = reading.reading();
            return match aqi::us_epa(measure, averaging, unit, value) {
                Ok(index) => Ok(i64::from(index.aqi) * SCALE as i64),
                Err(error) => Err(error.to_string()),
            };
        }
        if reading.value.abs() >= LARGEST {
            return Err(format!("the value is {}: it must be below {LARGEST}", reading.value));
        }
        Ok((reading.value * SCALE).round_ties_even() as i64)
    }

    /// |value − mean| > K · std, strictly; never if all values before are equal.
    fn is_far(&self, sums: Sums, value: i64) -> bool {
        let k = self.deviations.fraction();
        let (distance, spread) = (sums.n * i128::from(value) - sums.sum, sums.spread());
        let square = |x: i128| x.checked_mul(x);
        let left = square(distance).and_then(|d| d.checked_mul(square(k.den)?));
        let right = square(k.num).and_then(|k| k.checked_mul(spread));
        let far = match (left, right) {
            (Some(left), Some(right)) => left > right,
            // Only values of many millions in a wide window come here.
            _ => (distance as f64 * k.den as f64).abs() > k.num as f64 * (spread as f64).sqrt(),
        };
        spread > 0 && far
    }

    fn finding(&self, about: &About<'_>, head: &Head, count: usize) -> Finding {
        let (reading, sums) = (about.reading, head.sums(count));
        let n = sums.n.max(1) as f64 * SCALE;
        let (mean, std) = (sums.sum as f64 / n, (sums.spread().max(0) as f64).sqrt() / n);
        let k = self.deviations.fraction();
        let reach = std * k.num as f64 / k.den as f64;
        let shown = |x: f64| Some(format!("{x:.4}"));
        let index = self.index.is_some().then(|| (about.value / SCALE as i64) as u32);
        let up = about.state == AlertState::Raised;
        let json = |up, values| format!("{{\"raised\":{up},\"values\":{values}}}");
        Finding {
            state: about.state,
            began: about.began,
            event_time: reading.event_time,
            measure: reading.measure.to_owned(),
            place: reading.place.to_owned(),
            value: index.map_or_else(|| reading.value.to_string(), |aqi| aqi.to_string()),
            unit: if index.is_some() { "AQI-US" } else { reading.unit }.to_owned(),
            limit: String::new(),
            band: super::threshold::band_name(index, reading),
            offsets: vec![about.offset],
            figures: figures([
                ("mean", shown(mean)),
                ("std", shown(std)),
                ("expected-low", shown(mean - reach)),
                ("expected-high", shown(mean + reach)),
                ("deviations", Some(self.deviations.to_string())),
                ("values", Some(count.to_string())),
                ("concentration", index.map(|_| format!("{} {}", reading.value, reading.unit))),
            ]),
            before: json(head.up, count),
            after: json(up, (count + 1).min(self.window)),
        }
    }
}

/// What stands before the ring of values.
#[derive(Clone, Copy)]
struct Head {
    up: bool,
    began: Micros,
    next: u32,
    sum: i128,
    squares: i128,
}

impl Head {
    fn sums(&self, count: usize) -> Sums {
        Sums { n: count as i128, sum: self.sum, squares: self.squares }
    }
}

/// The memory, changed in place: a value costs the same however wide the window is.
struct Ring<'m>(&'m mut Vec<u8>);

const HEAD: usize = 1 + 8 + 4 + 16 + 16;

impl<'m> Ring<'m> {
    fn of(memory: &'m mut Vec<u8>) -> Ring<'m> {
        if memory.len() < HEAD {
            memory.clear();
            memory.resize(HEAD, 0);
        }
        Ring(memory)
    }

    fn count(&self) -> usize {
        (self.0.len() - HEAD) / 8
    }

    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[at..at + N]);
        bytes
    }

    fn head(&self) -> Head {
        Head {
            up: self.0[0] == 1,
            began: Micros(i64::from_le_bytes(self.take(1))),
            next: u32::from_le_bytes(self.take(9)),
            sum: i128::from_le_bytes(self.take(13)),
            squares: i128::from_le_bytes(self.take(29)),
        }
    }

    /// Puts the value in the place of the oldest once the window is full.
    fn push(&mut self, value: i64, window: usize, mut head: Head) {
        let x = i128::from(value);
        (head.sum, head.squares) = (head.sum + x, head.squares + x * x);
        if self.count() < window {
            self.0.extend_from_slice(&value.to_le_bytes());
        } else {
            let at = HEAD + 8 * (head.next as usize % window);
            let oldest = i128::from(i64::from_le_bytes(self.take(at)));
            (head.sum, head.squares) = (head.sum - oldest, head.squares - oldest * oldest);
            self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
            head.next = (head.next + 1) % window as u32;
        }
        self.0[0] = u8::from(head.up);
        self.0[1..9].copy_from_slice(&head.began.0.to_le_bytes());
        self.0[9..13].copy_from_slice(&head.next.to_le_bytes());
        self.0[13..29].copy_from_slice(&head.sum.to_le_bytes());
        self.0[29..45].copy_from_slice(&head.squares.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{built, found, readings, refusal};
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::VecDeque;

    #[test]
    fn a_value_far_away_is_raised_and_the_next_common_one_clears_it() {
        let detector = built(
            "anomaly",
            json!({"measure": "pm25", "window": 4, "minimum": 3, "deviations": 2}),
        );
        for (values, says) in [
            (&[10.0, 10.0, 10.0, 90.0][..], ""),
            (&[9.0, 11.0], ""),
            (&[9.0, 10.0, 11.0, 13.0, 10.0], "raised 13 · cleared 10"),
            (&[9.0, 10.0, 11.0, 30.0, 400.0, 90.0], "raised 30 · raised 400 · cleared 90"),
        ] {
            assert_eq!(found(&*detector, &readings(values)), says, "{values:?}");
        }
    }

    #[test]
    fn exactly_on_the_limit_is_not_flagged() {
        // Mean 10, standard deviation 1: with K = 2.5, 12.5 is on the limit.
        let detector = built(
            "anomaly",
            json!({"measure": "pm25", "window": 4, "minimum": 4, "deviations": "2.5"}),
        );
        assert_eq!(found(&*detector, &readings(&[9.0, 11.0, 9.0, 11.0, 12.5])), "");
        assert_eq!(
            found(&*detector, &readings(&[9.0, 11.0, 9.0, 11.0, 12.5001])),
            "raised 12.5001"
        );
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        for (key, value, says) in [
            ("window", json!(0), "1 to 10000"),
            ("minimum", json!(31), "1 to the window"),
            ("deviations", json!(0), "above 0"),
            ("deviations", json!("1.234"), "2 digits"),
            ("measur", json!("pm25"), "unknown field"),
        ] {
            let mut params =
                json!({"measure": "pm25", "window": 30, "minimum": 10, "deviations": 3});
            params[key] = value;
            assert!(refusal("anomaly", params).contains(says), "{key}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_rule_as_it_is_stated(values in prop::collection::vec(-500i64..500, 0..60)) {
            let detector = built("anomaly", json!({"measure": "pm25", "window": 7, "minimum": 3, "deviations": "1.5"}));
            let mut window = VecDeque::new();
            let mut flags = Vec::new();
            for x in &values {
                let (n, sum, squares) = (window.len() as i64, window.iter().sum::<i64>(), window.iter().map(|v: &i64| v * v).sum::<i64>());
                let spread = n * squares - sum * sum;
                if n >= 3 && spread > 0 && 4 * (n * x - sum).pow(2) > 9 * spread {
                    flags.push(format!("raised {}", *x as f64 / 10.0));
                }
                window.push_back(*x);
                if n == 7 { window.pop_front(); }
            }
            let values: Vec<f64> = values.iter().map(|x| *x as f64 / 10.0).collect();
            let all = found(&*detector, &readings(&values));
            let raised: Vec<_> = all.split(" · ").filter(|f| f.starts_with("raised")).collect();
            prop_assert_eq!(raised, flags);
        }
    }
}
