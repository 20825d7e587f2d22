//! What the ids of a schema registry name, asked when a process starts. The answer is kept beside the
//! snapshots, so that a registry that is away holds nothing up. Ids that come later are asked for by
//! [`crate::schema_desk`].

use crate::registry::{Registry, RegistryError, subjects};
use crate::schema_desk::Desk;
use crate::settings::Settings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tocsin_domain::wire::{Fingerprint, SchemaIds, fingerprint};
use tocsin_service::Stop;
use tocsin_service::health::State;

/// The name of the file in the data directory.
const FILE: &str = "schema-ids.json";
/// How long to wait before a registry that is away is asked again: first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What is kept: fingerprints as sixteen hexadecimal digits, by id.
#[derive(Serialize, Deserialize)]
struct Kept {
    registry: String,
    ids: BTreeMap<u32, String>,
}

/// Adds what the registry of the settings knows to what they say themselves; `[schema.ids]` rules.
///
/// # Errors
/// If the registry refuses (exit code 3), or is away and nothing is kept in `data` (4): values that
/// cannot be read would be put aside as dead letters.
pub fn learn(settings: &mut Settings, data: Option<&Path>) -> anyhow::Result<()> {
    Ok(try_to_learn(settings, data)?)
}

/// The same, for a process that somebody else looks after: as long as the registry is away and nothing is
/// kept, it waits and tells why. `false` if it is told to stop before.
///
/// # Errors
/// If the registry refuses; exit code 3.
pub fn learn_patiently(
    settings: &mut Settings,
    data: Option<&Path>,
    stop: &Stop,
    tell: &dyn Fn(State),
) -> anyhow::Result<bool> {
    let mut pause = PAUSES.0;
    loop {
        match try_to_learn(settings, data) {
            Ok(()) => break,
            Err(RegistryError::Away(reason)) => {
                tracing::warn!(reason, "what the ids of the schema registry mean is waited for");
                tell(State::Waiting { reason });
            }
            Err(error) => return Err(error.into()),
        }
        if stop.sleep(pause) {
            return Ok(false);
        }
        pause = (2 * pause).min(PAUSES.1);
    }
    tell(State::ready(None));
    Ok(true)
}

fn try_to_learn(settings: &mut Settings, data: Option<&Path>) -> Result<(), RegistryError> {
    let Some(options) = &settings.registry else { return Ok(()) };
    let kept = data.and_then(|data| kept(data, &options.url));
    let mut ids = match (fetch(&Registry::new(options)), kept) {
        (Ok(fetched), kept) => {
            // An id is never given twice, and what a registry has forgotten may stand in the log.
            let mut all = kept.unwrap_or_default();
            fetched.iter().for_each(|(id, fingerprint)| all.insert(id, fingerprint));
            if let Some(data) = data {
                keep(data, &options.url, &all);
            }
            all
        }
        (Err(RegistryError::Away(reason)), Some(kept)) => {
            let ids = kept.iter().count();
            tracing::warn!(%reason, ids, "going on with the schema ids of an earlier start");
            kept
        }
        (Err(RegistryError::Away(reason)), None) => {
            let why = match data {
                Some(data) => format!("{} holds none of its ids", data.join(FILE).display()),
                None => "without --data its ids are not kept".to_owned(),
            };
            return Err(RegistryError::Away(format!("{reason}; {why}")));
        }
        (Err(error), _) => return Err(error),
    };
    // State may hold events that such ids frame.
    for (id, schema) in Desk::new(options, data).kept() {
        if let Err(error) = ids.learn(id, &schema) {
            tracing::warn!(%error, id, "a schema that was kept cannot be read");
        }
    }
    settings.schema_ids.iter().for_each(|(id, fingerprint)| ids.insert(id, fingerprint));
    settings.schema_ids = ids;
    Ok(())
}

/// Every version of our subjects.
fn fetch(registry: &Registry) -> Result<SchemaIds, RegistryError> {
    let mut ids = SchemaIds::default();
    for (subject, _) in subjects() {
        for version in registry.versions(&subject)?.into_iter().filter(|one| one.is_avro()) {
            match fingerprint(&version.schema) {
                Ok(fingerprint) => ids.insert(version.id, fingerprint),
                Err(error) => {
                    let id = version.id;
                    tracing::warn!(%error, subject, id, "a schema of the registry cannot be read");
                }
            }
        }
    }
    Ok(ids)
}

/// What an earlier start has kept of that registry.
fn kept(data: &Path, registry: &str) -> Option<SchemaIds> {
    let path = data.join(FILE);
    let text = std::fs::read_to_string(&path).ok()?;
    let read = serde_json::from_str::<Kept>(&text).map_err(|error| error.to_string());
    let ids = read.and_then(|kept| match kept.registry == registry {
        true => of_hexadecimal(&kept.ids),
        false => Err(format!("it is of another registry, {}", kept.registry)),
    });
    ids.inspect_err(|reason| {
        tracing::warn!(path = %path.display(), reason, "the kept schema ids cannot be used");
    })
    .ok()
}

fn of_hexadecimal(ids: &BTreeMap<u32, String>) -> Result<SchemaIds, String> {
    let mut found = SchemaIds::default();
    for (id, text) in ids {
        let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
        let number = number.ok_or_else(|| format!("{text:?} is no fingerprint"))?;
        found.insert(*id, number.to_be_bytes());
    }
    Ok(found)
}

fn keep(data: &Path, registry: &str, ids: &SchemaIds) {
    let text = |fingerprint: Fingerprint| format!("{:016x}", u64::from_be_bytes(fingerprint));
    let ids = ids.iter().map(|(id, fingerprint)| (id, text(fingerprint))).collect();
    if let Err(error) = write(data, &Kept { registry: registry.to_owned(), ids }) {
        let path = data.join(FILE);
        tracing::warn!(%error, path = %path.display(), "the schema ids cannot be kept for a start without the registry");
    }
}

/// Whole or not at all: another process may read it.
fn write(data: &Path, kept: &Kept) -> anyhow::Result<()> {
    std::fs::create_dir_all(data)?;
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    serde_json::to_writer_pretty(&mut file, kept)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(data.join(FILE))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        assert_eq!(kept(&data, "http://a"), None);
        let mut ids = SchemaIds::default();
        ids.insert(7, [0, 1, 2, 3, 4, 5, 6, 255]);
        ids.insert(9, [255; 8]);
        keep(&data, "http://a", &ids);
        assert_eq!(kept(&data, "http://a"), Some(ids));
        assert_eq!(kept(&data, "http://b"), None);
        for text in ["", "{}", r#"{"registry": "http://a", "ids": {"7": "01"}}"#] {
            std::fs::write(data.join(FILE), text).unwrap();
            assert_eq!(kept(&data, "http://a"), None, "{text}");
        }
    }
}
