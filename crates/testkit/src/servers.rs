//! Real servers for tests: Kafka, a CQL database, a schema registry. Those that the environment names,
//! else those that `tests/servers/servers` starts: in containers or from their jars. Never a mock, and
//! never a silent skip: a test that cannot have its server fails with the command to run.

#![allow(clippy::panic, reason = "a test that cannot have its server has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Variables that choose ports for a server that is started by hand.
const PORTS: &[&str] = &["KAFKA_PORT", "CQL_PORT", "REGISTRY_PORT"];

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache Kafka.
    Kafka,
    /// A database that speaks CQL.
    Cql,
    /// A schema registry with the Confluent-compatible interface.
    Registry,
    /// Apache Flume, which takes events over HTTP: a peer for a benchmark. Only as a [`Private`] one.
    Flume,
}

impl Kind {
    /// Its name for the script, and the variable that holds its address.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Kind::Kafka => ("kafka", "TOCSIN_TEST_KAFKA"),
            Kind::Cql => ("cassandra", "TOCSIN_TEST_CQL"),
            Kind::Registry => ("registry", "TOCSIN_TEST_REGISTRY"),
            Kind::Flume => ("flume", "TOCSIN_BENCH_FLUME"),
        }
    }
}

/// `host:port` of a Kafka broker that the whole run shares: give topics and groups their own names.
pub fn kafka() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| shared(Kind::Kafka))
}

/// `host:port` of a CQL database that the whole run shares: give keyspaces their own names.
pub fn cql() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| shared(Kind::Cql))
}

/// The URL of a schema registry that the whole run shares, without a `/` at its end.
pub fn registry() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| shared(Kind::Registry))
}

/// A name that no other test, process or earlier run has: for a topic, a group or a keyspace.
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since_1970.map_or(0, |time| time.as_millis());
    format!("{prefix}_{millis:x}_{:x}_{:x}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}

/// A server of one test alone, to be killed, paused and started on the same data. Ends with the test.
#[derive(Debug)]
pub struct Private {
    kind: Kind,
    directory: PathBuf,
    address: String,
}

impl Private {
    /// Starts one whose data and logs are in `directory`, which must outlive it.
    pub fn start(kind: Kind, directory: &Path) -> Private {
        let address = up(kind, directory, std::process::id());
        Private { kind, directory: directory.to_owned(), address }
    }

    /// The same with these lines added to its configuration: properties of Kafka, or YAML of Cassandra.
    pub fn start_with(kind: Kind, directory: &Path, settings: &str) -> Private {
        let more = directory.join(format!("{}.more", kind.names().0));
        let written =
            std::fs::create_dir_all(directory).and_then(|()| std::fs::write(more, settings));
        assert!(written.is_ok(), "cannot write into {}: {written:?}", directory.display());
        Private::start(kind, directory)
    }

    /// Where it answers, now and after a restart: as [`kafka`], [`cql`] and [`registry`] say it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The id of its process; none if it runs in a container.
    pub fn process(&self) -> Option<u32> {
        let file = self.directory.join(self.kind.names().0).with_extension("pid");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub fn kill(&self) {
        self.tell("kill");
    }

    /// Starts it again on the data that it had, and waits until it answers.
    pub fn restart(&self) {
        let address = up(self.kind, &self.directory, std::process::id());
        assert_eq!(address, self.address, "the server came back at another address");
    }

    /// Makes it stand still: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.tell("pause");
    }

    /// Lets it go on after a [`Private::pause`].
    pub fn resume(&self) {
        self.tell("resume");
    }

    fn tell(&self, what: &str) {
        run(what, &self.directory, &[self.kind.names().0]);
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Not `tell`: a second panic would hide the first. The watch ends it when this process ends.
        let _ = command("kill", &self.directory, &[self.kind.names().0]).output();
    }
}

fn shared(kind: Kind) -> String {
    match std::env::var(kind.names().1) {
        Ok(address) if !address.is_empty() => address,
        _ => up(kind, &target().join("test-servers"), owner()),
    }
}

/// Where the build puts things: `target/debug/deps/<test>` is what runs.
fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let places = own.ancestors().find(|path| path.file_name().is_some_and(|name| name == "deps"));
    let target = places.and_then(|deps| deps.parent()?.parent()).map(Path::to_owned);
    target.unwrap_or_else(|| std::env::temp_dir().join("tocsin"))
}

/// The process with which shared servers end: cargo, so that they are started once for all test
/// programs of a run; this one if it was started by hand.
fn owner() -> u32 {
    let parent = std::os::unix::process::parent_id();
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    if name.starts_with("cargo") { parent } else { std::process::id() }
}

/// Starts a server if it does not run yet; gives its address.
fn up(kind: Kind, directory: &Path, owner: u32) -> String {
    let (name, variable) = kind.names();
    let printed = run("up", directory, &["--while", &owner.to_string(), name]);
    let mut lines = printed.lines().filter_map(|line| line.split_once('='));
    let found = lines.find(|(key, _)| *key == variable);
    found.map(|(_, address)| address.to_owned()).unwrap_or_else(|| {
        panic!("the script named no {variable}, but printed {printed:?}");
    })
}

fn command(what: &str, directory: &Path, rest: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/servers");
    let mut command = Command::new(script);
    command.arg(what).arg(directory).args(rest);
    // Each directory has ports of its own.
    for variable in PORTS {
        command.env_remove(variable);
    }
    command
}

fn run(what: &str, directory: &Path, rest: &[&str]) -> String {
    let mut command = command(what, directory, rest);
    let by_hand =
        || format!("tests/servers/servers {what} {} {}", directory.display(), rest.join(" "));
    match command.output() {
        Ok(Output { status, stdout, .. }) if status.success() => {
            String::from_utf8_lossy(&stdout).into_owned()
        }
        Ok(Output { status, stderr, .. }) => panic!(
            "the server for this test does not start ({status}); look by hand: {}\n{}",
            by_hand(),
            String::from_utf8_lossy(&stderr)
        ),
        Err(error) => panic!("cannot run {}: {error}", by_hand()),
    }
}
