//! `tocsin import-log`: an exported log into the empty topics of a cluster. Every record keeps its
//! offset, because facts name positions. It can be cut short at any moment and run again. It writes
//! only what is missing, and nothing at all over what is not the same.

use crate::backend::{self, of_log};
use crate::cli::ImportLogArgs;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::hashes::{self, bar, places};
use crate::settings::{LogSettings, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topics;
use tocsin_stream::embedded::{Archive, Stand};
use tocsin_stream::fingerprint::View;
use tocsin_stream::kafka::{KafkaAdmin, KafkaIntake, KafkaOptions};
use tocsin_stream::transfer::{first_difference, slots};
use tocsin_stream::{Log, LogError, crash};

type Stands = BTreeMap<TopicPartition, u64>;

/// Imports, and prints the hashes of what the cluster then holds.
///
/// # Errors
/// A configuration without a cluster, or topics that hold something else (exit code 3); a cluster or a
/// file that does not answer (4); partitions that differ in the end (5).
pub fn run(args: &ImportLogArgs) -> anyhow::Result<()> {
    let settings = Settings::load(&args.config, facts::now())?;
    let LogSettings::Kafka(options) = &settings.log else {
        let text = format!(
            "a log is imported into a cluster: set [log] kind = \"kafka\" and `bootstrap`; to go on with it on one machine, copy {} to log.db in an empty data directory",
            args.file.display()
        );
        return Err(Exit::error(Kind::Configuration, text));
    };
    let archive = Archive::open(&args.file).map_err(of_log)?;
    let move_in = Move::new(archive, &settings, options)?;
    let stands = move_in.progress()?;
    let starts = move_in.check()?;
    move_in.write(options, &starts)?;
    move_in.cut()?;
    let wanted = hashes::take(&move_in.archive)?;
    let found = hashes::take(&*move_in.log)?;
    let wrong = hashes::differences(&wanted, &found);
    hashes::print(&found, args.json)?;
    if !wrong.is_empty() {
        let text = format!(
            "{} partitions are not as in {}; delete their topics, `tocsin topics apply`, and import again:\n{}",
            wrong.len(),
            args.file.display(),
            wrong.join("\n")
        );
        return Err(Exit::error(Kind::Problems, text));
    }
    // Last: whoever starts before this is told that his offsets are missing.
    move_in.settle(&stands)?;
    let text = "every partition is as in the file, and the groups stand where they stood; the tables are next: `tocsin projections rebuild`, with the same --config, before `tocsin project` starts\n";
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}

/// A log that moves, and where to.
struct Move {
    archive: Archive,
    log: Arc<dyn Log>,
    admin: KafkaAdmin,
}

impl Move {
    fn new(archive: Archive, settings: &Settings, options: &KafkaOptions) -> anyhow::Result<Move> {
        let known: BTreeSet<TopicPartition> = places().map(|(_, at)| at).collect();
        let strange = |at: &&TopicPartition| !known.contains(at);
        if let Some(at) = archive.places().iter().find(strange) {
            return Err(refused(format!(
                "the file has {at}, which topics.yaml of this tocsin does not have: import it with the version that exported it"
            )));
        }
        let log = backend::log(settings, std::path::Path::new(""))?;
        let admin = KafkaAdmin::connect(options.clone()).map_err(of_log)?;
        Ok(Move { archive, log, admin })
    }

    /// Where each group goes on. Nobody may run, and nobody may have run.
    fn progress(&self) -> anyhow::Result<BTreeMap<String, Stands>> {
        let stands = by_group(self.archive.stands().map_err(of_log)?);
        for (group, stands) in &stands {
            let members = self.admin.members(group).map_err(of_log)?;
            if members > 0 {
                return Err(refused(format!(
                    "{members} processes of `{group}` run on the cluster: stop every process of Tocsin there, then import again"
                )));
            }
            let places: Vec<TopicPartition> = stands.keys().cloned().collect();
            let found = self.admin.stands(group, &places).map_err(of_log)?;
            let moved = found.iter().find(|(at, next)| stands.get(at) != Some(next));
            if let Some((at, next)) = moved.filter(|_| *group != projections()) {
                return Err(refused(format!(
                    "group `{group}` has come to offset {next} of {at} on the cluster, and to {} in the file: services have run there since. Nothing was written. Import into a cluster on which none has run, or delete the group and Tocsin's topics, `tocsin topics apply`, and import again",
                    stands.get(at).copied().unwrap_or_default()
                )));
            }
        }
        Ok(stands)
    }

    /// Where each partition goes on; refuses those that hold something else.
    fn check(&self) -> anyhow::Result<Stands> {
        let bar = bar("looking", places().count() as u64);
        let mut starts = Stands::new();
        for (topic, at) in places() {
            let (here, there) = (self.span(&at)?, self.log.span(&at).map_err(of_log)?);
            if there.end > here.end {
                let what = format!("ends at {}, and in the file at {}", there.end, here.end);
                return Err(strange(&at, &what));
            }
            let differs = || first_difference(&self.archive, &*self.log, &at, View::of(topic));
            let wrong = if there.end > 0 { differs().map_err(of_log)? } else { None };
            if let Some(offset) = wrong {
                let what = format!("has another record at offset {offset} than the file");
                return Err(strange(&at, &what));
            }
            starts.insert(at, there.end);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(starts)
    }

    /// What the file holds; nothing of a topic that is younger than it.
    fn span(&self, at: &TopicPartition) -> anyhow::Result<tocsin_stream::Span> {
        match self.archive.span(at) {
            Err(LogError::UnknownTopic(_)) => Ok(tocsin_stream::Span { start: 0, end: 0 }),
            found => found.map_err(of_log),
        }
    }

    /// Writes what is missing.
    fn write(&self, options: &KafkaOptions, starts: &Stands) -> anyhow::Result<()> {
        let intake = KafkaIntake::new(options).map_err(of_log)?;
        let ends = starts.keys().map(|at| Ok((at, self.span(at)?.end)));
        let ends = ends.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        let missing = ends.iter().map(|(at, end)| end - starts[*at]).sum();
        let bar = bar("writing", missing);
        for (at, from) in starts.iter().filter(|(at, from)| ends[at] > **from) {
            let written = slots(&self.archive, at, (*from, ends[at]), |slot| {
                crash::point("inside-import");
                bar.inc(1);
                intake.put(at, slot)
            });
            written.map_err(of_log)?;
            intake.settle().map_err(of_log)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// What retention had deleted is deleted: fillers stand there.
    fn cut(&self) -> anyhow::Result<()> {
        let mut starts = Stands::new();
        for (_, at) in places().filter(|(topic, _)| View::of(topic) == View::Records) {
            let (here, there) = (self.span(&at)?.start, self.log.span(&at).map_err(of_log)?.start);
            if there < here {
                starts.insert(at, here);
            }
        }
        self.admin.cut(&starts).map_err(of_log)
    }

    /// The groups go on where they were, but for the one whose tables are not here.
    fn settle(&self, stands: &BTreeMap<String, Stands>) -> anyhow::Result<()> {
        for (group, stands) in stands.iter().filter(|(group, _)| **group != projections()) {
            self.admin.set_stands(group, stands).map_err(of_log)?;
        }
        // Its sums are in the log: without offsets it refuses to start until the tables are made anew.
        self.admin.forget_group(&projections()).map_err(of_log)
    }
}

/// The group whose work is in tables, which do not move.
fn projections() -> String {
    tocsin_project::topology().service.to_owned()
}

/// The progress that moves, by group. Every service is named, whether it has any or not.
fn by_group(stands: Vec<Stand>) -> BTreeMap<String, Stands> {
    use tocsin_notify::{deliver, matching, send};
    let services =
        [tocsin_detect::topology(), matching::topology(), deliver::topology(), send::topology()];
    let services = services.map(|topology| topology.service.to_owned());
    let known: BTreeSet<&str> = Topics::builtin().iter().map(|topic| topic.name.as_str()).collect();
    let mut groups: BTreeMap<String, Stands> =
        services.into_iter().chain([projections()]).map(|name| (name, Stands::new())).collect();
    for Stand { group, at, next } in stands {
        if known.contains(&*at.topic) {
            groups.entry(group).or_default().insert(at, next);
        }
    }
    groups
}

fn strange(at: &TopicPartition, what: &str) -> anyhow::Error {
    refused(format!(
        "{at} on the cluster {what}: it comes from elsewhere, or services have run since. Nothing was written. Import into topics that are empty, or that an import of this file has begun to fill; to begin anew, delete Tocsin's topics, `tocsin topics apply`, and import again"
    ))
}

fn refused(text: String) -> anyhow::Error {
    Exit::error(Kind::Configuration, text)
}
