//! Logical types as text: exact, as ISO 8601 writes them where it does, and never longer than their
//! bytes allow.

use crate::wire::WireError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::Value;

/// The longest unscaled value of a decimal, in bytes, and the most digits after its point.
const MAX_DECIMAL: usize = 256;
const MAX_SCALE: i64 = 1_000;

/// What a number of a time counts. Fractions are counted in parts of a second.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Days since 1970.
    Days,
    /// Parts of a second since midnight.
    OfDay(i64),
    /// Parts of a second since 1970, UTC.
    Instant(i64),
    /// The same of a clock somewhere.
    Local(i64),
}

impl Unit {
    /// As text; as the bare number where it is no time, as what stands for "never" often is.
    pub(super) fn show(self, count: i64) -> Value {
        self.text(count).map_or_else(|| count.into(), Value::String)
    }

    fn text(self, count: i64) -> Option<String> {
        let at = |per_second: i64| {
            let nanos = count.rem_euclid(per_second) * (1_000_000_000 / per_second);
            Timestamp::new(count.div_euclid(per_second), i32::try_from(nanos).ok()?).ok()
        };
        let clock = |time: Timestamp| Offset::UTC.to_datetime(time);
        Some(match self {
            Unit::Days => {
                clock(Timestamp::from_second(count.checked_mul(86_400)?).ok()?).date().to_string()
            }
            Unit::OfDay(parts) if (0..86_400 * parts).contains(&count) => {
                clock(at(parts)?).time().to_string()
            }
            Unit::OfDay(_) => return None,
            Unit::Instant(parts) => at(parts)?.to_string(),
            Unit::Local(parts) => clock(at(parts)?).to_string(),
        })
    }
}

/// Text if it is, else base64 that says so.
pub(super) fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", STANDARD.encode(bytes)),
    }
}

/// Big-endian two's complement of any length, with a point before the last `scale` digits.
pub(super) fn decimal(unscaled: &[u8], scale: i64) -> Result<String, WireError> {
    let places = usize::try_from(scale).ok().filter(|_| scale <= MAX_SCALE);
    let (Some(places), true) = (places, unscaled.len() <= MAX_DECIMAL) else {
        return Err(WireError::new(
            "limit",
            format!(
                "a decimal has {} bytes and a scale of {scale}; allowed: {MAX_DECIMAL} bytes, and a scale of 0 to {MAX_SCALE}",
                unscaled.len()
            ),
        ));
    };
    let is_negative = unscaled.first().is_some_and(|byte| *byte >= 0x80);
    let mut digits = digits(magnitude(unscaled, is_negative));
    if digits.len() <= places {
        digits.insert_str(0, &"0".repeat(places + 1 - digits.len()));
    }
    if places > 0 {
        digits.insert(digits.len() - places, '.');
    }
    if is_negative {
        digits.insert(0, '-');
    }
    Ok(digits)
}

fn magnitude(unscaled: &[u8], is_negative: bool) -> Vec<u8> {
    let mut bytes = unscaled.to_vec();
    if is_negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    bytes
}

/// A big-endian whole number in decimal digits, at least one.
fn digits(mut number: Vec<u8>) -> String {
    const STEP: u64 = 1_000_000_000;
    let mut parts = Vec::new();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0;
        for byte in &mut number {
            let part = rest << 8 | u64::from(*byte);
            (*byte, rest) = ((part / STEP) as u8, part % STEP);
        }
        parts.push(rest);
    }
    let mut text = parts.pop().unwrap_or(0).to_string();
    parts.iter().rev().for_each(|part| text.push_str(&format!("{part:09}")));
    text
}

pub(super) fn uuid(bytes: &[u8]) -> Result<String, WireError> {
    let found = uuid::Uuid::from_slice(bytes).map(|id| id.to_string());
    found.map_err(|_| WireError::new("decode", format!("a UUID has {} bytes, not 16", bytes.len())))
}

/// Months, days and milliseconds, as `P1M2DT3.004S`.
pub(super) fn duration(bytes: &[u8]) -> Result<String, WireError> {
    let ([months, days, millis], []) = bytes.as_chunks::<4>() else {
        let reason = format!("a duration has {} bytes, not 12", bytes.len());
        return Err(WireError::new("decode", reason));
    };
    let [months, days, millis] = [months, days, millis].map(|part| u32::from_le_bytes(*part));
    Ok(format!("P{months}M{days}DT{}.{:03}S", millis / 1_000, millis % 1_000))
}
