//! What a file is made of, found by reading all of its bytes once: its hash, its encoding, its line
//! ends. And then its text, in constant memory. It guesses nothing that it does not tell.

use super::settings::Encoding;
use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE, WINDOWS_1252};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

/// How much is read at a time.
const BUFFER: usize = 64 << 10;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Bytes, unpacked.
    pub bytes: u64,
    /// Of all of them.
    pub hash: [u8; 32],
    /// How they are text.
    pub encoding: Encoding,
    /// Whether it begins with a byte-order mark.
    pub mark: bool,
    /// What most lines end with.
    pub line_end: LineEnd,
}

/// What lines end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// `\n`, or there is one line.
    Lf,
    /// `\r\n`.
    CrLf,
    /// `\r`, as on old machines.
    Cr,
}

impl LineEnd {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            LineEnd::Lf => "lf",
            LineEnd::CrLf => "crlf",
            LineEnd::Cr => "cr",
        }
    }
}

/// Reads all of `content`, up to `most` bytes; `given` is the encoding if somebody has said it.
///
/// # Errors
/// Those of the content; [`io::ErrorKind::FileTooLarge`] if it has more bytes.
pub fn survey(content: impl Read, given: Option<Encoding>, most: u64) -> io::Result<Survey> {
    let mut content = content.take(most.saturating_add(1));
    // A reader may hand out less than it is asked for.
    let mut first = Vec::with_capacity(3);
    content.by_ref().take(3).read_to_end(&mut first)?;
    let (marked, mark) = match first.as_slice() {
        [0xef, 0xbb, 0xbf] => (Some(Encoding::Utf8), true),
        [0xff, 0xfe, ..] => (Some(Encoding::Utf16Le), true),
        [0xfe, 0xff, ..] => (Some(Encoding::Utf16Be), true),
        _ => (None, false),
    };
    let mut content = BufReader::with_capacity(BUFFER, io::Cursor::new(first).chain(content));
    let known = given.or(marked);
    let mut hash = Sha256::new();
    let (mut bytes, mut ends, mut utf8) = (0, Ends::default(), Utf8::default());
    let mut wide = known.and_then(decoder);
    let mut text = vec![0; BUFFER * 2];
    loop {
        let chunk = content.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        let length = chunk.len();
        hash.update(chunk);
        match &mut wide {
            None => {
                ends.see(chunk);
                utf8.see(chunk);
            }
            Some(decoder) => {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let (_, read, written, _) = decoder.decode_to_utf8(rest, &mut text, false);
                    ends.see(&text[..written]);
                    rest = &rest[read..];
                }
            }
        }
        bytes += length as u64;
        content.consume(length);
    }
    if bytes > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let encoding = known.unwrap_or_else(|| utf8.judge());
    Ok(Survey { bytes, hash: hash.finalize().into(), encoding, mark, line_end: ends.judge() })
}

fn decoder(encoding: Encoding) -> Option<Decoder> {
    match encoding {
        Encoding::Utf16Le => Some(UTF_16LE.new_decoder_with_bom_removal()),
        Encoding::Utf16Be => Some(UTF_16BE.new_decoder_with_bom_removal()),
        Encoding::Utf8 | Encoding::Windows1252 => None,
    }
}

/// Counts line ends.
#[derive(Default)]
struct Ends {
    lf: u64,
    crlf: u64,
    cr: u64,
    after_cr: bool,
}

impl Ends {
    fn see(&mut self, chunk: &[u8]) {
        for byte in chunk {
            match byte {
                b'\n' if self.after_cr => self.crlf += 1,
                b'\n' => self.lf += 1,
                b'\r' => self.cr += 1,
                _ => {}
            }
            self.after_cr = *byte == b'\r';
        }
    }

    fn judge(&self) -> LineEnd {
        match () {
            // One line feed is enough: then a lone CR is part of a cell.
            () if self.cr > 0 && self.crlf + self.lf == 0 => LineEnd::Cr,
            () if self.crlf > self.lf => LineEnd::CrLf,
            () => LineEnd::Lf,
        }
    }
}

/// Counts what is UTF-8 and what is not.
#[derive(Default)]
struct Utf8 {
    good: u64,
    bad: u64,
    carried: Vec<u8>,
}

impl Utf8 {
    fn see(&mut self, chunk: &[u8]) {
        if self.carried.is_empty() && chunk.is_ascii() {
            return;
        }
        let joined;
        let mut rest = match self.carried.is_empty() {
            true => chunk,
            false => {
                joined = [&self.carried, chunk].concat();
                self.carried.clear();
                &joined[..]
            }
        };
        loop {
            let (valid, bad) = match std::str::from_utf8(rest) {
                Ok(text) => (text.len(), Some(0)),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            // Bytes that begin a character of several.
            self.good += rest[..valid].iter().filter(|byte| **byte >= 0xc0).count() as u64;
            match bad {
                Some(0) => return,
                // The character goes on in the next chunk.
                None => return self.carried.extend_from_slice(&rest[valid..]),
                Some(length) => {
                    self.bad += 1;
                    rest = &rest[valid + length..];
                }
            }
        }
    }

    /// A file of UTF-8 with a few broken characters stays one: its broken rows are told.
    fn judge(&self) -> Encoding {
        let bad = self.bad + u64::from(!self.carried.is_empty());
        match bad > 0 && bad >= self.good {
            true => Encoding::Windows1252,
            false => Encoding::Utf8,
        }
    }
}

/// The content as rows can be read from it: one byte a character of ASCII, lines that end with `\n`.
/// UTF-16 comes as UTF-8; Windows-1252 stays, and [`text`] reads its rows.
///
/// # Errors
/// Those of the content.
pub fn reader<'r>(content: impl Read + Send + 'r, survey: &Survey) -> io::Result<Lines<'r>> {
    let mut content = BufReader::with_capacity(BUFFER, content);
    if survey.mark && survey.encoding == Encoding::Utf8 {
        content.read_exact(&mut [0; 3])?;
    }
    let lines = survey.line_end;
    Ok(match decoder(survey.encoding) {
        Some(decoder) => {
            ends(Wide { content, decoder, text: Vec::new(), at: 0, ended: false }, lines)
        }
        None => ends(content, lines),
    })
}

/// The bytes of one row, as [`reader`] gives them in a file.
///
/// # Errors
/// None that memory does not have.
pub fn row(bytes: &[u8], encoding: Encoding) -> io::Result<Lines<'_>> {
    let (hash, mark, line_end) = ([0; 32], false, LineEnd::Lf);
    reader(bytes, &Survey { bytes: bytes.len() as u64, hash, encoding, mark, line_end })
}

/// Lines of text.
pub type Lines<'r> = Box<dyn BufRead + Send + 'r>;

fn ends<'r>(content: impl Read + Send + 'r, lines: LineEnd) -> Lines<'r> {
    match lines {
        LineEnd::Cr => Box::new(BufReader::with_capacity(BUFFER, CrToLf(content))),
        LineEnd::Lf | LineEnd::CrLf => Box::new(BufReader::with_capacity(BUFFER, content)),
    }
}

struct CrToLf<R>(R);

impl<R: Read> Read for CrToLf<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        buffer[..read].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        Ok(read)
    }
}

/// UTF-16 as UTF-8; half characters become U+FFFD, which rows are refused for.
struct Wide<R> {
    content: BufReader<R>,
    decoder: Decoder,
    text: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Read for Wide<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() {
            // A decoder that has been told of the end must not be asked again.
            if self.ended {
                return Ok(0);
            }
            let chunk = self.content.fill_buf()?;
            let last = chunk.is_empty();
            self.text.resize(BUFFER * 2, 0);
            let (result, read, written, _) =
                self.decoder.decode_to_utf8(chunk, &mut self.text, last);
            self.content.consume(read);
            self.text.truncate(written);
            self.at = 0;
            self.ended = last && result == CoderResult::InputEmpty;
        }
        let length = buffer.len().min(self.text.len() - self.at);
        buffer[..length].copy_from_slice(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// A row's text; what is not text, and where.
///
/// # Errors
/// If it is not in the encoding of the file.
pub fn text(row: &[u8], encoding: Encoding) -> Result<Cow<'_, str>, String> {
    if encoding == Encoding::Windows1252 {
        return Ok(WINDOWS_1252.decode_without_bom_handling(row).0);
    }
    let text = std::str::from_utf8(row).map_err(|error| {
        let at = error.valid_up_to() + 1;
        format!(
            "byte {at} of the row is not UTF-8, as the rest of the file is; \
             save the file in one encoding, or declare `encoding`"
        )
    })?;
    match encoding != Encoding::Utf8 && text.contains('\u{fffd}') {
        true => Err("it has half of a character of UTF-16; save the file again".into()),
        false => Ok(Cow::Borrowed(text)),
    }
}

/// The bytes of a row as they stand in the file.
pub fn original(row: &[u8], encoding: Encoding) -> Cow<'_, [u8]> {
    let wide = |bytes: fn(u16) -> [u8; 2]| {
        let text = String::from_utf8_lossy(row);
        Cow::Owned(text.encode_utf16().flat_map(bytes).collect())
    };
    match encoding {
        Encoding::Utf8 | Encoding::Windows1252 => Cow::Borrowed(row),
        Encoding::Utf16Le => wide(u16::to_le_bytes),
        Encoding::Utf16Be => wide(u16::to_be_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    /// Hands out as little as the caller allows.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.1).min(self.0.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn read(bytes: &[u8], given: Option<Encoding>) -> (Survey, String) {
        let mut all = Vec::new();
        for drop in [1, 2, 3, 7, usize::MAX] {
            let survey = survey(Drops(bytes, drop), given, u64::MAX).unwrap();
            let mut out = Vec::new();
            reader(Drops(bytes, drop), &survey).unwrap().read_to_end(&mut out).unwrap();
            let text = text(&out, survey.encoding).map(Cow::into_owned);
            all.push((survey, text.unwrap_or_else(|error| error)));
        }
        assert!(all.windows(2).all(|two| two[0] == two[1]), "{all:?}");
        all.pop().unwrap()
    }

    #[test]
    fn encodings_marks_and_line_ends_are_found() {
        use Encoding::{Utf8, Utf16Be, Utf16Le, Windows1252};
        use LineEnd::{Cr, CrLf, Lf};
        let (le, be) = (u16::to_le_bytes, u16::to_be_bytes);
        for (bytes, wanted, text) in [
            (b"a,b\n1,2\n".to_vec(), (Utf8, false, Lf), "a,b\n1,2\n"),
            ("a\r\né\r\n".into(), (Utf8, false, CrLf), "a\r\né\r\n"),
            ("\u{feff}a\ré\r".into(), (Utf8, true, Cr), "a\né\n"),
            (b"M\xfcnchen \x80\n".to_vec(), (Windows1252, false, Lf), "München €\n"),
            (b"\xfc".to_vec(), (Windows1252, false, Lf), "ü"),
            (utf16("\u{feff}a;é😀\r\n", le), (Utf16Le, true, CrLf), "a;é😀\r\n"),
            (utf16("\u{feff}a;é😀\rb", be), (Utf16Be, true, Cr), "a;é😀\nb"),
            (Vec::new(), (Utf8, false, Lf), ""),
            (b"\xef\xbb\xbf".to_vec(), (Utf8, true, Lf), ""),
            (b"\xff\xfe".to_vec(), (Utf16Le, true, Lf), ""),
            (b"\xff\xfea".to_vec(), (Utf16Le, true, Lf), "it has half of a character"),
            (b"\xff\xfe\x00\xd8a\x00".to_vec(), (Utf16Le, true, Lf), "it has half of a char"),
            (b"a\rb\nc".to_vec(), (Utf8, false, Lf), "a\rb\nc"),
            // One broken character among good ones is a broken row, not another encoding.
            (
                "é é é \u{0}".as_bytes().iter().copied().chain([0xff]).collect(),
                (Utf8, false, Lf),
                "byte 11 of the row is not UTF-8",
            ),
        ] {
            let (found, read) = read(&bytes, None);
            assert_eq!((found.encoding, found.mark, found.line_end), wanted, "{bytes:?}");
            assert!(read.starts_with(text) && (text.len() > 15 || read == text), "{read:?}");
        }
        let (found, text) = read(&utf16("a\né", le), Some(Utf16Le));
        assert_eq!((found.encoding, text.as_str()), (Utf16Le, "a\né"), "declared, without a mark");
    }

    #[test]
    fn too_many_bytes_are_refused_and_bytes_are_given_back_as_they_were() {
        assert_eq!(survey(&b"12345"[..], None, 5).unwrap().bytes, 5);
        let error = survey(&b"123456"[..], None, 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let wide = utf16("é,1\n", u16::to_be_bytes);
        assert_eq!(&*original("é,1\n".as_bytes(), Encoding::Utf16Be), wide);
        assert_eq!(&*original(b"\xfc", Encoding::Windows1252), b"\xfc");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        /// Whatever the bytes are, they are read to their end, in one pass of constant memory.
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200), mark in 0..4) {
            let marks: [&[u8]; 4] = [b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"];
            let bytes = [marks[mark as usize], &bytes].concat();
            let survey = survey(Drops(&bytes, 5), None, 1000).unwrap();
            prop_assert_eq!(survey.bytes, bytes.len() as u64);
            let mut out = Vec::new();
            reader(Drops(&bytes, 3), &survey).unwrap().read_to_end(&mut out).unwrap();
            prop_assert!(out.len() <= bytes.len() * 3 + 3);
        }
    }
}
