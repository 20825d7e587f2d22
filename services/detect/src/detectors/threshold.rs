//! Threshold: a reading, its index, its change or its mean over a window passes a limit, with
//! hysteresis. Limits, means and indexes are exact.

mod config;
mod level;
mod mean;

use super::boxed;
use crate::detector::{Detector, Event, Finding, Input, Kind, Seen};
use crate::exact::Ratio;
use crate::windows::{Length, Window};
use level::Level;
use mean::Open;
use tocsin_domain::event::Reading;
use tocsin_domain::wire::RawReading;
use tocsin_domain::wire::avro::Text;
use tocsin_domain::{Micros, aqi};

pub use config::Scale;
use config::{Mean, Rule};

/// The kind.
pub const KIND: Kind = Kind {
    name: "threshold",
    does: "a value, an index, a change or a mean over or under a limit",
    build: |params| Ok(boxed(Rule::parse(params)?)),
};

/// What is judged: a reading, or the mean of a window.
#[derive(Clone, Debug)]
struct Point<'a> {
    /// The event time of the reading, or the start of the window.
    time: Micros,
    /// The index if the rule asks for it, otherwise the concentration.
    value: Ratio,
    /// The value as upstream printed it; a mean is not printed upstream.
    printed: Option<f64>,
    concentration: Ratio,
    index: Option<u32>,
    unit: Text<'a>,
    place: Text<'a>,
    offsets: &'a [u64],
    window: Option<(Window, i64)>,
}

impl Detector for Rule {
    fn input(&self) -> Input {
        Input::Readings
    }

    fn measure(&self) -> &str {
        &self.measure
    }

    /// Most values are on the good side, as those before them were. Whoever is judged by more than
    /// the value itself is looked at closely.
    fn passes_by(&self, event: &Event<'_>, memory: &[u8]) -> bool {
        let Event::Reading(reading) = event else { return true };
        Level::is_calm(memory)
            && self.mean.is_none()
            && !self.by_index
            && self.takes_value_as_it_is()
            && !self.sense.is_beyond(Ratio::printed(reading.value))
    }

    fn observe(
        &self,
        seen: Seen<'_>,
        memory: &mut Vec<u8>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), String> {
        let Event::Reading(reading) = seen.event else { return Ok(()) };
        // A mean has an index if each of its values has one, so both are refused here.
        let index = self.index(reading)?;
        let concentration = Ratio::printed(reading.value);
        let Some(mean) = &self.mean else {
            let before = Level::read(&mut memory.as_slice()).unwrap_or_default();
            let mut level = before;
            let point = Point {
                time: reading.event_time,
                value: index.map_or(concentration, Ratio::whole),
                printed: index.is_none().then_some(reading.value),
                concentration,
                index,
                unit: reading.unit,
                place: reading.place,
                offsets: &[seen.offset],
                window: None,
            };
            level.judge(self, &point, findings);
            if level != before || memory.is_empty() {
                write(memory, &level, None);
            }
            return Ok(());
        };
        let reading = &reading.reading();
        let (mut level, open) = read(memory);
        let mut open = match open {
            Some(open) if open.window.holds(reading.event_time) => open,
            before => {
                let window = Window::around(reading.event_time, mean.length, &mean.zone)?;
                if let Some(before) = before {
                    before.decide(self, mean, &mut level, findings);
                }
                Open::at(window, reading.unit)
            }
        };
        open.add(reading, concentration, seen.offset)?;
        write(memory, &level, Some(&open));
        Ok(())
    }

    fn reads(&self, memory: &[u8]) -> bool {
        let mut rest = memory;
        let level = memory.is_empty() || Level::read(&mut rest).is_some();
        let open = rest.is_empty() || (self.mean.is_some() && Open::read(&mut rest).is_some());
        level && open && rest.is_empty()
    }

    fn due(&self, memory: &[u8]) -> Micros {
        match self.mean {
            Some(_) => read(memory).1.map_or(Micros::MAX, |open| open.window.end),
            None => Micros::MAX,
        }
    }

    fn close(&self, memory: &mut Vec<u8>, findings: &mut Vec<Finding>) {
        if let (mut level, Some(open), Some(mean)) = (read(memory).0, read(memory).1, &self.mean) {
            open.decide(self, mean, &mut level, findings);
            write(memory, &level, None);
        }
    }
}

impl Rule {
    fn index(&self, reading: &RawReading<'_>) -> Result<Option<u32>, String> {
        if !self.by_index {
            return Ok(None);
        }
        let reading = reading.reading();
        let averaging = self.averaging(reading.averaging);
        aqi::us_epa(reading.measure, averaging, reading.unit, reading.value)
            .map(|index| Some(index.aqi))
            .map_err(|error| error.to_string())
    }

    /// What the value is an average over, for the index.
    fn averaging<'a>(&'a self, of_reading: &'a str) -> &'a str {
        match (&self.averaging, &self.mean) {
            (Some(averaging), _) => averaging,
            (None, Some(Mean { length: Length::Day, .. })) => "PT24H",
            (None, Some(Mean { length: Length::Hour, .. })) => "PT1H",
            (None, None) => of_reading,
        }
    }
}

/// The band of an index, or of a reading that is one; empty for any other.
pub fn band_name(index: Option<u32>, reading: &Reading<'_>) -> &'static str {
    index
        .or_else(|| already_index(reading.unit, reading.value))
        .map_or("", |aqi| aqi::band_of(aqi).name)
}

/// A reading in this unit is an index as it comes; a part of a point counts as the next point.
fn already_index(unit: &str, value: f64) -> Option<u32> {
    (unit == "AQI-US").then(|| value.max(0.0).ceil() as u32)
}

/// The memory: the level and, for means, the open window. What cannot be read begins afresh.
fn read(memory: &[u8]) -> (Level, Option<Open>) {
    let mut rest = memory;
    match Level::read(&mut rest) {
        Some(level) => (level, Open::read(&mut rest)),
        None => (Level::default(), None),
    }
}

fn write(memory: &mut Vec<u8>, level: &Level, open: Option<&Open>) {
    memory.clear();
    level.write(memory);
    if let Some(open) = open {
        open.write(memory);
    }
}

#[cfg(test)]
mod tests;
