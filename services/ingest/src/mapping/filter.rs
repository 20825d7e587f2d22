//! Which rows count: `[[sources.only]]`. Limits are exact decimals.

use super::Fault;
use crate::number::Numbers;
use crate::settings::Only;
use crate::source::Skipped;
use crate::template::{Row, Slots, Template};
use rust_decimal::Decimal;

/// One compiled condition.
pub(super) struct Filter {
    field: Template,
    above: Option<Decimal>,
    below: Option<Decimal>,
    equals: Option<String>,
    not_equals: Option<String>,
    given: bool,
}

impl Filter {
    pub(super) fn compile(only: &Only, slots: &mut Slots) -> Result<Filter, String> {
        let limit = |key: &str, text: &Option<String>| {
            let read = |text: &String| {
                let wrong = |_| format!("`only.{key}` is {text:?}, which is not a decimal");
                Decimal::from_str_exact(text).map_err(wrong)
            };
            text.as_ref().map(read).transpose()
        };
        let given = [&only.above, &only.below, &only.equals, &only.not_equals];
        if given.iter().all(|test| test.is_none()) && !only.given {
            let tests = "`above`, `below`, `equals`, `not_equals`, `given`";
            return Err(format!("`only` needs one of {tests}"));
        }
        Ok(Filter {
            field: Template::compile(&only.field, slots)
                .map_err(|e| format!("`only.field`: {e}"))?,
            above: limit("above", &only.above)?,
            below: limit("below", &only.below)?,
            equals: only.equals.clone(),
            not_equals: only.not_equals.clone(),
            given: only.given,
        })
    }

    /// Why the row does not count, if it does not.
    pub(super) fn refuses(
        &self,
        row: &Row<'_>,
        numbers: &Numbers,
    ) -> Result<Option<Skipped>, Fault> {
        let text = self.field.render(row);
        if self.given && numbers.is_missing(&text) {
            return Ok(Some(Skipped::NoValue));
        }
        Ok((!self.admits(&text, numbers)?).then_some(Skipped::Filtered))
    }

    /// Where there is no value, no limit is met.
    fn admits(&self, text: &str, numbers: &Numbers) -> Result<bool, Fault> {
        if self.above.is_some() || self.below.is_some() {
            if numbers.is_missing(text) {
                return Ok(false);
            }
            let value = numbers.exact(text);
            let value = value.map_err(|e| Fault::new("value", e).of(&self.field))?;
            let outside = self.above.is_some_and(|limit| value <= limit)
                || self.below.is_some_and(|limit| value >= limit);
            if outside {
                return Ok(false);
            }
        }
        Ok(self.equals.as_ref().is_none_or(|wanted| same(wanted, text, numbers))
            && !self.not_equals.as_ref().is_some_and(|other| same(other, text, numbers)))
    }
}

/// Equal as text, or as numbers.
fn same(wanted: &str, found: &str, numbers: &Numbers) -> bool {
    let number = |text| numbers.exact(text).ok();
    wanted == found || number(wanted).is_some_and(|wanted| number(found) == Some(wanted))
}
