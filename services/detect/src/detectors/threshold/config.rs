//! The parameters of a threshold, as they are written and as they are checked.

use crate::detectors::parameters;
use crate::exact::{Exact, Lasting, Ratio};
use crate::windows::{Length, Zone};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::time::Duration;

/// As they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    measure: String,
    index: Option<Scale>,
    averaging: Option<String>,
    raise_above: Option<Exact>,
    raise_at: Option<Exact>,
    raise_below: Option<Exact>,
    raise_at_or_below: Option<Exact>,
    clear_below: Option<Exact>,
    clear_above: Option<Exact>,
    #[serde(default)]
    report: Report,
    #[serde(default)]
    first_look: FirstLook,
    #[serde(default)]
    baseline: Baseline,
    reference: Option<Exact>,
    #[serde(default)]
    change: Change,
    minimum_time_above: Option<Lasting>,
    mean_over: Option<Length>,
    time_zone: Option<Zone>,
    min_values: Option<i64>,
}

/// A scale that values can be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Scale {
    /// The US EPA air quality index.
    #[serde(rename = "us-epa")]
    UsEpa,
}

/// Which facts are told while the value stays beyond the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// Raised and cleared, and updated when the band worsens.
    #[default]
    Edge,
    /// Updated with every further event beyond the limit.
    Level,
}

/// What the first value does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstLook {
    /// It may raise.
    #[default]
    Raise,
    /// It only sets the state.
    Silent,
}

/// What the value is held against before it is held against the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// `reference`, 0 if it is not said.
    #[default]
    Fixed,
    /// The value before.
    Previous,
    /// The value that was last raised or updated; at first, the first value.
    LastNotified,
}

/// How the difference from the baseline is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// In the value's unit.
    #[default]
    Absolute,
    /// As a percentage of the baseline.
    Percent,
}

/// As they are checked.
#[derive(Debug)]
pub struct Rule {
    pub measure: String,
    pub by_index: bool,
    pub averaging: Option<String>,
    pub sense: Sense,
    pub report: Report,
    pub first_look: FirstLook,
    pub baseline: Baseline,
    pub reference: Exact,
    pub change: Change,
    pub minimum_time: Duration,
    pub mean: Option<Mean>,
}

/// A mean over windows.
#[derive(Debug)]
pub struct Mean {
    pub length: Length,
    pub zone: Zone,
    /// With fewer values a window decides nothing.
    pub min_values: i64,
}

/// The limits and on which side of them it is bad.
#[derive(Debug)]
pub struct Sense {
    falling: bool,
    inclusive: bool,
    raise: Ratio,
    clear: Ratio,
    /// The limits as they are shown.
    pub raise_text: String,
    pub clear_text: String,
}

impl Sense {
    pub fn is_beyond(&self, value: Ratio) -> bool {
        let strictly = if self.falling { value < self.raise } else { value > self.raise };
        strictly || (self.inclusive && value == self.raise)
    }

    pub fn is_back(&self, value: Ratio) -> bool {
        if self.falling { value > self.clear } else { value < self.clear }
    }
}

impl Rule {
    pub fn parse(params: serde_json::Value) -> Result<Rule, String> {
        let config: Config = parameters(params)?;
        let sense = config.sense()?;
        if config.mean_over.is_none() && (config.time_zone.is_some() || config.min_values.is_some())
        {
            return Err("time_zone and min_values belong to mean_over: say mean_over = \"1d\" or \
                        \"1h\" too"
                .to_owned());
        }
        if config.reference.is_some() && config.baseline != Baseline::Fixed {
            return Err(
                "reference belongs to baseline = \"fixed\": leave one of them out".to_owned()
            );
        }
        let reference = config.reference.unwrap_or(Exact(Decimal::ZERO));
        let of_nothing = config.baseline == Baseline::Fixed && reference.0.is_zero();
        if config.change == Change::Percent && of_nothing {
            return Err("change = \"percent\" of a fixed baseline needs a reference that is not 0"
                .to_owned());
        }
        let mean = config.mean_over.map(|length| Mean {
            length,
            zone: config.time_zone.unwrap_or_default(),
            min_values: config.min_values.unwrap_or(if length == Length::Day { 18 } else { 1 }),
        });
        if let Some(Mean { min_values: found @ ..=0, .. }) = mean {
            return Err(format!("min_values is {found}: it must be at least 1"));
        }
        Ok(Rule {
            measure: config.measure,
            by_index: config.index.is_some(),
            averaging: config.averaging,
            sense,
            report: config.report,
            first_look: config.first_look,
            baseline: config.baseline,
            reference,
            change: config.change,
            minimum_time: config.minimum_time_above.map_or(Duration::ZERO, |lasting| lasting.0),
            mean,
        })
    }
}

impl Rule {
    /// Whether the value itself is held against the limits, and not its change.
    pub fn takes_value_as_it_is(&self) -> bool {
        self.baseline == Baseline::Fixed && self.reference.0.is_zero()
    }
}

impl Config {
    fn sense(&self) -> Result<Sense, String> {
        let raises = [
            (self.raise_above, false, false),
            (self.raise_at, false, true),
            (self.raise_below, true, false),
            (self.raise_at_or_below, true, true),
        ];
        let mut said = raises.into_iter().filter_map(|(limit, f, i)| Some((limit?, f, i)));
        let (Some((raise, falling, inclusive)), None) = (said.next(), said.next()) else {
            return Err("say exactly one of raise_above, raise_at, raise_below and \
                        raise_at_or_below"
                .to_owned());
        };
        let (clear, misplaced) = match falling {
            false => (self.clear_below, self.clear_above.map(|_| "clear_above")),
            true => (self.clear_above, self.clear_below.map(|_| "clear_below")),
        };
        if let Some(key) = misplaced {
            return Err(format!(
                "{key} is on the wrong side: clear_below belongs to raise_above and raise_at, \
                 clear_above to raise_below and raise_at_or_below"
            ));
        }
        // A tenth of the limit back: then a value that stays near it tells once.
        let tenth = raise.0.abs() * Decimal::new(1, 1);
        let clear = clear.unwrap_or(Exact(if falling { raise.0 + tenth } else { raise.0 - tenth }));
        if (falling && clear < raise) || (!falling && clear > raise) {
            return Err(format!(
                "the clear limit {clear} is beyond the raise limit {raise}: it must be on the good \
                 side of it or equal"
            ));
        }
        Ok(Sense {
            falling,
            inclusive,
            raise: raise.ratio(),
            clear: clear.ratio(),
            raise_text: raise.to_string(),
            clear_text: clear.to_string(),
        })
    }
}
