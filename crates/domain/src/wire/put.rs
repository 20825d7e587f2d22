//! Writes Avro's primitives; the other half of `avro`. It cannot fail and allocates nothing but the
//! room in `out`.

use super::WireError;
use crate::decimal::MONEY_SCALE;
use crate::{Id, Micros, Money};
use rust_decimal::{Decimal, RoundingStrategy};

/// A `long` or an `int`: zig-zag, seven bits a byte.
#[inline]
pub fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// `bytes`.
#[inline]
pub fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    long(out, value.len() as i64);
    out.extend_from_slice(value);
}

/// A `string`.
#[inline]
pub fn text(out: &mut Vec<u8>, value: &str) {
    bytes(out, value.as_bytes());
}

/// A `boolean`.
pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// A `double`.
pub fn double(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// A `fixed(16)` id.
pub fn id(out: &mut Vec<u8>, value: Id) {
    out.extend_from_slice(value.as_bytes());
}

/// A `timestamp-micros`.
pub fn micros(out: &mut Vec<u8>, value: Micros) {
    long(out, value.0);
}

/// The union `["null", T]`.
pub fn option<T>(out: &mut Vec<u8>, value: Option<T>, item: impl FnOnce(&mut Vec<u8>, T)) {
    long(out, i64::from(value.is_some()));
    if let Some(value) = value {
        item(out, value);
    }
}

/// An array or a map: one block, then the end.
pub fn items<I>(out: &mut Vec<u8>, items: I, mut item: impl FnMut(&mut Vec<u8>, I::Item))
where
    I: IntoIterator<IntoIter: ExactSizeIterator>,
{
    let items = items.into_iter();
    if items.len() > 0 {
        long(out, items.len() as i64);
        items.for_each(|value| item(out, value));
    }
    long(out, 0);
}

/// Money: a decimal with [`MONEY_SCALE`] digits after the point, then its currency. More digits are
/// rounded, a half to the even one; [`check_money`] says so before.
pub fn money(out: &mut Vec<u8>, value: &Money) {
    let wide = unscaled(value.amount).to_be_bytes();
    let sign = if wide[0] >= 0x80 { 0xff } else { 0 };
    // A leading byte may go if it and the top bit behind it only repeat the sign.
    let spare = (0..15).take_while(|i| wide[*i] == sign && (wide[i + 1] ^ sign) < 0x80).count();
    bytes(out, &wide[spare..]);
    text(out, value.currency.as_str());
}

/// Fails (class `limit`) for an amount that [`money`] would round or that could not be read again: more
/// than [`MONEY_SCALE`] digits after the point or more than 96 bits. Sources ask before they publish.
pub fn check_money(value: &Money) -> Result<(), WireError> {
    let amount = value.amount.normalize();
    let wide = unscaled(amount);
    if amount.scale() <= MONEY_SCALE && wide.unsigned_abs() >> 96 == 0 {
        return Ok(());
    }
    Err(WireError::new(
        "limit",
        format!(
            "the amount {value} does not fit: at most {MONEY_SCALE} digits may stand after the point \
             and 22 before it"
        ),
    ))
}

fn unscaled(amount: Decimal) -> i128 {
    let amount = amount.round_dp_with_strategy(MONEY_SCALE, RoundingStrategy::MidpointNearestEven);
    amount.mantissa() * 10_i128.pow(MONEY_SCALE.saturating_sub(amount.scale()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Currency;

    #[test]
    fn longs_take_as_few_bytes_as_they_can() {
        for (value, wanted) in
            [(0, &[0][..]), (-1, &[1]), (63, &[126]), (64, &[0x80, 1]), (-65, &[0x81, 1])]
        {
            let mut out = Vec::new();
            long(&mut out, value);
            assert_eq!(out, wanted);
        }
    }

    #[test]
    fn amounts_take_as_few_bytes_as_they_can() {
        for (amount, wanted) in [
            ("0", &[0][..]),
            ("0.000127", &[0x7f]),
            ("0.000128", &[0, 0x80]),
            ("-0.000001", &[0xff]),
            ("-0.000128", &[0x80]),
            ("-0.000129", &[0xff, 0x7f]),
            ("1", &[0x0f, 0x42, 0x40]),
            ("0.0000025", &[2]),
        ] {
            let currency = Currency::parse("GBP").unwrap();
            let mut out = Vec::new();
            money(&mut out, &Money { amount: amount.parse().unwrap(), currency });
            let mut expected = Vec::new();
            bytes(&mut expected, wanted);
            text(&mut expected, "GBP");
            assert_eq!(out, expected, "{amount}");
        }
    }

    #[test]
    fn amounts_that_would_not_come_back_are_refused() {
        let currency = Currency::parse("GBP").unwrap();
        let fits =
            |text: &str| check_money(&Money { amount: text.parse().unwrap(), currency }).is_ok();
        for good in ["0", "-1.123456", "1.50000000", "9999999999999999999999"] {
            assert!(fits(good), "{good}");
        }
        for bad in ["0.0000001", "99999999999999999999999", "-79228162514264337593544"] {
            assert!(!fits(bad), "{bad}");
        }
    }
}
