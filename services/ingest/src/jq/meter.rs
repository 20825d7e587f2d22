//! What keeps a filter of `rows` from going on for hours: its terms are rewritten so that each value
//! that is taken out of others, and each text or list that is put together, is a step. Steps are
//! counted, and with the last one the run is over. It reads no clock: the same document, the same steps.

use crate::weight::{self, WEIGHT_CAP};
use jaq_core::box_iter::box_once;
use jaq_core::data::HasLut;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::native::{Fun, bome, v};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};
use jaq_core::{Cv, DataT, Error, Exn, Lut, Native, ValR, ValXs};
use jaq_json::{Val, read};
use jaq_std::ValT;
use std::cell::Cell;

/// The most steps of one document.
pub const STEPS_CAP: u64 = 20_000_000;
/// The longest text that a text times a number may be, in bytes.
const TEXT_CAP: f64 = super::BYTES_CAP as f64;
/// The longest text that is read as a number digit by digit; longer ones lose digits.
const DIGITS_CAP: usize = 64;
/// So many bytes that the value of a text takes in memory are a step.
const BYTES_A_STEP: usize = 16;

/// What filters work on: values, and steps that are left.
pub(super) struct Metered;

impl DataT for Metered {
    type V<'a> = Val;
    type Data<'a> = Run<'a>;
}

/// One run of a filter.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub lut: &'a Lut<Metered>,
    /// Steps that it may still take.
    pub left: &'a Cell<u64>,
}

impl<'a> HasLut<'a, Metered> for Run<'a> {
    fn lut(&self) -> &'a Lut<Metered> {
        self.lut
    }
}

impl Run<'_> {
    /// Takes steps; with the last one comes what no `try` catches.
    fn charge<'a>(&self, steps: u64) -> Result<(), Exn<'a, Val>> {
        let left = self.left.get().checked_sub(steps);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or_else(|| Exn::halt(0))
    }
}

/// How much there is at the top of a value: to copy or sort so much is a step.
fn size(value: &Val) -> u64 {
    let size = match value {
        Val::Arr(items) => items.len() / 8,
        Val::Obj(fields) => fields.len() / 8,
        other => other.as_bytes().map_or(0, <[u8]>::len) / 256,
    };
    size as u64
}

// Names that nobody can write.
const STEP: &str = "!step";
const TIMES: &str = "!times";
const COMPARE: &str = "!compare";

/// The functions that rewritten terms and [`defs`] call, and one that must not nest too deep.
pub(super) fn funs() -> impl Iterator<Item = Fun<Metered>> {
    let step =
        Native::<Metered>::new(|cv| box_once(cv.0.data().charge(1 + size(&cv.1)).map(|()| cv.1)))
            .with_paths(|cv| box_once(cv.0.data().charge(1 + size(&cv.1.0)).map(|()| cv.1)))
            .with_update(|cv, f| match cv.0.data().charge(1 + size(&cv.1)) {
                Ok(()) => f(cv.1),
                Err(spent) => box_once(Err(spent)),
            });
    let own = [
        (STEP, v(0), step),
        (TIMES, v(2), Native::<Metered>::new(times)),
        (COMPARE, v(1), Native::<Metered>::new(compare)),
        ("fromjson", v(0), Native::<Metered>::new(read_text)),
    ];
    // Those have a definition in front of them that counts.
    let counted = |(name, arguments, fun): Fun<Metered>| match name {
        "tojson" => ("!tojson", arguments, fun),
        "contains" => ("!contains", arguments, fun),
        "indices" => ("!indices", arguments, fun),
        name => (name, arguments, fun),
    };
    let library = jaq_core::funs().chain(jaq_std::base_funs()).chain(jaq_json::funs());
    library.filter(|fun| !matches!(fun.0, "fromjson" | "halt")).map(counted).chain(own)
}

/// Definitions that count before they call, for functions that take longer than their input is long.
pub(super) fn defs() -> [Def<&'static str>; 3] {
    let both = |name, inner| {
        let other = || vec![Term::Var("$other")];
        let body = pipe(Term::Call(COMPARE, other()), Term::Call(inner, other()));
        Def { name, args: vec!["$other"], body }
    };
    let text = stepped(Term::Call("!tojson", Vec::new()));
    [
        both("contains", "!contains"),
        both("indices", "!indices"),
        Def { name: "tojson", args: Vec::new(), body: text },
    ]
}

/// A text times a number is that text over and over, however large the number is.
fn times<'a>(mut cv: Cv<'a, Metered>) -> ValXs<'a, Val> {
    let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
    let length = |text: &Val, by: &Val| Some(text.as_bytes()?.len() as f64 * by.as_f64()?);
    let length = length(&left, &right).or_else(|| length(&right, &left));
    bome(match length {
        Some(length) if length > TEXT_CAP => Err(Error::str(format!(
            "a text of {length} bytes is longer than {TEXT_CAP}, the limit"
        ))),
        _ => left * right,
    })
}

/// Counts for what compares each part of one value with each of another.
fn compare<'a>(mut cv: Cv<'a, Metered>) -> ValXs<'a, Val> {
    let other = cv.0.pop_var();
    let steps = size(&cv.1).saturating_mul(1 + 8 * size(&other)).saturating_add(1 + size(&other));
    box_once(cv.0.data().charge(steps).map(|()| cv.1))
}

/// The value that a text is as JSON; what it takes in memory are steps.
fn read_text<'a>(cv: Cv<'a, Metered>) -> ValXs<'a, Val> {
    let steps = cv.1.as_bytes().map_or(0, weight::weigh) / BYTES_A_STEP;
    let charged = cv.0.data().charge(steps as u64);
    box_once(charged.and_then(|()| from_json(&cv.1).map_err(Exn::from)))
}

/// The value that a text is as JSON. What nests deeper than a document may is refused, as it would
/// overflow the stack, and so is what takes more memory than a document may.
fn from_json(value: &Val) -> ValR<Val> {
    let text = value.try_as_utf8_bytes()?;
    weight::check(text, WEIGHT_CAP).map_err(|e| Error::str(format!("a text: {e}")))?;
    let number = Some(text).filter(|text| text.len() <= DIGITS_CAP);
    if let Some(number) = number.and_then(read::parse_single_num) {
        return Ok(Val::Num(number));
    }
    serde_json::from_slice(text).map_err(|e| Error::str(format!("a text is not JSON: {e}")))
}

/// The same term with its steps. What `..` finds must not be changed while it is found, so `is_changed`
/// says that a term stands to the left of an update.
///
/// # Errors
/// What is not allowed, as no count would hold it.
pub(super) fn meter<'s>(term: Term<&'s str>, is_changed: bool) -> Result<Term<&'s str>, String> {
    let boxed = |term: Box<Term<&'s str>>| meter(*term, is_changed).map(Box::new);
    Ok(match term {
        Term::Recurse if is_changed => {
            return Err("`..` cannot be changed, as it might grow without end".to_owned());
        }
        Term::Recurse => stepped(term),
        Term::Id | Term::Num(_) | Term::Break(_) | Term::Var(_) => term,
        Term::Call(name, arguments) => {
            pipe(Term::Call(STEP, Vec::new()), Term::Call(name, all(arguments, is_changed)?))
        }
        Term::Path(head, path) => path_of(boxed(head)?, path)?,
        Term::Str(format, parts) => {
            let is_made = parts.iter().any(|part| matches!(part, StrPart::Term(_)));
            let text = Term::Str(format, parts_of(parts)?);
            if is_made { stepped(text) } else { text }
        }
        Term::Arr(items) => Term::Arr(items.map(boxed).transpose()?),
        Term::Obj(pairs) => Term::Obj(pairs.into_iter().map(pair).collect::<Result<_, _>>()?),
        Term::Neg(term) => Term::Neg(boxed(term)?),
        Term::BinOp(left, op, right) => binary(*left, op, *right, is_changed)?,
        Term::Label(name, term) => Term::Label(name, boxed(term)?),
        Term::Fold(name, of, pattern, arguments) => {
            Term::Fold(name, boxed(of)?, bound(pattern)?, all(arguments, is_changed)?)
        }
        Term::TryCatch(term, catch) => Term::TryCatch(boxed(term)?, catch.map(boxed).transpose()?),
        Term::IfThenElse(cases, other) => {
            let case =
                |(when, then)| Ok::<_, String>((meter(when, false)?, meter(then, is_changed)?));
            let cases = cases.into_iter().map(case).collect::<Result<_, _>>()?;
            Term::IfThenElse(cases, other.map(boxed).transpose()?)
        }
        Term::Def(defs, term) => {
            let defs = defs.into_iter().map(metered).collect::<Result<_, _>>()?;
            Term::Def(defs, boxed(term)?)
        }
    })
}

/// The same definition with its steps.
///
/// # Errors
/// As [`meter`].
pub(super) fn metered(def: Def<&str>) -> Result<Def<&str>, String> {
    Ok(Def { body: meter(def.body, false)?, ..def })
}

fn all(terms: Vec<Term<&str>>, is_changed: bool) -> Result<Vec<Term<&str>>, String> {
    terms.into_iter().map(|term| meter(term, is_changed)).collect()
}

fn pipe<'s>(left: Term<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(left.into(), BinaryOp::Pipe(None), right.into())
}

/// Each output of the term is a step.
fn stepped(term: Term<&str>) -> Term<&str> {
    pipe(term, Term::Call(STEP, Vec::new()))
}

fn binary<'s>(
    left: Term<&'s str>,
    op: BinaryOp<&'s str>,
    right: Term<&'s str>,
    is_changed: bool,
) -> Result<Term<&'s str>, String> {
    if let BinaryOp::UpdateMath(math) = op {
        // `l += r` is `r as $by | l |= . + $by`.
        let by = "$!by";
        let done = Term::BinOp(Term::Id.into(), BinaryOp::Math(math), Term::Var(by).into());
        let update = Term::BinOp(left.into(), BinaryOp::Update, done.into());
        let pipe = BinaryOp::Pipe(Some(Pattern::Var(by)));
        return binary(right, pipe, update, is_changed);
    }
    let changes = matches!(op, BinaryOp::Update | BinaryOp::UpdateAlt | BinaryOp::Assign);
    let left = meter(left, is_changed || changes)?;
    let right = meter(right, is_changed && !changes)?;
    Ok(match op {
        BinaryOp::Math(Math::Mul) => Term::Call(TIMES, vec![left, right]),
        BinaryOp::Comma | BinaryOp::Math(_) => stepped(Term::BinOp(left.into(), op, right.into())),
        BinaryOp::Pipe(pattern) => {
            let op = BinaryOp::Pipe(pattern.map(bound).transpose()?);
            Term::BinOp(left.into(), op, right.into())
        }
        op => Term::BinOp(left.into(), op, right.into()),
    })
}

/// A path gives many values where it has `[]`.
fn path_of<'s>(
    head: Box<Term<&'s str>>,
    Path(parts): Path<Term<&'s str>>,
) -> Result<Term<&'s str>, String> {
    let is_many = parts.iter().any(|(part, _)| matches!(part, Part::Range(None, None)));
    let one = |term: Option<Term<&'s str>>| term.map(|term| meter(term, false)).transpose();
    let part = |(part, optional)| {
        let part = match part {
            Part::Index(term) => Part::Index(meter(term, false)?),
            Part::Range(from, to) => Part::Range(one(from)?, one(to)?),
        };
        Ok::<_, String>((part, optional))
    };
    let parts = parts.into_iter().map(part).collect::<Result<_, _>>()?;
    let path = Term::Path(head, Path(parts));
    Ok(if is_many { stepped(path) } else { path })
}

type Parts<'s> = Vec<StrPart<&'s str, Term<&'s str>>>;

fn parts_of<'s>(parts: Parts<'s>) -> Result<Parts<'s>, String> {
    let part = |part| match part {
        StrPart::Term(term) => meter(term, false).map(StrPart::Term),
        other => Ok(other),
    };
    parts.into_iter().map(part).collect()
}

type Pair<'s> = (Term<&'s str>, Option<Term<&'s str>>);

/// A key without a value is short for a field or a variable, and has to stay what it is.
fn pair<'s>((key, value): Pair<'s>) -> Result<Pair<'s>, String> {
    match (key, value) {
        (Term::Str(format, parts), None) => Ok((Term::Str(format, parts_of(parts)?), None)),
        (key, None) => Ok((key, None)),
        (key, Some(value)) => Ok((meter(key, false)?, Some(meter(value, false)?))),
    }
}

fn bound<'s>(pattern: Pattern<&'s str>) -> Result<Pattern<&'s str>, String> {
    let all = |patterns: Vec<Pattern<&'s str>>| {
        patterns.into_iter().map(bound).collect::<Result<Vec<_>, String>>()
    };
    Ok(match pattern {
        Pattern::Var(name) => Pattern::Var(name),
        Pattern::Arr(patterns) => Pattern::Arr(all(patterns)?),
        Pattern::Obj(pairs) => {
            let pair = |(key, value)| Ok::<_, String>((meter(key, false)?, bound(value)?));
            Pattern::Obj(pairs.into_iter().map(pair).collect::<Result<_, _>>()?)
        }
    })
}
