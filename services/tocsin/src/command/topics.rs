//! `tocsin topics`: from topics.yaml to the cluster that `[log]` names. It shows what differs before
//! it does anything; it deletes nothing, and adds no partitions.

use crate::backend::of_log;
use crate::cli::{Environment, TopicsArgs, TopicsCommand};
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::settings::{LogSettings, Settings};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tocsin_stream::kafka::topics::{Change, Copies, Remedy, Wanted, plan, wanted};
use tocsin_stream::kafka::{KafkaAdmin, KafkaOptions};

/// How often, and how long apart, the cluster is asked whether it shows what it has acknowledged.
const LOOKS: u32 = 100;
const APART: Duration = Duration::from_millis(100);

/// Runs one of them.
///
/// # Errors
/// Another cluster than the configuration means, or one that refuses (exit code 3), or that does not
/// answer (4); differences that `check` found, or that `apply` cannot mend (5).
pub fn run(command: &TopicsCommand) -> anyhow::Result<()> {
    match command {
        TopicsCommand::Plan(args) => show(args).map(drop),
        TopicsCommand::Check(args) => check(args),
        TopicsCommand::Apply { topics, yes } => apply(topics, *yes),
    }
}

fn show(args: &TopicsArgs) -> anyhow::Result<Vec<Change>> {
    let cluster = Cluster::connect(args)?;
    let changes = cluster.plan()?;
    cluster.print(&changes, args.json, false)?;
    Ok(changes)
}

fn check(args: &TopicsArgs) -> anyhow::Result<()> {
    let changes = show(args)?;
    let differ = changes.iter().filter(|change| change.remedy() != Remedy::None).count();
    if differ > 0 {
        let text = format!(
            "{differ} differences between topics.yaml and the cluster; `tocsin topics apply` does what can be done"
        );
        return Err(Exit::error(Kind::Problems, text));
    }
    Ok(())
}

fn apply(args: &TopicsArgs, yes: bool) -> anyhow::Result<()> {
    let cluster = Cluster::connect(args)?;
    cluster.guard()?;
    let changes = cluster.plan()?;
    let to_do = changes.iter().filter(|change| change.remedy() == Remedy::Apply).count();
    if !args.json {
        cluster.print(&changes, false, false)?;
    }
    if to_do > 0 {
        if !yes {
            // Whoever is asked must have seen what for.
            if args.json {
                bail!("nothing was applied: --json cannot ask; say --yes");
            }
            cluster.ask(to_do)?;
        }
        cluster.admin.apply(&changes).map_err(of_log)?;
    }
    let left = cluster.settled()?;
    if args.json {
        cluster.print(&changes, true, true)?;
    }
    let (undone, by_hand) = (count(&left, Remedy::Apply), count(&left, Remedy::ByHand));
    if undone + by_hand > 0 {
        let names = left.iter().filter(|change| change.remedy() != Remedy::None);
        let lines: String = names.map(|change| format!("\n{change}")).collect();
        let text = format!("applied {to_do} changes; this is left:{lines}");
        return Err(Exit::error(Kind::Problems, text));
    }
    match args.json {
        true => Ok(()),
        false => say(&format!("applied {to_do} changes; nothing is left to do\n")),
    }
}

fn count(changes: &[Change], remedy: Remedy) -> usize {
    changes.iter().filter(|change| change.remedy() == remedy).count()
}

/// The cluster, and what it should have.
struct Cluster {
    options: KafkaOptions,
    admin: KafkaAdmin,
    environment: Environment,
    wanted: Vec<Wanted>,
}

impl Cluster {
    fn connect(args: &TopicsArgs) -> anyhow::Result<Cluster> {
        let settings = Settings::load(&args.config, facts::now())?;
        let LogSettings::Kafka(options) = settings.log else {
            let text = "there are no topics to look after: the embedded log makes its own; set [log] kind = \"kafka\" and `bootstrap`";
            return Err(Exit::error(Kind::Configuration, text));
        };
        let environment = args.env.unwrap_or(implied(options.replication));
        let copies = copies(environment, options.replication);
        let admin = KafkaAdmin::connect(options.clone()).map_err(of_log)?;
        Ok(Cluster { options, admin, environment, wanted: wanted(copies) })
    }

    /// What is not so yet.
    fn plan(&self) -> anyhow::Result<Vec<Change>> {
        Ok(plan(&self.wanted, &self.admin.found(&self.wanted).map_err(of_log)?))
    }

    /// What is not so, once the brokers show what the cluster has acknowledged.
    fn settled(&self) -> anyhow::Result<Vec<Change>> {
        let mut left = self.plan()?;
        for _ in 0..LOOKS {
            if count(&left, Remedy::Apply) == 0 {
                break;
            }
            std::thread::sleep(APART);
            left = self.plan()?;
        }
        Ok(left)
    }

    /// In production, the configuration must say which cluster it means.
    fn guard(&self) -> anyhow::Result<()> {
        if self.environment == Environment::Dev || self.options.cluster_id.is_some() {
            return Ok(());
        }
        let text = format!(
            "the environment is prod, and nothing says which cluster that is; if {} is the right one, add this to [log], and run it again:\ncluster_id = \"{}\"",
            self.options.bootstrap,
            self.admin.cluster_id(),
        );
        Err(Exit::error(Kind::Configuration, text))
    }

    fn ask(&self, to_do: usize) -> anyhow::Result<()> {
        if !std::io::stdin().is_terminal() {
            bail!("nothing was applied: there is no terminal to ask on; say --yes");
        }
        let (id, at) = (self.admin.cluster_id(), &self.options.bootstrap);
        eprint!("apply {to_do} changes to cluster {id} at {at}? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => bail!("nothing was applied: the answer was not \"y\""),
        }
    }

    fn print(&self, changes: &[Change], json: bool, applied: bool) -> anyhow::Result<()> {
        let (id, environment) = (self.admin.cluster_id(), self.environment.word());
        if json {
            let changes: Vec<Value> = changes.iter().map(entry).collect();
            let document = json!({
                "cluster_id": id,
                "environment": environment,
                "applied": applied,
                "changes": changes,
            });
            return say(&format!("{document}\n"));
        }
        let at = &self.options.bootstrap;
        let mut text = format!("cluster {id} at {at}, environment {environment}\n");
        for change in changes {
            text.push_str(&format!("{change}\n"));
        }
        let to_do = count(changes, Remedy::Apply);
        let by_hand = count(changes, Remedy::ByHand);
        text.push_str(&format!("{to_do} to apply, {by_hand} by hand\n"));
        say(&text)
    }
}

/// Who says nothing of copies, or asks for one, is not in production.
fn implied(replication: i32) -> Environment {
    if replication > 1 { Environment::Prod } else { Environment::Dev }
}

/// A number of copies that the configuration names rules over that of the environment. Two of them
/// must have a record in production, where there are two.
fn copies(environment: Environment, replication: i32) -> Copies {
    let (all, in_sync) = match environment {
        Environment::Dev => (1, 1),
        Environment::Prod => (3, 2),
    };
    let replication = if replication > 0 { replication } else { all };
    Copies { replication, in_sync: in_sync.min(replication.unsigned_abs()) }
}

/// A change for programs.
fn entry(change: &Change) -> Value {
    match change {
        Change::Create(wanted) => json!({
            "kind": "create",
            "topic": wanted.name,
            "partitions": wanted.partitions,
            "replication": wanted.replication,
            "config": wanted.config,
        }),
        Change::Configure { topic, name, from, to } => {
            json!({ "kind": "configure", "topic": topic, "name": name, "from": from, "to": to })
        }
        Change::Partitions { topic, found, wanted } => {
            json!({ "kind": "partitions", "topic": topic, "from": found, "to": wanted })
        }
        Change::Replication { topic, found, wanted } => {
            json!({ "kind": "replication", "topic": topic, "from": found, "to": wanted })
        }
        Change::Unknown { topic } => json!({ "kind": "unknown", "topic": topic }),
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_follow_from_the_environment_and_what_is_configured() {
        use Environment::{Dev, Prod};
        for (asked, configured, replication, in_sync) in [
            (None, -1, 1, 1),
            (None, 1, 1, 1),
            (None, 2, 2, 2),
            (None, 3, 3, 2),
            (None, 5, 5, 2),
            (Some(Dev), -1, 1, 1),
            (Some(Dev), 3, 3, 1),
            (Some(Prod), -1, 3, 2),
            (Some(Prod), 1, 1, 1),
        ] {
            let environment = asked.unwrap_or(implied(configured));
            let found = copies(environment, configured);
            assert_eq!(found, Copies { replication, in_sync }, "{asked:?} {configured}");
        }
    }
}
