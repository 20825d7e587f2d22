//! Real servers for tests: Kafka, a CQL database, a schema registry. Those that the environment names, else in
//! containers where an engine answers, else from their jars. Never a mock, and never a silent skip: a test that
//! cannot have its server fails and says what to do. `TOCSIN_SERVERS=containers` or `jars` leaves no choice.

#![allow(clippy::panic, reason = "a test that cannot have its server has failed")]

mod containers;
mod images;
mod jars;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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

    /// What stands in its variable when it listens on this port of this machine.
    fn address(self, port: u16) -> String {
        match self {
            Kind::Registry => format!("http://127.0.0.1:{port}/apis/ccompat/v7"),
            Kind::Kafka | Kind::Cql | Kind::Flume => format!("127.0.0.1:{port}"),
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
pub struct Private {
    home: Home,
    address: String,
}

/// Where a server runs.
enum Home {
    Container(containers::Server),
    Jars(jars::Server),
}

impl Private {
    /// Starts one. From its jars, its data and logs are in `directory`, which must outlive it.
    pub fn start(kind: Kind, directory: &Path) -> Private {
        let Some(image) = in_container(kind) else { return Private::from_jars(kind, directory) };
        let server = begun(kind, containers::Server::alone(kind.names().0, image));
        Private { address: kind.address(server.port()), home: Home::Container(server) }
    }

    /// The same with these lines added to its configuration: properties of Kafka, or YAML of Cassandra. From its
    /// jars in any case, as the lines name files of this machine.
    pub fn start_with(kind: Kind, directory: &Path, settings: &str) -> Private {
        let more = directory.join(format!("{}.more", kind.names().0));
        let written =
            std::fs::create_dir_all(directory).and_then(|()| std::fs::write(more, settings));
        assert!(written.is_ok(), "cannot write into {}: {written:?}", directory.display());
        Private::from_jars(kind, directory)
    }

    fn from_jars(kind: Kind, directory: &Path) -> Private {
        let (server, address) = jars::Server::start(kind, directory, std::process::id());
        Private { home: Home::Jars(server), address }
    }

    /// Where it answers, now and after a restart: as [`kafka`], [`cql`] and [`registry`] say it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The id of its process; none if it runs in a container.
    pub fn process(&self) -> Option<u32> {
        match &self.home {
            Home::Container(_) => None,
            Home::Jars(server) => server.process(),
        }
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub fn kill(&self) {
        match &self.home {
            Home::Container(server) => done("kill", server.kill()),
            Home::Jars(server) => server.tell("kill"),
        }
    }

    /// Starts it again on the data that it had, and waits until it answers.
    pub fn restart(&self) {
        match &self.home {
            Home::Container(server) => done("restart", server.restart()),
            Home::Jars(server) => server.restart(),
        }
    }

    /// Makes it stand still: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        match &self.home {
            Home::Container(server) => done("pause", server.pause()),
            Home::Jars(server) => server.tell("pause"),
        }
    }

    /// Lets it go on after a [`Private::pause`].
    pub fn resume(&self) {
        match &self.home {
            Home::Container(server) => done("resume", server.resume()),
            Home::Jars(server) => server.tell("resume"),
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // A container goes by itself.
        if let Home::Jars(server) = &self.home {
            server.end();
        }
    }
}

/// The image of a server that is to run in a container.
fn in_container(kind: Kind) -> Option<images::Image> {
    let wanted = match std::env::var("TOCSIN_SERVERS").as_deref() {
        Ok("jars") => false,
        Ok("containers") => true,
        _ => containers::engine(),
    };
    images::image(kind).filter(|_| wanted)
}

fn begun<T>(kind: Kind, server: Result<T, String>) -> T {
    server.unwrap_or_else(|error| {
        let name = kind.names().0;
        panic!("{name} does not start in a container, TOCSIN_SERVERS=jars does without: {error}");
    })
}

fn done(what: &str, outcome: Result<(), String>) {
    assert!(outcome.is_ok(), "the engine cannot {what} the server: {outcome:?}");
}

fn shared(kind: Kind) -> String {
    match std::env::var(kind.names().1) {
        Ok(address) if !address.is_empty() => return address,
        _ => {}
    }
    let directory = target().join("test-servers");
    let Some(image) = in_container(kind) else {
        return jars::Server::start(kind, &directory, owner()).1;
    };
    let server = containers::Server::shared(kind.names().0, image, owner(), &directory);
    kind.address(begun(kind, server).port())
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
