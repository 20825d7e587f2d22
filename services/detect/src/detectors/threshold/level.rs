//! Whether one subject is beyond its limit, and what is told about it: hysteresis, the least time,
//! the baseline, the worst band.

use super::config::{Baseline, Change, FirstLook, Report, Rule};
use super::{Point, already_index};
use crate::detector::{Finding, figures};
use crate::exact::Ratio;
use crate::memory::{put_micros, put_wide, take_micros, take_wide};
use std::borrow::Cow;
use std::fmt::Display;
use tocsin_domain::alert::AlertState;
use tocsin_domain::{Micros, aqi};

/// What is remembered between values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Beyond the limit and not back.
    up: bool,
    /// There has been a value.
    known: bool,
    /// The raise was told, so the clear is told too.
    told: bool,
    /// The number of the worst band since the raise.
    band: u8,
    /// When it was raised.
    began: Micros,
    /// The first value beyond the limit that has not lasted long enough: when, and its offset.
    since: Option<(Micros, u64)>,
    /// What the next value is held against.
    base: Option<Ratio>,
}

impl Level {
    /// Takes in the next value.
    pub fn judge(&mut self, rule: &Rule, point: &Point<'_>, findings: &mut Vec<Finding>) {
        let before = *self;
        let state = self.compared(rule, point.value).and_then(|compared| {
            let state = self.step(rule, point, compared)?;
            let finding = Telling { rule, before, after: *self, state };
            findings.push(finding.about(point, compared));
            Some(state)
        });
        self.known = true;
        let notified = matches!(state, Some(AlertState::Raised | AlertState::Updated));
        let moves = match rule.baseline {
            Baseline::Fixed => false,
            Baseline::Previous => true,
            Baseline::LastNotified => notified || self.base.is_none(),
        };
        if moves {
            self.base = Some(point.value);
        }
    }

    /// What is held against the limits; `None` while there is nothing to compare with.
    fn compared(&self, rule: &Rule, value: Ratio) -> Option<Ratio> {
        let base = match rule.baseline {
            Baseline::Fixed if rule.takes_value_as_it_is() => return Some(value),
            Baseline::Fixed => rule.reference.ratio(),
            Baseline::Previous | Baseline::LastNotified => self.base?,
        };
        let change = value.minus(base);
        match rule.change {
            Change::Absolute => Some(change),
            Change::Percent => change.percent_of(base),
        }
    }

    /// Moves on, and says what is to be told.
    fn step(&mut self, rule: &Rule, point: &Point<'_>, compared: Ratio) -> Option<AlertState> {
        let (beyond, back) = (rule.sense.is_beyond(compared), rule.sense.is_back(compared));
        if !self.up {
            return self.rise(rule, point, beyond);
        }
        if back {
            self.up = false;
            return std::mem::take(&mut self.told).then_some(AlertState::Cleared);
        }
        let band = band_number(point.index);
        let worse = band > self.band;
        self.band = self.band.max(band);
        let news = worse || (rule.report == Report::Level && beyond);
        (self.told && news).then_some(AlertState::Updated)
    }

    fn rise(&mut self, rule: &Rule, point: &Point<'_>, beyond: bool) -> Option<AlertState> {
        if !beyond {
            self.since = None;
            return None;
        }
        let offset = point.offsets.first().copied().unwrap_or_default();
        let since = self.since.unwrap_or((point.time, offset));
        let silent = rule.first_look == FirstLook::Silent && !self.known;
        if !silent && point.time.since(since.0) < rule.minimum_time {
            self.since = Some(since);
            return None;
        }
        (self.up, self.told, self.since) = (true, !silent, None);
        (self.began, self.band) = (point.time, band_number(point.index));
        self.told.then_some(AlertState::Raised)
    }

    fn json(&self) -> String {
        let quoted = |text: &dyn Display| format!("\"{text}\"").into();
        let shown = |text: Option<&dyn Display>| text.map_or(Cow::Borrowed("null"), quoted);
        let baseline = shown(self.base.as_ref().map(|base| base as _));
        let since = shown(self.since.as_ref().map(|(time, _)| time as _));
        let raised = self.up;
        format!("{{\"baseline\":{baseline},\"beyond-since\":{since},\"raised\":{raised}}}")
    }

    /// Whether the memory is that of a level with nothing to say but that there has been a value.
    pub fn is_calm(memory: &[u8]) -> bool {
        matches!(memory, [0b00010, _])
    }

    /// Appends what [`Level::read`] reads; a level with nothing to say takes two bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let bits = [self.up, self.known, self.told, self.since.is_some(), self.base.is_some()];
        out.push(bits.iter().enumerate().map(|(i, bit)| u8::from(*bit) << i).sum());
        out.push(self.band);
        if self.up {
            put_micros(out, self.began);
        }
        if let Some((time, offset)) = self.since {
            put_micros(out, time);
            out.extend_from_slice(&offset.to_le_bytes());
        }
        if let Some(Ratio { num, den }) = self.base {
            put_wide(out, num);
            put_wide(out, den);
        }
    }

    pub fn read(bytes: &mut &[u8]) -> Option<Level> {
        let (bits, band) = (*bytes.split_off_first()?, *bytes.split_off_first()?);
        let bit = |i: u8| bits >> i & 1 == 1;
        let began = if bit(0) { take_micros(bytes)? } else { Micros::default() };
        let since = match bit(3) {
            true => Some((take_micros(bytes)?, take_micros(bytes)?.0 as u64)),
            false => None,
        };
        let base = match bit(4) {
            true => Some(Ratio { num: take_wide(bytes)?, den: take_wide(bytes)? }),
            false => None,
        };
        Some(Level { up: bit(0), known: bit(1), told: bit(2), band, began, since, base })
    }
}

fn band_number(index: Option<u32>) -> u8 {
    index.map_or(0, |found| aqi::bands().iter().filter(|band| band.high < found).count() as u8)
}

/// A level that has moved in a way that is told.
struct Telling<'a> {
    rule: &'a Rule,
    before: Level,
    after: Level,
    state: AlertState,
}

impl Telling<'_> {
    fn about(&self, point: &Point<'_>, compared: Ratio) -> Finding {
        let Telling { rule, before, after, state } = self;
        let limits = &rule.sense;
        let as_it_is = rule.takes_value_as_it_is();
        let band = point.index.or_else(|| already_index(point.unit.as_str(), point.printed?));
        let value = match point.printed {
            Some(printed) if as_it_is => printed.to_string(),
            _ => compared.to_string(),
        };
        let unit = match (rule.change, point.index) {
            (Change::Percent, _) => "%",
            (Change::Absolute, Some(_)) => "AQI-US",
            (Change::Absolute, None) => point.unit.as_str(),
        };
        let cleared = *state == AlertState::Cleared;
        let waited = before.since.map(|(_, offset)| offset).filter(|_| !cleared);
        Finding {
            state: *state,
            began: if cleared { before.began } else { after.began },
            event_time: point.time,
            measure: rule.measure.clone(),
            place: point.place.as_str().to_owned(),
            value,
            unit: unit.to_owned(),
            limit: if cleared { &limits.clear_text } else { &limits.raise_text }.clone(),
            band: band.map_or("", |index| aqi::band_of(index).name),
            offsets: waited.into_iter().chain(point.offsets.iter().copied()).collect(),
            figures: self.figures(point, as_it_is),
            before: before.json(),
            after: after.json(),
        }
    }

    fn figures(
        &self,
        point: &Point<'_>,
        as_it_is: bool,
    ) -> std::collections::BTreeMap<String, String> {
        let Telling { rule, before, .. } = self;
        let base = before.base.map_or_else(|| rule.reference.to_string(), |base| base.to_string());
        let (window, count) = (point.window.map(|(w, _)| w), point.window.map(|(_, count)| count));
        figures([
            ("concentration", Some(point.concentration.to_string())),
            ("concentration-unit", Some(point.unit.as_str().to_owned())),
            ("aqi", point.index.map(|index| index.to_string())),
            ("raise-limit", Some(rule.sense.raise_text.clone())),
            ("clear-limit", Some(rule.sense.clear_text.clone())),
            ("baseline", (!as_it_is).then_some(base)),
            ("beyond-since", before.since.map(|(time, _)| time.to_string())),
            ("values", count.map(|count| count.to_string())),
            ("window-start", window.map(|window| window.start.to_string())),
            ("window-end", window.map(|window| window.end.to_string())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_cuts_are_none() {
        let since = Some((Micros(-3), u64::MAX));
        let base = Some(Ratio { num: -5, den: 7 });
        let calm = Level { known: true, band: 3, ..Level::default() };
        for level in [
            calm,
            Level::default(),
            Level { up: true, known: true, told: true, band: 5, began: Micros(9), since, base },
            Level { known: true, since, ..Level::default() },
        ] {
            let mut bytes = Vec::new();
            level.write(&mut bytes);
            assert_eq!(Level::read(&mut bytes.as_slice()), Some(level));
            assert_eq!(Level::is_calm(&bytes), level == calm);
            assert!((0..bytes.len()).all(|cut| Level::read(&mut &bytes[..cut]).is_none()));
        }
    }

    #[test]
    fn bands_are_numbered_by_their_right_edges() {
        for (index, number) in
            [(0, 0), (50, 0), (51, 1), (100, 1), (101, 2), (300, 4), (301, 5), (500, 5)]
        {
            assert_eq!(band_number(Some(index)), number, "{index}");
        }
    }
}
