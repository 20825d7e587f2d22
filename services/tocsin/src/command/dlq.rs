//! `tocsin dlq`: what could not be processed, and what becomes of it. Looking is free; `redrive` acts
//! only with `--yes`.

mod text;

use crate::backend;
use crate::cli::{DlqCommand, DlqDropArgs, DlqListArgs, DlqRedriveArgs, DlqShowArgs, Place};
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::redrive::{self, Fate, Redrive};
use crate::schema_desk::Asking;
use crate::schema_ids;
use crate::settings::Settings;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::io::{IsTerminal, Write};
use tocsin_domain::dead_letter::ascii_json;
use tocsin_domain::topics::parse_duration;
use tocsin_domain::{Id, Micros};
use tocsin_ingest::pause::{self, Whom};
use tocsin_ingest::push;
use tocsin_stream::letters::{Filter, Letters};

/// Runs one of them.
///
/// # Errors
/// Wrong configuration (exit code 3), a log that cannot be opened (4), letters that are not there, are
/// still dead or were decided about before (5).
pub fn run(command: &DlqCommand) -> anyhow::Result<()> {
    match command {
        DlqCommand::List(args) => list(args),
        DlqCommand::Show(args) => show(args),
        DlqCommand::Redrive(args) => redrive_all(args),
        DlqCommand::Drop(args) => drop_all(args),
        DlqCommand::Resume { place, source } => resume(place, source),
    }
}

fn list(args: &DlqListArgs) -> anyhow::Result<()> {
    let settings = Settings::if_any(args.place.config.as_deref(), facts::now())?;
    let log = backend::existing_log(&settings, &args.place.data)?;
    let letters = Letters::read(&*log)?;
    let filter = Filter {
        topic: args.topic.clone(),
        class: args.class.clone(),
        service: args.service.clone(),
        source: args.source.clone(),
        group: args.group.clone(),
        since: args.since.as_deref().map(since).transpose()?,
        all: args.all,
    };
    let groups = letters.groups(&filter);
    let open = letters.groups(&Filter { all: false, ..filter.clone() });
    let mut shown = Vec::new();
    if args.group.is_some() {
        for id in letters.ids(&filter) {
            shown.extend(letters.letter(&*log, id)?.map(|(letter, _)| letter));
        }
    }
    if args.json {
        let state = |id| letters.state(id);
        let shown: Vec<_> = shown.iter().map(|l| text::letter_json(l, state(l.id))).collect();
        let all = json!({ "groups": groups, "letters": shown, "unreadable": letters.unreadable });
        return print_json(&all);
    }
    print(&text::list(&groups, &open, &shown, &letters))
}

fn show(args: &DlqShowArgs) -> anyhow::Result<()> {
    let now = facts::now();
    let mut settings = Settings::if_any(args.place.config.as_deref(), now)?;
    let log = backend::existing_log(&settings, &args.place.data)?;
    if let Err(error) = schema_ids::learn(&mut settings, args.place.there()) {
        eprintln!("tocsin: what a registry's id frames cannot be read now: {error:#}");
    }
    let letters = Letters::read(&*log)?;
    let found = Id::parse(&args.id).map(|id| letters.letter(&*log, id)).transpose()?.flatten();
    let Some((letter, position)) = found else { return Err(nothing(&args.id)) };
    let known = args.place.config.is_some();
    let fate = match known {
        true => {
            let schemas = Asking::of(&settings, args.place.there());
            Some(redrive::of_one(&*log, (&settings, schemas), &letter, now)?)
        }
        false => None,
    };
    let decision = letters.decision(letter.id);
    if args.json {
        let mut all = text::letter_json(&letter, letters.state(letter.id));
        all["stands_at"] = json!(position);
        all["decision"] = json!(decision);
        all["redrive"] = json!(fate);
        return print_json(&all);
    }
    print(&text::show(&letter, &position, decision, fate.as_ref()))
}

fn redrive_all(args: &DlqRedriveArgs) -> anyhow::Result<()> {
    let now = facts::now();
    let mut settings = Settings::load(&args.place.config, now)?;
    let log = backend::existing_log(&settings, &args.place.data)?;
    let data = args.place.data.is_dir().then_some(&*args.place.data);
    schema_ids::learn(&mut settings, data)?;
    let redrive = Redrive::new(&*log, &settings, &who(), now);
    let mut redrive = redrive.knowing(Asking::of(&settings, data));
    let letters = if args.yes { redrive.begin()? } else { Letters::read(&*log)? };
    let wanted = select(&letters, &args.which)?;
    let bar = bar(wanted.len() as u64);
    let (mut sum, mut fates) = (text::Sum::default(), Vec::new());
    let done = redrive.run(&letters, &wanted, &mut |fate: &Fate| {
        bar.inc(1);
        sum.take(fate);
        if args.json || fates.len() < text::SHOWN {
            fates.push(fate.clone());
        }
    });
    bar.finish_and_clear();
    if args.json {
        print_json(&json!({ "done": args.yes, "sum": sum, "letters": fates }))?;
    } else {
        print(&text::redrive(&sum, &fates, args.yes))?;
    }
    done?;
    match sum.dead {
        0 => Ok(()),
        dead => {
            let text = format!("{dead} letters are still dead; they stay open");
            Err(Exit::error(Kind::Problems, text))
        }
    }
}

fn drop_all(args: &DlqDropArgs) -> anyhow::Result<()> {
    let now = facts::now();
    let settings = Settings::if_any(args.place.config.as_deref(), now)?;
    let log = backend::existing_log(&settings, &args.place.data)?;
    if args.reason.trim().is_empty() {
        return Err(Exit::error(
            Kind::Configuration,
            "--reason is empty; say why nothing shall come of it",
        ));
    }
    let mut redrive = Redrive::new(&*log, &settings, &who(), now);
    let letters = redrive.begin()?;
    let wanted = select(&letters, &args.which)?;
    redrive.drop_all(&wanted, &args.reason)?;
    print(&format!("dropped: {} letters\n", wanted.len()))
}

fn resume(place: &Place, source: &str) -> anyhow::Result<()> {
    let now = facts::now();
    let settings = Settings::load(&place.config, now)?;
    let whom = match push::whom(&settings.push, &settings.sources, source) {
        Some(producer) => producer,
        None => Whom::source(settings.source(source)?),
    };
    let log = backend::existing_log(&settings, &place.data)?;
    match pause::resume(&*log, &whom, (&who(), now))? {
        Some(pause) => print(&format!("resumed: {source}, which was paused since {}\n", pause.at)),
        None => {
            let text = format!("{source} is not paused, as it is configured here");
            Err(Exit::error(Kind::Problems, text))
        }
    }
}

/// The open letters of the groups and ids.
fn select(letters: &Letters, which: &[String]) -> anyhow::Result<Vec<Id>> {
    let mut found = Vec::new();
    for word in which {
        let ids = match Id::parse(word).filter(|_| word.len() > 8) {
            Some(id) if letters.is_open(id) => vec![id],
            Some(id) if letters.has(id) => {
                let state = letters.state(id);
                let text =
                    format!("{id} is {state} already; `tocsin dlq show` says when, and by whom");
                return Err(Exit::error(Kind::Problems, text));
            }
            Some(_) => Vec::new(),
            None => letters.ids(&Filter { group: Some(word.clone()), ..Filter::default() }),
        };
        if ids.is_empty() {
            return Err(nothing(word));
        }
        found.extend(ids);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn nothing(word: &str) -> anyhow::Error {
    let text =
        format!("there is no open dead letter and no group {word:?}; `tocsin dlq list` shows them");
    Exit::error(Kind::Problems, text)
}

/// Who decides, for the facts.
fn who() -> String {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody".to_owned())
}

/// A time, or how long ago.
fn since(text: &str) -> anyhow::Result<Micros> {
    let time = Micros::parse(text).or_else(|| Micros::parse(&format!("{text}T00:00:00Z")));
    let time = time.or_else(|| Some(facts::now().minus(parse_duration(text)?)));
    time.ok_or_else(|| {
        let text =
            format!("--since {text:?} is no time; say 2024-05-01, 2024-05-01T12:00:00Z, 36h or 2d");
        Exit::error(Kind::Configuration, text)
    })
}

fn bar(size: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::hidden());
    if std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    if let Ok(style) = ProgressStyle::with_template("letters {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&(ascii_json(&serde_json::to_string(value)?) + "\n"))
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
