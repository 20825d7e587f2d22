//! Servers from their jars, which `tests/servers/servers` downloads and starts.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::Kind;

/// Variables that choose ports for a server that is started by hand.
const PORTS: &[&str] = &["KAFKA_PORT", "CQL_PORT", "REGISTRY_PORT"];

/// A process whose data and logs are in a directory. It ends with the process that asked for it.
#[derive(Debug)]
pub(super) struct Server {
    kind: Kind,
    directory: PathBuf,
}

impl Server {
    /// Starts it if it does not run yet, and waits until it answers; gives its address as well.
    /// It ends when `owner` does.
    pub(super) fn start(kind: Kind, directory: &Path, owner: u32) -> (Server, String) {
        let server = Server { kind, directory: directory.to_owned() };
        let address = server.up(owner);
        (server, address)
    }

    fn up(&self, owner: u32) -> String {
        let (name, variable) = self.kind.names();
        let printed = run("up", &self.directory, &["--while", &owner.to_string(), name]);
        let mut lines = printed.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(key, _)| *key == variable);
        found.map(|(_, address)| address.to_owned()).unwrap_or_else(|| {
            panic!("the script named no {variable}, but printed {printed:?}");
        })
    }

    /// Starts it again on the data that it had, at the same address.
    pub(super) fn restart(&self) {
        self.up(std::process::id());
    }

    /// `kill`, `pause` or `resume`.
    pub(super) fn tell(&self, what: &str) {
        run(what, &self.directory, &[self.kind.names().0]);
    }

    /// The id of its process.
    pub(super) fn process(&self) -> Option<u32> {
        let file = self.directory.join(self.kind.names().0).with_extension("pid");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    /// Ends it as far as that is possible: a second panic would hide a first.
    pub(super) fn end(&self) {
        let _ = command("kill", &self.directory, &[self.kind.names().0]).output();
    }
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
