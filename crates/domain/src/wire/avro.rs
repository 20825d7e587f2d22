//! Reads Avro's primitives from a borrowed body. On the hot path of every event: it borrows text
//! instead of copying it, checks every size before it uses it, and refuses instead of panicking.

use super::WireError;
use crate::decimal::MONEY_SCALE;
use crate::{Currency, Id, Micros, Money};
use rust_decimal::Decimal;
use std::fmt;

/// The longest body of most facts, in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// The most items of one array or map.
pub const MAX_ITEMS: usize = 10_000;

/// A body and how far it has been read.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// How many bytes the body has.
    len: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `body`; an error of class `limit` if it has more than `max` bytes.
    pub fn new(body: &'a [u8], max: usize) -> Result<Self, WireError> {
        let len = body.len();
        if len > max {
            return Err(limit(format!("the body has {len} bytes, at most {max} are read")));
        }
        Ok(Self { rest: body, len })
    }

    /// Fails if bytes are left over.
    pub fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(decode(format!("{left} bytes are left over after byte {}", self.at()))),
        }
    }

    /// How many bytes have been read.
    fn at(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The next `len` bytes, borrowed; `what` they are is said if they are not there.
    #[inline(always)]
    pub(super) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], WireError> {
        self.rest.split_off(..len).ok_or_else(|| self.short(len, what))
    }

    #[cold]
    fn short(&self, len: usize, what: &str) -> WireError {
        let (at, left) = (self.at(), self.rest.len());
        decode(format!("{what} at byte {at} needs {len} bytes, {left} are left"))
    }

    /// A `long`: zig-zag, seven bits a byte, at most ten bytes.
    #[inline(always)]
    pub fn long(&mut self) -> Result<i64, WireError> {
        match *self.rest {
            // Most lengths and choices are one byte.
            [byte @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            _ => self.longer(),
        }
    }

    /// A `long` of eight bytes: all of them at once, neighbours joined three times.
    #[inline(always)]
    fn eight(&mut self) -> Option<i64> {
        let (word, rest) = self.rest.split_first_chunk()?;
        let word = u64::from_le_bytes(*word);
        if word & 0x8080_8080_8080_8080 != 0x0080_8080_8080_8080 {
            return None;
        }
        self.rest = rest;
        let pairs = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
        let fours = (pairs & 0x3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
        let value = (fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn longer(&mut self) -> Result<i64, WireError> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            if i == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(decode(format!("the number at byte {} does not end or exceeds 64 bits", self.at())))
    }

    /// An `int`; fails outside 32 bits.
    pub fn int(&mut self) -> Result<i32, WireError> {
        let at = self.at();
        self.long()?.try_into().map_err(|_| decode(format!("the int at byte {at} exceeds 32 bits")))
    }

    /// A count such as an offset: a `long` that may not be negative.
    pub fn count<N: TryFrom<i64>>(&mut self) -> Result<N, WireError> {
        let at = self.at();
        let found = self.long()?;
        N::try_from(found).map_err(|_| {
            decode(format!("the count at byte {at} is {found}, which is out of range"))
        })
    }

    /// A `boolean`: one byte, 0 or 1.
    pub fn boolean(&mut self) -> Result<bool, WireError> {
        match self.take(1, "the boolean")? {
            [0] => Ok(false),
            [1] => Ok(true),
            found => Err(decode(format!(
                "the boolean at byte {} is {found:?}, only 0 and 1 are allowed",
                self.at() - 1
            ))),
        }
    }

    /// A `double`; NaN and infinities are refused.
    pub fn double(&mut self) -> Result<f64, WireError> {
        let value = f64::from_le_bytes(self.fixed()?);
        if value.is_finite() {
            return Ok(value);
        }
        Err(decode(format!("the double at byte {} is {value}, it must be finite", self.at() - 8)))
    }

    /// `fixed(N)`.
    #[inline(always)]
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            return Err(self.short(N, "the fixed value"));
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// `bytes`, borrowed.
    #[inline(always)]
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        // Most are shorter than 64, and their length is one even byte.
        if let [length @ ..0x80, ref rest @ ..] = *self.rest
            && length % 2 == 0
            && let Some((taken, rest)) = rest.split_at_checked(usize::from(length / 2))
        {
            self.rest = rest;
            return Ok(taken);
        }
        self.longer_bytes()
    }

    fn longer_bytes(&mut self) -> Result<&'a [u8], WireError> {
        match usize::try_from(self.long()?) {
            Ok(len) => self.take(len, "the text or the bytes"),
            Err(_) => {
                let at = self.at();
                Err(decode(format!("the length before byte {at} is negative, it may not be")))
            }
        }
    }

    /// A `string`, borrowed; fails unless it is UTF-8.
    #[inline]
    pub fn str(&mut self) -> Result<&'a str, WireError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| self.no_text(error))
    }

    /// A `string`, checked and borrowed, and not yet made a `str`; fails unless it is UTF-8.
    #[inline(always)]
    pub fn text(&mut self) -> Result<Text<'a>, WireError> {
        let bytes = self.bytes()?;
        if !is_ascii(bytes) {
            std::str::from_utf8(bytes).map_err(|error| self.no_text(error))?;
        }
        Ok(Text(bytes))
    }

    #[cold]
    fn no_text(&self, error: std::str::Utf8Error) -> WireError {
        decode(format!("the text before byte {} is not UTF-8: {error}", self.at()))
    }

    /// A `string`, owned.
    pub fn string(&mut self) -> Result<String, WireError> {
        self.str().map(str::to_owned)
    }

    /// A `fixed(16)` id.
    pub fn id(&mut self) -> Result<Id, WireError> {
        self.fixed().map(Id::from_bytes)
    }

    /// A `timestamp-micros`: of our days they take eight bytes.
    #[inline(always)]
    pub fn micros(&mut self) -> Result<Micros, WireError> {
        match self.eight() {
            Some(time) => Ok(Micros(time)),
            None => self.long().map(Micros),
        }
    }

    /// The number of an enum's symbol or a union's branch, below `count`.
    pub fn index(&mut self, count: usize) -> Result<usize, WireError> {
        let at = self.at();
        let found = self.long()?;
        usize::try_from(found).ok().filter(|i| *i < count).ok_or_else(|| {
            decode(format!("the choice at byte {at} is {found}, it must be 0 to {}", count - 1))
        })
    }

    /// One of `values`, in the order of the schema's symbols.
    pub fn symbol<T: Copy>(&mut self, values: &[T]) -> Result<T, WireError> {
        self.index(values.len()).map(|i| values[i])
    }

    /// The union `["null", T]`.
    pub fn option<T>(
        &mut self,
        item: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        match self.index(2)? {
            0 => Ok(None),
            _ => item(self).map(Some),
        }
    }

    /// The items of an array or the entries of a map. Each takes at least one byte, so their number
    /// is held against the bytes that are left before room is made for them.
    pub fn items<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let mut out = Vec::new();
        while let Some((count, end)) = self.block(out.len())? {
            out.reserve_exact(count.min(64));
            for _ in 0..count {
                out.push(item(self)?);
            }
            if end.is_some_and(|end| end != self.at()) {
                return Err(decode(format!(
                    "the block before byte {} misstates its size",
                    self.at()
                )));
            }
        }
        Ok(out)
    }

    /// How many items the next block holds and, if it says so, where it ends; `None` at the end.
    fn block(&mut self, before: usize) -> Result<Option<(usize, Option<usize>)>, WireError> {
        let at = self.at();
        let found = self.long()?;
        if found == 0 {
            return Ok(None);
        }
        let size = if found < 0 { Some(self.count::<usize>()?) } else { None };
        let count = usize::try_from(found.unsigned_abs()).unwrap_or(usize::MAX);
        let room = size.unwrap_or(usize::MAX).min(self.rest.len());
        if count > room || size.is_some_and(|size| size > self.rest.len()) {
            let left = self.rest.len();
            return Err(decode(format!(
                "the block at byte {at} claims {count} items, {left} bytes are left"
            )));
        }
        if before + count > MAX_ITEMS {
            return Err(limit(format!("the list at byte {at} has more than {MAX_ITEMS} items")));
        }
        Ok(Some((count, size.map(|size| self.at() + size))))
    }

    /// Money: a decimal with [`MONEY_SCALE`] digits after the point, then its currency.
    pub fn money(&mut self) -> Result<Money, WireError> {
        let bytes = self.bytes()?;
        let amount = unscaled(bytes)
            .and_then(|value| Decimal::try_from_i128_with_scale(value, MONEY_SCALE).ok())
            .ok_or_else(|| {
                let (found, at) = (bytes.len(), self.at());
                decode(format!(
                    "the {found} bytes of an amount before byte {at} do not fit 96 bits"
                ))
            })?;
        let code = self.str()?;
        let currency = Currency::parse(code)
            .ok_or_else(|| decode(format!("{code:?} is not an ISO 4217 code such as GBP")))?;
        Ok(Money { amount, currency })
    }
}

/// Text that was read and is UTF-8. Who looks at millions of facts shows few of them, and only what
/// is shown is made a `str`: without `unsafe` that costs a second look at every byte.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// Its bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether the byte stands in it; for bytes other than 0.
    #[inline(always)]
    pub fn has(self, byte: u8) -> bool {
        let ones = TOP_BITS >> 7;
        // A byte that is the same becomes 0, and only then taking 1 from it borrows its top bit.
        let same = |word: u64| {
            let other = word ^ (ones * u64::from(byte));
            other.wrapping_sub(ones) & !other
        };
        joined(self.0, same) & TOP_BITS != 0
    }

    /// As text.
    pub fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text(text.as_bytes())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    joined(bytes, |word| word) & TOP_BITS == 0
}

const TOP_BITS: u64 = 0x8080_8080_8080_8080;

/// The bits of every word of the bytes together. Most texts are short, so words that overlap beat a
/// loop over bytes; shorter words are filled up with zeros.
#[inline(always)]
fn joined(bytes: &[u8], of: impl Fn(u64) -> u64) -> u64 {
    let word = |bytes: &[u8; 8]| of(u64::from_ne_bytes(*bytes));
    let half = |bytes: &[u8; 4]| of(u32::from_ne_bytes(*bytes).into());
    match (bytes.last_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
        (Some(last), ..) => {
            bytes.as_chunks().0.iter().fold(word(last), |bits, chunk| bits | word(chunk))
        }
        (None, Some(first), Some(last)) => half(first) | half(last),
        _ => bytes.iter().fold(0, |bits, byte| bits | of((*byte).into())),
    }
}

/// Big-endian two's complement of one to sixteen bytes.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let sign = if *bytes.first()? >= 0x80 { 0xff } else { 0 };
    let mut wide = [sign; 16];
    wide.get_mut(16usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

#[cold]
fn decode(reason: String) -> WireError {
    WireError::new("decode", reason)
}

#[cold]
fn limit(reason: String) -> WireError {
    WireError::new("limit", reason)
}

#[cfg(test)]
mod tests {
    use super::super::put;
    use super::*;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(bytes, MAX_BODY).unwrap()
    }

    #[test]
    fn longs_are_zig_zag_and_stop_at_64_bits() {
        let mut max = [0xff; 10];
        max[9] = 1;
        for (bytes, value) in
            [(&[0][..], 0), (&[1], -1), (&[2], 1), (&[0x80, 0x01], 64), (&max, i64::MIN)]
        {
            assert_eq!(reader(bytes).long(), Ok(value));
        }
        max[9] = 2;
        for bad in [&[][..], &[0x80], &max, &[0xff; 11]] {
            assert!(reader(bad).long().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn longs_of_every_length_are_as_they_were_written() {
        for bits in 0..64 {
            let power = 1_i64 << bits;
            for value in [power, power.wrapping_sub(1), power.wrapping_neg(), i64::MIN >> bits] {
                let mut bytes = Vec::new();
                put::long(&mut bytes, value);
                let length = bytes.len();
                bytes.extend_from_slice(&[0x80; 9]);
                let mut r = reader(&bytes);
                assert_eq!((r.long(), r.at()), (Ok(value), length), "{value:x}");
            }
        }
    }

    #[test]
    fn sizes_are_checked_before_anything_is_allocated() {
        let huge = [0xfe, 0xff, 0xff, 0xff, 0x0f];
        assert!(reader(&huge).bytes().is_err());
        assert!(reader(&[1]).bytes().is_err(), "a negative length");
        assert!(reader(&huge).items(|r| r.long()).is_err());
        let mut least = [0xff; 10];
        least[9] = 1;
        assert!(
            reader(&least).items(|r| r.long()).is_err(),
            "the least count has no absolute value"
        );
        assert_eq!(Reader::new(&[0; 9], 8).unwrap_err().class, "limit");
    }

    #[test]
    fn blocks_may_come_in_parts_and_must_be_as_long_as_they_say() {
        let items = |bytes| reader(bytes).items(|r| r.long());
        assert_eq!(items(&[2, 2, 4, 4, 6, 0]), Ok(vec![1, 2, 3]));
        assert_eq!(items(&[3, 4, 2, 4, 0]), Ok(vec![1, 2]), "two items in two bytes");
        assert!(items(&[3, 6, 2, 4, 0, 0]).is_err(), "three bytes are claimed");
        let mut many = vec![0xa2, 0x9c, 0x01]; // 10,001 items
        many.resize(20_000, 0);
        assert_eq!(items(&many).unwrap_err().class, "limit");
    }

    #[test]
    fn what_no_fact_can_hold_is_refused() {
        assert!(reader(&f64::NAN.to_le_bytes()).double().is_err());
        assert!(reader(&f64::INFINITY.to_le_bytes()).double().is_err());
        assert!(reader(&[2]).boolean().is_err());
        assert!(reader(&[2, 0xff]).str().is_err());
        assert!(reader(&[4]).symbol(&[1, 2]).is_err());
        assert!(reader(&[0x80, 0x80, 0x80, 0x80, 0x10]).int().is_err());
        assert!(reader(&[0]).money().is_err(), "an amount of no bytes");
        assert!(reader(&[2, 1, 6, b'g', b'b', b'p']).money().is_err());
    }

    #[test]
    fn texts_of_every_length_are_checked() {
        for length in 0..40 {
            let mut body = vec![2 * length as u8];
            body.resize(length + 1, b'x');
            assert_eq!(reader(&body).text().unwrap().as_str().len(), length);
            for at in 1..=length {
                let mut bad = body.clone();
                bad[at] = 0xff;
                assert_eq!(reader(&bad).text().unwrap_err(), reader(&bad).str().unwrap_err());
            }
            if length >= 2 {
                body[length - 1..].copy_from_slice("ö".as_bytes());
                assert!(reader(&body).text().unwrap().as_str().ends_with('ö'));
            }
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for length in 0..40 {
            let plain = ".0\u{7f}".repeat(14);
            assert!(!Text::from(&plain[..length]).has(b'/'), "{length}");
            for at in 0..length {
                let mut text = plain[..length].to_owned();
                text.replace_range(at..=at, "/");
                assert!(Text::from(text.as_str()).has(b'/'), "{length} {at}");
            }
        }
    }

    #[test]
    fn amounts_are_twos_complement() {
        for (bytes, value) in
            [(&[0][..], 0), (&[0xff], -1), (&[0, 0x80], 128), (&[0xff, 0x7f], -129)]
        {
            assert_eq!(unscaled(bytes), Some(value));
        }
        assert_eq!(unscaled(&[]), None);
        assert_eq!(unscaled(&[0; 17]), None);
    }
}
