//! The exact mean of the values of one window: a sum of whole numbers and a count.

use super::Point;
use super::config::{Mean, Rule};
use super::level::Level;
use crate::detector::Finding;
use crate::exact::Ratio;
use crate::memory::{
    note_offset, put_micros, put_offsets, put_text, put_wide, take_micros, take_offsets, take_text,
    take_wide,
};
use crate::windows::Window;
use tocsin_domain::aqi;
use tocsin_domain::event::Reading;

/// The window that is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    pub window: Window,
    sum: Ratio,
    count: i64,
    unit: String,
    place: String,
    offsets: Vec<u64>,
}

impl Open {
    pub fn at(window: Window, unit: &str) -> Open {
        let (sum, unit) = (Ratio::printed(0.0), unit.to_owned());
        Open { window, sum, count: 0, unit, place: String::new(), offsets: Vec::new() }
    }

    /// Values in another unit than the window's first are refused: they have no common mean.
    pub fn add(
        &mut self,
        reading: &Reading<'_>,
        concentration: Ratio,
        offset: u64,
    ) -> Result<(), String> {
        if reading.unit != self.unit {
            return Err(format!(
                "the unit is {:?} and the window from {} on began with {:?}: a mean needs one unit",
                reading.unit, self.window.start, self.unit
            ));
        }
        self.sum.num = self.sum.num.saturating_add(concentration.num);
        self.count += 1;
        reading.place.clone_into(&mut self.place);
        note_offset(&mut self.offsets, offset);
        Ok(())
    }

    /// Judges the mean, if there are enough values.
    pub fn decide(&self, rule: &Rule, mean: &Mean, level: &mut Level, findings: &mut Vec<Finding>) {
        if self.count < mean.min_values {
            return;
        }
        let concentration = self.sum.over(self.count.into());
        let index = match rule.by_index {
            true => {
                let Ratio { num, den } = concentration;
                let averaging = rule.averaging("");
                match aqi::us_epa_exact(&rule.measure, averaging, &self.unit, num, den) {
                    Ok(index) => Some(index.aqi),
                    Err(_) => return,
                }
            }
            false => None,
        };
        let point = Point {
            time: self.window.start,
            value: index.map_or(concentration, Ratio::whole),
            printed: None,
            concentration,
            index,
            unit: self.unit.as_str().into(),
            place: self.place.as_str().into(),
            offsets: &self.offsets,
            window: Some((self.window, self.count)),
        };
        level.judge(rule, &point, findings);
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        put_micros(out, self.window.start);
        put_micros(out, self.window.end);
        put_wide(out, self.sum.num);
        out.extend_from_slice(&self.count.to_le_bytes());
        put_text(out, &self.unit);
        put_text(out, &self.place);
        put_offsets(out, &self.offsets);
    }

    pub fn read(bytes: &mut &[u8]) -> Option<Open> {
        Some(Open {
            window: Window { start: take_micros(bytes)?, end: take_micros(bytes)? },
            sum: Ratio { num: take_wide(bytes)?, ..Ratio::printed(0.0) },
            count: take_micros(bytes)?.0,
            unit: take_text(bytes)?,
            place: take_text(bytes)?,
            offsets: take_offsets(bytes)?,
        })
    }
}
