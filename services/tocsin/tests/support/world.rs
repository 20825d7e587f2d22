//! The whole program in a directory of its own, over either backend: what is tested is written once,
//! and the configuration alone says whether one machine or a cluster stands behind it.

#![allow(dead_code, reason = "each test binary uses its part")]

use super::cluster::{Process, Servers};
use super::{Running, serve, tocsin};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tocsin::settings::Settings;
use tocsin::{backend, facts};
use tocsin_store::Store;
use tocsin_stream::Log;

/// What stands behind the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    OneMachine,
    Cluster,
}

/// A directory with a configuration.
pub struct World {
    servers: Option<Servers>,
    directory: tempfile::TempDir,
}

impl Backend {
    /// How often a process is killed in a test: less often where every start is slow.
    pub fn kills(self, variable: &str, on_one_machine: u64) -> u64 {
        let default = if self == Backend::Cluster { 4 } else { on_one_machine };
        super::chaos::number(variable, default)
    }
}

impl World {
    /// With this configuration; what says where log and tables are is put before it.
    pub fn new(backend: Backend, configuration: &str) -> World {
        World::with(backend, "", configuration)
    }

    /// The same for processes that are killed and started again: each keeps its partitions, so that
    /// nobody waits for the end of the one before.
    pub fn of_restarts(backend: Backend, configuration: &str) -> World {
        World::with(backend, "membership = \"static\"", configuration)
    }

    fn with(backend: Backend, more: &str, configuration: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let is_cluster = backend == Backend::Cluster;
        let servers = is_cluster.then(|| Servers::start(directory.path()));
        let sections = servers.as_ref().map(|servers| servers.sections(more)).unwrap_or_default();
        let world = World { servers, directory };
        std::fs::write(world.config(), sections + configuration).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("tocsin.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Makes what must be there before anything runs: on one machine, nothing.
    pub fn prepare(&self) {
        if self.servers.is_some() {
            let mut apply = tocsin();
            apply.args(["topics", "apply", "--yes", "--config"]).arg(self.config());
            assert!(apply.stdout(Stdio::null()).status().unwrap().success());
        }
    }

    /// A subcommand with its configuration and data directory.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = tocsin();
        command.args(words).arg("--config").arg(self.config());
        command.arg("--data").arg(self.data());
        command
    }

    /// A subcommand that needs no configuration to find log and tables on one machine.
    pub fn bare(&self, words: &[&str]) -> Command {
        if self.servers.is_some() {
            return self.command(words);
        }
        let mut command = tocsin();
        command.args(words).arg("--data").arg(self.data());
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// `tocsin up`, and where its pages are.
    pub fn up(&self) -> (Running, String) {
        serve(&mut self.command(&["up"]))
    }

    /// `tocsin up`, with its probes.
    pub fn up_with_probes(&self) -> Process {
        let words = ["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        Process::start(&mut self.command(&words), self.path("up.log"))
    }

    pub fn settings(&self) -> Settings {
        Settings::load(&self.config(), facts::now()).unwrap()
    }

    pub fn log(&self) -> Arc<dyn Log> {
        backend::log(&self.settings(), &self.data()).unwrap()
    }

    pub fn store(&self) -> Arc<dyn Store> {
        backend::store(&self.settings(), &self.data()).unwrap()
    }
}
