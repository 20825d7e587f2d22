//! How many of a source's rows cannot be read, and whether these are too many: then something is
//! wrong with the source, not with its rows. A pure count; whoever reads the source stops.

/// How many rows are looked back on.
const LAST: usize = 1_000;
/// How many must have been read before anything is judged.
const LEAST: usize = 100;
/// Where nothing is configured: half of the rows, in thousandths.
const DEFAULT: u32 = 500;

/// The last rows of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In thousandths; more than that is too much.
    limit: u32,
    /// A bit a row, set for one that is dead; a ring.
    rows: [u64; LAST.div_ceil(64)],
    next: usize,
    count: usize,
    dead: u32,
}

impl Rate {
    /// Of a source of which no row has been read yet, with its `pause_above`.
    ///
    /// # Errors
    /// If that is no share such as `5%`.
    pub fn of(pause_above: Option<&str>) -> Result<Rate, String> {
        let limit = match pause_above {
            None => DEFAULT,
            Some(text) => thousandths(text).ok_or_else(|| {
                format!(
                    "`pause_above` is {text:?}; it must be a share of the rows, such as \"5%\" or \
                     \"0.5%\", at most \"100%\", which never pauses"
                )
            })?,
        };
        Ok(Rate { limit, rows: [0; LAST.div_ceil(64)], next: 0, count: 0, dead: 0 })
    }

    /// Takes a row in; whether too many of the last rows are dead.
    pub fn row(&mut self, is_dead: bool) -> bool {
        let (word, bit) = (self.next / 64, 1 << (self.next % 64));
        if self.count == LAST && self.rows[word] & bit != 0 {
            self.dead -= 1;
        }
        match is_dead {
            true => self.rows[word] |= bit,
            false => self.rows[word] &= !bit,
        }
        self.dead += u32::from(is_dead);
        self.count = (self.count + 1).min(LAST);
        self.next = (self.next + 1) % LAST;
        is_dead && self.is_over()
    }

    fn is_over(&self) -> bool {
        self.count >= LEAST && self.dead * 1_000 > self.limit * self.count as u32
    }

    /// What is wrong, for people.
    pub fn reason(&self) -> String {
        let (dead, count, limit) = (self.dead, self.count, f64::from(self.limit) / 10.0);
        format!(
            "{dead} of the last {count} rows could not be read, and more than {limit} % are too many"
        )
    }
}

/// `5%` or `0.5%` as thousandths; `None` if it is no share from 0 to 100 %.
fn thousandths(text: &str) -> Option<u32> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, most| {
        let right = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| right)
    };
    let share = digits(whole, 3)? * 10 + digits(fraction, 1)?;
    (share <= 1_000).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(limit: &str) -> Rate {
        Rate::of(Some(limit)).unwrap()
    }

    /// After how many rows it is over, if `dead` says which are.
    fn over(mut rate: Rate, rows: usize, dead: impl Fn(usize) -> bool) -> Option<usize> {
        (1..=rows).find(|row| rate.row(dead(*row)))
    }

    #[test]
    fn only_many_of_many_rows_are_too_many() {
        for (limit, found, wanted) in [
            ("50%", over(rate("50%"), 99, |_| true), None),
            ("50%", over(rate("50%"), 5_000, |_| true), Some(100)),
            ("50%", over(rate("50%"), 5_000, |row| row % 2 == 0), None),
            ("50%", over(rate("50%"), 5_000, |row| row % 3 != 0), Some(100)),
            ("good before", over(rate("50%"), 9_000, |row| row > 5_000), Some(5_501)),
            ("5%", over(rate("5%"), 5_000, |row| row % 20 == 0), None),
            ("5%", over(rate("5%"), 5_000, |row| row % 19 == 0), Some(114)),
            ("0.5%", over(rate("0.5%"), 5_000, |row| row == 500), None),
            ("0%", over(rate("0%"), 5_000, |row| row == 700), Some(700)),
            ("100%", over(rate("100%"), 5_000, |_| true), None),
        ] {
            assert_eq!(found, wanted, "{limit}");
        }
    }

    #[test]
    fn rows_that_are_long_past_do_not_count() {
        let mut rate = rate("50%");
        (0..90).for_each(|_| assert!(!rate.row(true)));
        (0..1_000).for_each(|_| assert!(!rate.row(false)));
        assert_eq!((rate.dead, rate.count), (0, 1_000));
    }

    #[test]
    fn a_share_is_a_number_of_percent() {
        for (text, wanted) in [
            ("5%", Some(50)),
            ("0.5 %", Some(5)),
            ("100%", Some(1_000)),
            ("0%", Some(0)),
            ("100.1%", None),
            ("5", None),
            ("-5%", None),
            ("5.55%", None),
            ("%", None),
            (".5%", None),
        ] {
            assert_eq!(thousandths(text), wanted, "{text}");
        }
        assert_eq!(Rate::of(None).unwrap().limit, 500);
    }
}
