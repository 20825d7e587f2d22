//! `rows`: a jq filter that turns one JSON document into rows, before templates name their fields.
//! It sees the document and the file's name and nothing else: no clock, no environment, no files.
//! It cannot loop for ever: what is no step of going over the document is refused, steps are counted
//! ([`meter`]), and what it puts out is limited.

mod meter;

pub use meter::STEPS_CAP;

use crate::weight::{self, WEIGHT_CAP};
use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_core::load::parse::{Def, Parser};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Exn, Filter, Vars};
use jaq_json::Val;
use meter::{Metered, Run};
use serde_json::Value;
use std::cell::Cell;

/// The most rows of one document.
pub const ROWS_CAP: usize = 100_000;
/// The most bytes of all rows of one document, as JSON.
pub const BYTES_CAP: usize = 64 << 20;

/// What could go on for ever, or grow with a number that an upstream has written.
const REFUSED: [&str; 13] = [
    "def",
    "repeat",
    "recurse",
    "while",
    "until",
    "range",
    "combinations",
    "reduce",
    "foreach",
    "walk",
    "import",
    "include",
    ROWS,
];

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
/// What the filter is called by whoever runs it.
const ROWS: &str = "rows_of_the_document";

/// A compiled filter.
pub struct Jq {
    filter: Filter<Metered>,
}

impl Jq {
    /// Compiles `text`.
    ///
    /// # Errors
    /// If it is no filter, calls what there is not, or uses what might not end.
    pub fn compile(text: &str) -> Result<Jq, String> {
        let tokens = Lexer::new(text).lex().map_err(|errors| {
            errors.first().map(|(what, rest)| wrong(what.as_str(), rest)).unwrap_or_default()
        })?;
        if let Some(word) = refused(&tokens) {
            return Err(format!(
                "`{word}` is not allowed, as it might not end or grow without end; \
                use `..`, `.[]`, `map`, `add` or `limit` over what is there"
            ));
        }
        let term = Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
            let rest = |token: &Token<&str>| &text[load::span(text, token.0).start..];
            let said = |(what, token): &(load::parse::Expect<&str>, Option<&Token<&str>>)| {
                wrong(what.as_str(), token.map(rest).unwrap_or_default())
            };
            errors.first().map(said).unwrap_or_default()
        })?;
        let rows = Def { name: ROWS, args: vec![FILE], body: meter::meter(term, false)? };
        compile(rows).map(|filter| Jq { filter })
    }

    /// The rows of the JSON document `bytes` in the file of that name.
    ///
    /// # Errors
    /// If it is not JSON, the filter does not fit it or takes too many steps for it, or there are too
    /// many rows, or they are too heavy. Then none of them counts.
    pub fn rows(&self, bytes: &[u8], file: &str) -> Result<Vec<Value>, String> {
        self.rows_within(STEPS_CAP, bytes, file)
    }

    /// The same, within fewer steps than [`STEPS_CAP`].
    ///
    /// # Errors
    /// As [`Jq::rows`].
    pub fn rows_within(&self, steps: u64, bytes: &[u8], file: &str) -> Result<Vec<Value>, String> {
        let mut left = WEIGHT_CAP - weight::check(bytes, WEIGHT_CAP)?;
        let document: Val =
            serde_json::from_slice(bytes).map_err(|e| format!("it is not JSON: {e}"))?;
        let variables = Vars::new([Val::from(file.to_owned())]);
        let steps_left = Cell::new(steps);
        let run = Run { lut: &self.filter.lut, left: &steps_left };
        let (mut rows, mut size) = (Vec::new(), 0);
        for found in self.filter.id.run((Ctx::<Metered>::new(run, variables), document)) {
            let found = found.map_err(|thrown| fault(thrown, steps))?;
            let text = found.to_string();
            size += text.len();
            if rows.len() == ROWS_CAP || size > BYTES_CAP {
                return Err(format!(
                    "`rows` makes more than {ROWS_CAP} rows or {BYTES_CAP} bytes of it, the limits"
                ));
            }
            // The document is still there when its rows are made.
            let weight = weight::check(text.as_bytes(), left);
            left -= weight.map_err(|e| format!("a row of it, with all before: {e}"))?;
            let row = serde_json::from_str(&text);
            rows.push(row.map_err(|e| format!("a row is not JSON: {e}: {}", cut(&text)))?);
        }
        Ok(rows)
    }
}

/// The filter that calls `rows`, which nobody else can call.
fn compile(rows: Def<&str>) -> Result<Filter<Metered>, String> {
    let library = jaq_std::defs()
        .filter(|def| !LEFT_OUT.contains(&def.name) && (def.name, def.args.len()) != ("split", 2));
    let library = jaq_core::defs().chain(library).chain(meter::defs()).chain(jaq_json::defs());
    // What is not allowed in a filter is not in its library either.
    let defs = library.filter_map(|def| meter::metered(def).ok()).chain([rows]);
    let (arena, call) = (Arena::default(), format!("{ROWS}({FILE})"));
    let modules = Loader::new(defs).load(&arena, File { code: call.as_str(), path: () });
    let modules = modules.map_err(|_| "it is no filter".to_owned())?;
    let compiler = Compiler::default().with_funs(meter::funs()).with_global_vars([FILE]);
    compiler.compile(modules).map_err(|errors| {
        let first = errors.first().and_then(|(_, all)| all.first());
        let name = |(name, kind): &(&str, jaq_core::compile::Undefined)| {
            format!("there is no {} `{name}`", kind.as_str())
        };
        first.map(name).unwrap_or_default()
    })
}

/// What ended a run: an error of the filter, or the last of its steps, which alone halts.
fn fault(thrown: Exn<'_, Val>, steps: u64) -> String {
    match thrown.get_err() {
        // A text that `error(…)` says comes in quotes.
        Ok(error) => format!("`rows` does not fit it: {}", cut(error).trim_matches('"')),
        Err(_) => format!(
            "`rows` takes more than {steps} steps for it, the limit; \
            does it go over all of it again for each part?"
        ),
    }
}

fn wrong(what: &str, rest: &str) -> String {
    match rest.trim().is_empty() {
        true => format!("expected {what} at its end"),
        false => {
            let rest = rest.trim().chars().take(30).collect::<String>();
            format!("expected {what} at `{rest}`")
        }
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
            ("reduce .[] as $x (1; [., .])", "`reduce` is not allowed"),
            ("map(walk([., .]))", "`walk` is not allowed"),
            ("rows_of_the_document(1)", "`rows_of_the_document` is not allowed"),
            ("(.. | arrays) |= [., .]", "`..` cannot be changed"),
            ("(.a | .. | numbers) += 1", "`..` cannot be changed"),
            ("halt", "there is no filter `halt`"),
            ("halt(1)", "there is no filter `halt`"),
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

    /// Filters that people write, and documents that make them go over everything again and again.
    #[test]
    fn what_would_take_hours_is_given_up_after_so_many_steps() {
        let list = format!("{{\"a\":[{}\"\"]}}", "\"0123456789\",".repeat(2_000));
        for filter in [
            ".a[] as $x | .a[] | select(. == $x and false)",
            "[.a[] + .a[]] | length",
            "[{x: .a[], y: .a[]}] | length",
            "[.a[] == .a[]] | length",
            "[.. as $x | ..] | length",
            "[.a[] | (1, 2), (3, 4)] as $x | $x[] as $y | $x[] | empty",
            "try (.a[] as $x | .a[] | empty) catch 1",
            "[(.a[] as $x | .a[] | select(false))?]",
            "(.a[] as $x | .a[] | select(false)) // 1",
            "first(.a[] as $x | .a[] | select(false))",
            "any(.a[] as $x | .a[]; false)",
            "[.a[] as $x | .a | contains([$x])] | length",
            "[.a[] as $x | .a | index($x)] | length",
            "[.a as $all | .a[] | $all | sort] | length",
            "[.a[] as $x | .a[] |= $x] | length",
            "[.a[] as $x | .a | map(. + $x)] | length",
            "[paths as $p | paths] | length",
            ".a | join(\",\")",
            ".a | to_entries | map({(\"k\\(.key)\"): .value}) | add",
            "[.a as $all | .a[] | $all | tojson] | length",
            "[.a as $all | .a[] | \"\\($all)\"] | length",
        ] {
            let error = Jq::compile(filter).unwrap().rows_within(60_000, list.as_bytes(), "f");
            let error = error.err().unwrap_or_default();
            assert!(error.contains("takes more than 60000 steps"), "{filter}: {error}");
        }
    }

    #[test]
    fn a_long_document_takes_as_many_steps_as_it_has_parts() {
        let list = format!("{{\"a\":[{}{{}}]}}", "{\"id\":1,\"p\":{\"v\":2}},".repeat(9_999));
        for filter in [
            ".a[]",
            ".a[] | select(.id) | {id, price: .p.v}",
            ".a | map(select(.p.v > 1)) | sort_by(.id) | .[]",
            ".a | group_by(.id)[] | {id: .[0].id, count: length}",
            ".a[:9999][] | .p.v += 1 | .p |= with_entries(.value *= 2)",
        ] {
            let rows = Jq::compile(filter).unwrap().rows_within(1_000_000, list.as_bytes(), "f");
            assert_eq!(rows.map(|rows| rows.is_empty()), Ok(false), "{filter}");
        }
    }

    #[test]
    fn what_an_upstream_writes_into_a_field_overflows_nothing() {
        let deep = format!("{{\"t\":\"{}\",\"n\":1e15}}", "[".repeat(400_000));
        for (filter, wanted) in [
            (".t | fromjson", "a text is not JSON: recursion limit"),
            (".t | tonumber", "a text is not JSON: recursion limit"),
            (".t * .n", "is longer than 67108864, the limit"),
            (".n * .t", "is longer than 67108864, the limit"),
            (".t *= $file", "cannot calculate"),
        ] {
            let error = run(filter, &deep).unwrap_err();
            assert!(error.contains(wanted), "{filter}: {error}");
        }
        for (filter, document, wanted) in [
            (
                ".[] | tonumber",
                r#"["0.10","1e3","12345678901234567890"]"#,
                "0.1 1000.0 12345678901234567890",
            ),
            (".a | fromjson | .b", r#"{"a":"{\"b\":[1]}"}"#, "[1]"),
            (".x *= .y", r#"{"x":2,"y":3}"#, r#"{"x":6,"y":3}"#),
            (".x *= 2", r#"{"x":"ab"}"#, r#"{"x":"abab"}"#),
            ("[contains(\"b\"), inside(\"abc\"), index(\"b\")]", "\"ab\"", "[true,true,1]"),
            ("del(.. | nulls) | .a[1:]", r#"{"a":[1,2,null]}"#, "[2]"),
            ("[paths]", r#"{"a":[1]}"#, r#"[["a"],["a",0]]"#),
            ("[.a[] | -. , . * 2 - 1]", r#"{"a":[1]}"#, "[-1,1]"),
            (
                "{\"k\\(.a)\": 1, a, $file, \"b\"}",
                r#"{"a":1,"b":2}"#,
                r#"{"a":1,"b":2,"file":"2026-05-28.json","k1":1}"#,
            ),
            (". as {a: [$x, {(\"b\"): $y}]} | [$x, $y]", r#"{"a":[1,{"b":2}]}"#, "[1,2]"),
            (
                "[limit(2; .[])], first(.[]), ([.[] | if . > 1 then . else empty end] | @json)",
                "[1,2,3]",
                r#"[1,2] 1 "[2,3]""#,
            ),
            ("label $out | .[] | if . > 1 then ., break $out else . end", "[1,2,3]", "1 2"),
        ] {
            assert_eq!(run(filter, document).as_deref(), Ok(wanted), "{filter}");
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
