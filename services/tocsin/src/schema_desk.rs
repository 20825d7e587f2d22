//! Where processors ask what the ids of a schema registry name that come up while they run. It answers
//! at once; a thread of its own asks the registry, and what it has said is kept beside the snapshots.
//! An id is never given twice, so nothing that is known is asked for again.

use crate::registry::{Named, Registry, RegistryError};
use crate::settings::{RegistryOptions, Settings};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tocsin_service::Stop;
use tocsin_stream::{Known, Schemas};

/// The directory in the data directory.
const FOLDER: &str = "registry";
/// How long it is believed that an id names nothing.
const BELIEVED: Duration = Duration::from_secs(60);
/// How many such ids are remembered: whoever writes rubbish into a topic can name any.
const MOST_NOTHINGS: usize = 10_000;
/// How long to wait before a registry that is away is asked again: first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How often to look whether the process ends.
const GLANCE: Duration = Duration::from_millis(500);

/// Knows the schemas of one registry.
pub struct Desk {
    registry: Registry,
    folder: Option<PathBuf>,
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Default)]
struct State {
    schemas: BTreeMap<u32, Arc<str>>,
    nothing: BTreeMap<u32, (String, Instant)>,
    /// What is to be asked, and why there is no answer yet.
    wanted: BTreeMap<u32, String>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Schemas for Desk {
    fn look_up(&self, id: u32) -> Known {
        let mut state = self.lock();
        if let Some(schema) = state.schemas.get(&id) {
            return Known::Schema(schema.clone());
        }
        if let Some((reason, at)) = state.nothing.get(&id)
            && at.elapsed() < BELIEVED
        {
            return Known::Nobody(reason.clone());
        }
        let asking = || format!("the schema registry is being asked for schema {id}");
        let reason = state.wanted.entry(id).or_insert_with(asking).clone();
        self.asked.notify_one();
        Known::NotYet(reason)
    }
}

/// A desk for a command that waits for the answer: it asks itself, and once the registry did not
/// answer, nothing more.
#[derive(Debug)]
pub struct Asking {
    desk: Desk,
    away: OnceLock<String>,
}

impl Asking {
    /// Of the registry of the settings, if there is one; it knows what was kept in `data`.
    pub fn of(settings: &Settings, data: Option<&Path>) -> Option<Arc<dyn Schemas>> {
        let desk = Desk::new(settings.registry.as_ref()?, data);
        Some(Arc::new(Asking { desk, away: OnceLock::new() }))
    }
}

impl Schemas for Asking {
    fn look_up(&self, id: u32) -> Known {
        match (self.desk.look_up(id), self.away.get()) {
            (Known::NotYet(_), Some(reason)) => Known::NotYet(reason.clone()),
            (Known::NotYet(_), None) => match self.desk.ask(id) {
                Ok(()) => self.desk.look_up(id),
                Err(reason) => Known::NotYet(self.away.get_or_init(|| reason).clone()),
            },
            (known, _) => known,
        }
    }
}

impl Desk {
    /// A desk that knows what was kept in `data`. It asks nothing yet.
    pub fn new(options: &RegistryOptions, data: Option<&Path>) -> Desk {
        let folder = data.map(|data| data.join(FOLDER).join(name_of(&options.url)));
        let (registry, asked) = (Registry::new(options), Condvar::new());
        let desk = Desk { registry, folder, state: Mutex::default(), asked };
        desk.lock().schemas =
            desk.kept().into_iter().map(|(id, schema)| (id, schema.into())).collect();
        desk
    }

    /// What was kept of that registry: schemas by their ids.
    pub fn kept(&self) -> BTreeMap<u32, String> {
        let files = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let read = |file: std::fs::DirEntry| {
            let id = file.file_name().to_str()?.strip_suffix(".avsc")?.parse().ok()?;
            Some((id, std::fs::read_to_string(file.path()).ok()?))
        };
        files.into_iter().flatten().filter_map(|file| read(file.ok()?)).collect()
    }

    /// Asks what is wanted, until it is told to stop.
    pub fn run(&self, stop: &Stop) {
        let mut pause = PAUSES.0;
        while !stop.stopped() {
            let wanted: Vec<u32> = self.wait().into_iter().collect();
            let away = wanted.iter().find_map(|id| self.ask(*id).err());
            pause = match away {
                Some(reason) => {
                    tracing::warn!(reason, ids = ?wanted, "schemas are waited for");
                    let mut state = self.lock();
                    state.wanted.values_mut().for_each(|why| why.clone_from(&reason));
                    drop(state);
                    stop.sleep(pause);
                    (2 * pause).min(PAUSES.1)
                }
                None => PAUSES.0,
            };
        }
    }

    /// What is wanted, once something is, or after a while.
    fn wait(&self) -> Vec<u32> {
        let state = self.lock();
        let waited = self.asked.wait_timeout_while(state, GLANCE, |state| state.wanted.is_empty());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.wanted.keys().copied().collect()
    }

    /// Asks for one id; an error says why the registry does not answer.
    fn ask(&self, id: u32) -> Result<(), String> {
        let answer = self.registry.schema(id).map_err(|error| match error {
            RegistryError::Away(text)
            | RegistryError::Refused(text)
            | RegistryError::Incompatible(text) => format!("schema {id} is not known: {text}"),
        })?;
        if let Named::Schema(schema) = &answer {
            self.keep(id, schema);
        }
        let mut state = self.lock();
        match answer {
            Named::Schema(schema) => _ = state.schemas.insert(id, schema.into()),
            Named::Nothing(reason) => {
                if state.nothing.len() >= MOST_NOTHINGS {
                    state.nothing.clear();
                }
                state.nothing.insert(id, (reason, Instant::now()));
            }
        }
        state.wanted.remove(&id);
        Ok(())
    }

    /// For a start without the registry. Whole or not at all: another process may read it.
    fn keep(&self, id: u32, schema: &str) {
        let Some(folder) = &self.folder else { return };
        let path = folder.join(format!("{id}.avsc"));
        let write = || {
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(schema.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok::<(), anyhow::Error>(())
        };
        if let Err(error) = write() {
            let path = path.display();
            tracing::warn!(%error, %path, "a schema cannot be kept for a start without the registry");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registry's address as the name of a directory: ids of one mean nothing to another.
fn name_of(url: &str) -> String {
    tocsin_domain::Id::of("registry", &[url.as_bytes()]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// Answers each of these once, then is away.
    fn registry(answers: &'static [(&'static str, u16, &'static str)]) -> RegistryOptions {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (path, status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                assert_eq!(head[0], format!("GET {path} HTTP/1.1"));
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
            }
        });
        RegistryOptions { url, login: None }
    }

    fn answer(desk: &Desk, id: u32) -> Known {
        for _ in 0..400 {
            match desk.look_up(id) {
                Known::NotYet(reason) if reason.contains("being asked") => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                known => return known,
            }
        }
        panic!("the desk never answers");
    }

    #[test]
    fn what_the_registry_says_is_known_and_kept_and_what_it_does_not_say_is_waited_for() {
        let options = registry(&[
            ("/schemas/ids/7", 200, r#"{"schema": "\"int\""}"#),
            ("/schemas/ids/8", 404, r#"{"error_code": 40403, "message": "no"}"#),
            ("/schemas/ids/9", 200, r#"{"schema": "x", "schemaType": "JSON"}"#),
            ("/schemas/ids/10", 200, r#"{"schema": "x", "references": [{"name": "y"}]}"#),
            ("/schemas/ids/11", 503, "later"),
        ]);
        let directory = tempfile::tempdir().unwrap();
        let desk = Arc::new(Desk::new(&options, Some(directory.path())));
        assert!(matches!(desk.look_up(7), Known::NotYet(_)));
        let (stop, asking) = (Stop::new(), desk.clone());
        let ending = stop.clone();
        let thread = std::thread::spawn(move || asking.run(&ending));
        assert_eq!(answer(&desk, 7), Known::Schema("\"int\"".into()));
        for (id, part) in [(8, "has no schema 8"), (9, "of type JSON"), (10, "refers to other")] {
            let known = answer(&desk, id);
            assert!(matches!(&known, Known::Nobody(why) if why.contains(part)), "{known:?}");
        }
        let known = answer(&desk, 11);
        assert!(matches!(&known, Known::NotYet(why) if why.contains("503 later")), "{known:?}");
        stop.stop();
        thread.join().unwrap();
        let again = Desk::new(&options, Some(directory.path()));
        assert_eq!(again.look_up(7), Known::Schema("\"int\"".into()));
        assert_eq!(again.kept().len(), 1);
        let other = RegistryOptions { url: "http://elsewhere:1".to_owned(), login: None };
        assert!(Desk::new(&other, Some(directory.path())).kept().is_empty());
    }
}
