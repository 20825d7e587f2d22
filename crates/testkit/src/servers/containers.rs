//! Servers in containers, where a container engine answers.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, ReuseDirective, TestcontainersError};

use super::images::Image;

/// From the first sign of life to the first answer; the download comes before it.
const PATIENCE: Duration = Duration::from_secs(180);

/// A container. It goes when this does, or if others share it when their owner does.
pub(super) struct Server {
    image: Image,
    container: Option<Arc<ContainerAsync<GenericImage>>>,
    port: u16,
}

/// Whether an engine answers within a few seconds; asked once.
pub(super) fn engine() -> bool {
    static ANSWERS: OnceLock<bool> = OnceLock::new();
    *ANSWERS.get_or_init(|| {
        wait(async {
            let Ok(engine) = docker_client_instance().await else { return false };
            let ping = tokio::time::timeout(Duration::from_secs(5), engine.ping());
            matches!(ping.await, Ok(Ok(_)))
        })
    })
}

impl Server {
    /// One for a single test.
    pub(super) fn alone(name: &str, image: Image) -> Result<Server, String> {
        let name = format!("tocsin-{}", super::unique(name));
        Server::start(&name, image, std::process::id(), ReuseDirective::Never)
    }

    /// The one that all processes of `owner` share: found if it runs, else started, by one process at a time,
    /// as a lock in `directory` says.
    pub(super) fn shared(
        name: &str,
        image: Image,
        owner: u32,
        directory: &Path,
    ) -> Result<Server, String> {
        let turn = lock(&directory.join(name).with_extension("turn"));
        let _turn = turn.map_err(|error| error.to_string())?;
        Server::start(&format!("tocsin-{name}-{owner}"), image, owner, ReuseDirective::Always)
    }

    fn start(
        name: &str,
        image: Image,
        owner: u32,
        reuse: ReuseDirective,
    ) -> Result<Server, String> {
        let request = image
            .request(free_port())
            .with_container_name(name)
            .with_reuse(reuse)
            .with_startup_timeout(PATIENCE);
        remove_after(owner, name);
        let container = wait(request.start()).map_err(|error| error.to_string())?;
        let mut server = Server { image, container: Some(Arc::new(container)), port: 0 };
        server.port = server
            .ask(|container| async move { container.get_host_port_ipv4(image.inside()).await })?;
        server.await_greeting()?;
        Ok(server)
    }

    /// The port of this machine that the engine forwards to it.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL, and what it had stays.
    pub(super) fn kill(&self) -> Result<(), String> {
        self.ask(|container| async move {
            let engine = docker_client_instance().await?;
            let killed = engine.kill_container(container.id(), None).await;
            killed.map_err(TestcontainersError::other)
        })
    }

    /// The same container again, on what it had.
    pub(super) fn restart(&self) -> Result<(), String> {
        self.ask(|container| async move { container.start().await })?;
        self.await_greeting()
    }

    /// All its processes stand still.
    pub(super) fn pause(&self) -> Result<(), String> {
        self.ask(|container| async move { container.pause().await })
    }

    pub(super) fn resume(&self) -> Result<(), String> {
        self.ask(|container| async move { container.unpause().await })
    }

    fn ask<T, F>(
        &self,
        what: impl FnOnce(Arc<ContainerAsync<GenericImage>>) -> F,
    ) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = testcontainers::core::error::Result<T>> + Send + 'static,
    {
        let container = self.container.clone().ok_or("it is gone")?;
        wait(what(container)).map_err(|error| error.to_string())
    }

    fn await_greeting(&self) -> Result<(), String> {
        let started = Instant::now();
        while !self.image.greets(self.port) {
            let runs = self.ask(|container| async move { container.is_running().await })?;
            if !runs || started.elapsed() > PATIENCE {
                return Err(format!("it does not answer; its last words:\n{}", self.last_words()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let printed = self.ask(|container| async move {
            let mut printed = container.stdout_to_vec().await?;
            printed.extend(container.stderr_to_vec().await?);
            Ok(printed)
        });
        let printed = String::from_utf8_lossy(&printed.unwrap_or_default()).into_owned();
        let lines: Vec<_> = printed.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        // The library removes it, on a thread that may wait: nothing is left when the test ends.
        wait(async move { drop(container) });
    }
}

/// A port that nobody uses, below those that the system gives to outgoing connections: a server that is killed
/// must find it free when it comes back.
fn free_port() -> u16 {
    let random =
        |turn: u32| u16::try_from(RandomState::new().hash_one(turn) % 10_000).unwrap_or_default();
    let mut ports = (0..1000).map(|turn| 20_000 + random(turn));
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap_or(20_000)
}

/// Has a process of its own remove a container once its owner is gone, however that ended: the library removes
/// only what is dropped, and never what is shared.
fn remove_after(owner: u32, container: &str) {
    let script = "while kill -0 \"$0\"; do sleep 1; done; docker rm --force --volumes \"$1\"";
    let watch = Command::new("setsid")
        .args(["sh", "-c", script, &owner.to_string(), container])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = watch {
        eprintln!("nobody removes {container} should its test be killed: {error}");
    }
}

/// Held until it is dropped.
fn lock(file: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(file.parent().unwrap_or(file))?;
    let file = File::create(file)?;
    file.lock()?;
    Ok(file)
}

/// Waits for the engine, from any thread: also from one that runs async code.
fn wait<T: Send + 'static>(what: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.unwrap_or_else(|error| panic!("no thread for the engine: {error}"))
    });
    let (answer, answers) = mpsc::channel();
    runtime.spawn(async move {
        let _ = answer.send(what.await);
    });
    answers.recv().unwrap_or_else(|_| panic!("what was asked of the engine panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_and_none_of_those_for_outgoing_connections() {
        let port = free_port();
        assert!((20_000..30_000).contains(&port), "{port}");
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok(), "{port}");
    }
}
