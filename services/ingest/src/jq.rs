//! `rows`: a jq filter that turns one JSON document into rows, before templates name their fields.
//! It sees the document and the file's name and nothing else: no clock, no environment, no files.
//! It cannot loop for ever, and what it puts out is limited.

use jaq_core::data::JustLut;
use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, unwrap_valr};
use jaq_json::Val;
use serde_json::Value;

/// The most rows of one document.
pub const ROWS_CAP: usize = 100_000;
/// The most bytes of all rows of one document, as JSON.
pub const BYTES_CAP: usize = 64 << 20;

/// What could go on for ever, or grow with a number that an upstream has written.
const REFUSED: [&str; 8] =
    ["def", "repeat", "recurse", "while", "until", "range", "combinations", "import"];

/// Functions of jq's library that ask for more than the document, or for regular expressions,
/// formats and mathematics that no mapping has needed yet.
const LEFT_OUT: [&str; 28] = [
    "stderr",
    "debug",
    "halt",
    "halt_error",
    "logb",
    "significand",
    "pow10",
    "drem",
    "nexttoward",
    "scalb",
    "gamma",
    "test",
    "scan_",
    "scan",
    "match",
    "capture",
    "splits",
    "sub",
    "gsub",
    "todate",
    "fromdate",
    "@html",
    "@htmld",
    "@uri",
    "@urid",
    "@base64",
    "@base64d",
    "capture_of_match",
];

/// What the filter may ask for beside its document: the name of the file.
const FILE: &str = "$file";

/// A compiled filter.
pub struct Jq {
    filter: Filter<JustLut<Val>>,
}

impl Jq {
    /// Compiles `text`.
    ///
    /// # Errors
    /// If it is no filter, calls what there is not, or uses what might not end.
    pub fn compile(text: &str) -> Result<Jq, String> {
        let at = |rest: &str| match rest.trim().is_empty() {
            true => "at its end".to_owned(),
            false => format!("at `{}`", rest.trim().chars().take(30).collect::<String>()),
        };
        let wrong = |what: &str, rest: &str| format!("expected {what} {}", at(rest));
        let tokens = Lexer::new(text).lex().map_err(|errors| {
            errors.first().map(|(what, rest)| wrong(what.as_str(), rest)).unwrap_or_default()
        })?;
        if let Some(word) = refused(&tokens) {
            return Err(format!(
                "`{word}` is not allowed, as it might not end; \
                use `..`, `.[]`, `map`, `reduce` or `limit` over what is there"
            ));
        }
        let arena = Arena::default();
        let library = jaq_std::defs().filter(|def| {
            !LEFT_OUT.contains(&def.name) && (def.name, def.args.len()) != ("split", 2)
        });
        let defs = jaq_core::defs().chain(library).chain(jaq_json::defs());
        let loaded = Loader::new(defs).load(&arena, File { code: text, path: () });
        let modules = loaded.map_err(|errors| match errors.first() {
            Some((_, load::Error::Parse(all))) => {
                all.first().map(|(what, rest)| wrong(what.as_str(), rest)).unwrap_or_default()
            }
            _ => "it is no filter".to_owned(),
        })?;
        let funs = jaq_core::funs().chain(jaq_std::base_funs()).chain(jaq_json::funs());
        let compiled = Compiler::default().with_funs(funs).with_global_vars([FILE]);
        let filter = compiled.compile(modules).map_err(|errors| {
            let first = errors.first().and_then(|(_, all)| all.first());
            let name = |(name, kind): &(&str, jaq_core::compile::Undefined)| {
                format!("there is no {} `{name}`", kind.as_str())
            };
            first.map(name).unwrap_or_default()
        })?;
        Ok(Jq { filter })
    }

    /// The rows of the JSON document `bytes` in the file of that name.
    ///
    /// # Errors
    /// If it is not JSON, the filter does not fit it, or there are too many rows. Then none of them
    /// counts.
    pub fn rows(&self, bytes: &[u8], file: &str) -> Result<Vec<Value>, String> {
        let document: Val =
            serde_json::from_slice(bytes).map_err(|e| format!("it is not JSON: {e}"))?;
        let variables = Vars::new([Val::from(file.to_owned())]);
        let context = Ctx::<JustLut<Val>>::new(&self.filter.lut, variables);
        let (mut rows, mut size) = (Vec::new(), 0);
        for found in self.filter.id.run((context, document)).map(unwrap_valr) {
            let found = found.map_err(|e| {
                // A text that `error(…)` says comes in quotes.
                format!("`rows` does not fit it: {}", cut(e).trim_matches('"'))
            })?;
            let text = found.to_string();
            size += text.len();
            if rows.len() == ROWS_CAP || size > BYTES_CAP {
                return Err(format!(
                    "`rows` makes more than {ROWS_CAP} rows or {BYTES_CAP} bytes of it, the limits"
                ));
            }
            let row = serde_json::from_str(&text);
            rows.push(row.map_err(|e| format!("a row is not JSON: {e}: {}", cut(&text)))?);
        }
        Ok(rows)
    }
}

/// The beginning of what may be as long as the document.
fn cut(text: impl ToString) -> String {
    let text = text.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The first word that is not allowed, wherever it stands.
fn refused<'a>(tokens: &[Token<&'a str>]) -> Option<&'a str> {
    tokens.iter().find_map(|Token(text, kind)| match kind {
        Tok::Word => REFUSED.contains(text).then_some(*text),
        Tok::Block(inner) => refused(inner),
        Tok::Str(parts) => parts.iter().find_map(|part| match part {
            StrPart::Term(term) => refused(std::slice::from_ref(term)),
            _ => None,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(filter: &str, document: &str) -> Result<String, String> {
        let rows = Jq::compile(filter)?.rows(document.as_bytes(), "2026-05-28.json")?;
        Ok(rows.iter().map(Value::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn rows_come_in_order_and_numbers_stay_as_they_are() {
        for (filter, document, wanted) in [
            (".a[]", r#"{"a":[{"x":1},{"x":2}]}"#, r#"{"x":1} {"x":2}"#),
            (
                ".",
                r#"{"x":0.10,"y":12345678901234567890,"z":1e3}"#,
                r#"{"x":0.1,"y":12345678901234567890,"z":1000.0}"#,
            ),
            (".[]?", "{}", ""),
            (
                ".[] | select(.p) | {p, day: $file[:10]}",
                r#"[{"p":3},{}]"#,
                r#"{"day":"2026-05-28","p":3}"#,
            ),
            ("if type == \"array\" then .[] else . end", r#"{"é":"\u0000"}"#, r#"{"é":"\u0000"}"#),
            (
                ". as $d | .v | to_entries[] | {(.key): .value, id: $d.id}",
                r#"{"id":7,"v":{"t":1}}"#,
                r#"{"id":7,"t":1}"#,
            ),
            ("[..] | length", "[[1]]", "3"),
        ] {
            assert_eq!(run(filter, document).as_deref(), Ok(wanted), "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_or_might_not_end_is_refused_before_it_runs() {
        for (filter, wanted) in [
            (".a[", "expected"),
            ("if . then 1", "expected else or end at its end"),
            ("nosuch(1)", "there is no filter `nosuch`"),
            ("$ENV", "there is no variable `$ENV`"),
            ("env", "there is no filter `env`"),
            ("def f: f; f", "`def` is not allowed"),
            ("last(repeat(1))", "`repeat` is not allowed"),
            ("\"\\(1 | [range(.)])\"", "`range` is not allowed"),
            ("{a: [until(false; .)]}", "`until` is not allowed"),
            ("import \"x\" as x; .", "`import` is not allowed"),
            ("input", "there is no filter `input`"),
        ] {
            let error = Jq::compile(filter).err().unwrap_or_default();
            assert!(error.contains(wanted), "{filter}: {error}");
        }
    }

    #[test]
    fn a_document_that_does_not_fit_gives_no_rows_at_all() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let many = format!("[{}0]", "0,".repeat(ROWS_CAP));
        for (filter, document, wanted) in [
            (".[]", "{\"a\":", "it is not JSON: EOF"),
            (".[].a", "[{\"a\":1},2]", "`rows` does not fit it: cannot index 2"),
            ("error(\"no: \\(.)\")", "1", "`rows` does not fit it: no: 1"),
            (".[]", &deep, "it is not JSON: recursion limit"),
            (".[]", &many, "more than 100000 rows"),
        ] {
            let error = run(filter, document).unwrap_err();
            assert!(error.starts_with(wanted) || error.contains(wanted), "{filter}: {error}");
        }
    }
}
