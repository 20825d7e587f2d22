//! A product whose sale rows pass a limit within an hour or a day of event time. It is raised as
//! soon as the running total passes the limit; when the window closes, `cleared` has the totals.

use super::{Limit, Measure};
use crate::detector::{Detector, Event, Finding, Input, Seen, figures};
use crate::memory::{
    note_offset, put_micros, put_offsets, put_text, put_wide, take_micros, take_offsets, take_text,
    take_wide,
};
use crate::windows::{Length, Window, Zone};
use rust_decimal::Decimal;
use tocsin_domain::alert::AlertState;
use tocsin_domain::decimal::plain;
use tocsin_domain::event::OrderRow;
use tocsin_domain::{Currency, Micros};

/// The rule.
pub struct Windows {
    pub limit: Limit,
    pub currency: Option<Currency>,
    pub length: Length,
    pub zone: Zone,
    pub measure: Measure,
}

/// The memory: the window that is open and what was sold in it.
#[derive(Clone, Debug)]
struct Open {
    window: Window,
    totals: Totals,
    title: String,
    offsets: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Totals {
    raised: bool,
    revenue: Decimal,
    units: i64,
    rows: i64,
}

impl Detector for Windows {
    fn input(&self) -> Input {
        Input::OrderRows
    }

    /// Only sales count: returns, and rows without a price, are not this condition's, nor are rows
    /// in another currency.
    fn observe(
        &self,
        seen: Seen<'_>,
        memory: &mut Vec<u8>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), String> {
        let Event::OrderRow(row) = seen.event else { return Ok(()) };
        let other = self.currency.is_some_and(|wanted| wanted != row.price.currency);
        if other || row.units <= 0 || row.price.amount <= Decimal::ZERO {
            return Ok(());
        }
        let open = Open::read(memory).filter(|open| open.window.holds(row.event_time));
        let mut open = match open {
            Some(open) => open,
            None => Open::at(Window::around(row.event_time, self.length, &self.zone)?),
        };
        let before = open.totals;
        open.add(row, seen.offset)?;
        let passed = !before.raised && self.limit.is_passed(self.total(open.totals));
        open.totals.raised |= passed;
        if !memory.is_empty() && self.due(memory) <= row.event_time {
            self.close(memory, findings);
        }
        if passed {
            let states = [json(before), json(open.totals)];
            findings.push(self.finding(&open, AlertState::Raised, row.event_time, states));
        }
        open.write(memory);
        Ok(())
    }

    fn reads(&self, memory: &[u8]) -> bool {
        memory.is_empty() || Open::read(memory).is_some()
    }

    fn due(&self, memory: &[u8]) -> Micros {
        let mut rest = memory.get(8..).unwrap_or_default();
        take_micros(&mut rest).unwrap_or(Micros::MAX)
    }

    fn close(&self, memory: &mut Vec<u8>, findings: &mut Vec<Finding>) {
        if let Some(open) = Open::read(memory).filter(|open| open.totals.raised) {
            let states = [json(open.totals), "{}".to_owned()];
            findings.push(self.finding(&open, AlertState::Cleared, open.window.end, states));
        }
        memory.clear();
    }
}

impl Windows {
    fn total(&self, totals: Totals) -> Decimal {
        match self.measure {
            Measure::Revenue => totals.revenue,
            Measure::Units => Decimal::from(totals.units),
        }
    }

    fn finding(
        &self,
        open: &Open,
        state: AlertState,
        event_time: Micros,
        [before, after]: [String; 2],
    ) -> Finding {
        let (measure, unit) = match (self.measure, self.currency) {
            (Measure::Revenue, Some(currency)) => ("revenue", currency.to_string()),
            (Measure::Revenue, None) => ("revenue", String::new()),
            (Measure::Units, _) => ("units", "units".to_owned()),
        };
        // A condition on units without a currency may sum several, which is no revenue.
        let revenue = self.currency.map(|_| plain(open.totals.revenue).to_string());
        Finding {
            state,
            began: open.window.start,
            event_time,
            measure: measure.to_owned(),
            place: open.title.clone(),
            value: plain(self.total(open.totals)).to_string(),
            unit,
            limit: plain(self.limit.value).to_string(),
            band: "",
            offsets: open.offsets.clone(),
            figures: figures([
                ("revenue", revenue),
                ("units", Some(open.totals.units.to_string())),
                ("rows", Some(open.totals.rows.to_string())),
                ("window-start", Some(open.window.start.to_string())),
                ("window-end", Some(open.window.end.to_string())),
            ]),
            before,
            after,
        }
    }
}

impl Open {
    fn at(window: Window) -> Open {
        let totals = Totals { raised: false, revenue: Decimal::ZERO, units: 0, rows: 0 };
        Open { window, totals, title: String::new(), offsets: Vec::new() }
    }

    fn add(&mut self, row: &OrderRow<'_>, offset: u64) -> Result<(), String> {
        let earned = row.price.amount.checked_mul(Decimal::from(row.units));
        let revenue = earned.and_then(|earned| self.totals.revenue.checked_add(earned));
        let units = self.totals.units.checked_add(row.units);
        let (Some(revenue), Some(units)) = (revenue, units) else {
            return Err(format!(
                "{} times {} units, added to {}, is more than 28 digits hold",
                row.price, row.units, self.totals.revenue
            ));
        };
        self.totals = Totals { revenue, units, rows: self.totals.rows + 1, ..self.totals };
        if !row.title.is_empty() {
            row.title.clone_into(&mut self.title);
        }
        note_offset(&mut self.offsets, offset);
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        put_micros(out, self.window.start);
        put_micros(out, self.window.end);
        put_wide(out, self.totals.revenue.mantissa());
        out.push(self.totals.revenue.scale() as u8);
        out.push(u8::from(self.totals.raised));
        put_micros(out, Micros(self.totals.units));
        put_micros(out, Micros(self.totals.rows));
        put_text(out, &self.title);
        put_offsets(out, &self.offsets);
    }

    fn read(mut bytes: &[u8]) -> Option<Open> {
        let rest = &mut bytes;
        let window = Window { start: take_micros(rest)?, end: take_micros(rest)? };
        let mantissa = take_wide(rest)?;
        let scale = u32::from(*rest.split_off_first()?);
        let totals = Totals {
            revenue: Decimal::try_from_i128_with_scale(mantissa, scale).ok()?,
            raised: *rest.split_off_first()? == 1,
            units: take_micros(rest)?.0,
            rows: take_micros(rest)?.0,
        };
        Some(Open { window, totals, title: take_text(rest)?, offsets: take_offsets(rest)? })
    }
}

fn json(totals: Totals) -> String {
    let Totals { raised, revenue, units, rows } = totals;
    let revenue = plain(revenue);
    format!("{{\"raised\":{raised},\"revenue\":\"{revenue}\",\"rows\":{rows},\"units\":{units}}}")
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{built, found, refusal, rows};
    use serde_json::json;

    #[test]
    fn a_product_is_raised_within_its_hour_and_cleared_with_the_totals() {
        let params = json!({"by": "window", "limit": 100, "currency": "GBP", "window": "1h"});
        let detector = built("high-volume-sales", params);
        for (sold, says) in [
            (&[(0, "25", 4)][..], ""),
            (&[(0, "25", 4), (59, "0.01", 1)], "raised 100.01 · cleared 100.01"),
            (&[(0, "25", 4), (60, "0.01", 1)], ""),
            (&[(0, "30", 4), (10, "5", 1), (70, "1", 1)], "raised 120 · cleared 125"),
            (&[(0, "30", 4), (10, "30", -4), (11, "0", 9)], "raised 120 · cleared 120"),
            (
                &[(0, "101", 1), (60, "102", 1)],
                "raised 101 · cleared 101 · raised 102 · cleared 102",
            ),
            (&[(5, "60", 1), (5, "60", 1)], "raised 120 · cleared 120"),
        ] {
            assert_eq!(found(&*detector, &rows(sold)), says, "{sold:?}");
        }
    }

    #[test]
    fn units_days_and_equality_can_be_asked_for() {
        for (params, says) in [
            (
                json!({"by": "window", "limit": 5, "measure": "units", "window": "1d"}),
                "raised 6 · cleared 6",
            ),
            (json!({"by": "window", "limit": 6, "measure": "units", "window": "1d"}), ""),
            (
                json!({"by": "window", "limit": 6, "measure": "units", "window": "1d", "compare": ">="}),
                "raised 6 · cleared 6",
            ),
            (json!({"by": "window", "limit": 5, "measure": "units", "window": "1h"}), ""),
            (json!({"by": "window", "limit": 1, "currency": "USD", "window": "1d"}), ""),
        ] {
            let detector = built("high-volume-sales", params.clone());
            assert_eq!(found(&*detector, &rows(&[(0, "1", 3), (600, "1", 3)])), says, "{params}");
        }
        let no_currency = json!({"by": "window", "limit": 5, "window": "1d"});
        assert!(refusal("high-volume-sales", no_currency).contains("currency"));
    }
}
