//! Recorded data that may not be published with the sources: where tests find it, and whether they may
//! do without it.

use std::path::{Path, PathBuf};

/// Whether this is a build server: there, what a test needs must be there.
pub fn is_build_server() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// The directory of a set: in `TOCSIN_TEST_DATA`, or in `shared/data` beside the checkout. `None`, and
/// a line that says so, where nobody has promised it.
///
/// # Panics
/// If it is missing on a build server, or from a directory that was named.
#[expect(clippy::panic, reason = "the test that asks must fail, and not be left out")]
pub fn set(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("TOCSIN_TEST_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    match find(name, named.as_deref(), &beside, is_build_server()) {
        Ok(found) => Some(found),
        Err(Missing::LeftOut(why)) => {
            eprintln!("NOT RUN: {why}");
            None
        }
        Err(Missing::Failed(why)) => panic!("{why}"),
    }
}

/// What it means that a set is missing, and why.
#[derive(Debug, PartialEq, Eq)]
enum Missing {
    LeftOut(String),
    Failed(String),
}

fn find(
    name: &str,
    named: Option<&Path>,
    beside: &Path,
    is_build_server: bool,
) -> Result<PathBuf, Missing> {
    let data = named.unwrap_or(beside);
    let found = data.join(name);
    if found.is_dir() {
        return Ok(found);
    }
    let why = format!(
        "the recorded data of {name} is not in {}; name the directory that has it with TOCSIN_TEST_DATA",
        data.display()
    );
    Err(match named.is_some() || is_build_server {
        true => Missing::Failed(why),
        false => Missing::LeftOut(why),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_was_promised_must_be_there_and_what_was_not_may_be_left_out() {
        let (here, none) = (Path::new(env!("CARGO_MANIFEST_DIR")), Path::new("/nowhere"));
        let (ok, left_out, failed) = ("found", "left out", "failed");
        for (name, named, beside, is_build_server, wanted) in [
            ("src", Some(here), none, false, ok),
            ("src", None, here, true, ok),
            ("src", None, none, false, left_out),
            ("src", None, none, true, failed),
            ("src", Some(none), here, false, failed),
            ("no-such-set", Some(here), here, false, failed),
        ] {
            let word = match find(name, named, beside, is_build_server) {
                Ok(path) => {
                    assert_eq!(path, here.join(name));
                    ok
                }
                Err(Missing::LeftOut(_)) => left_out,
                Err(Missing::Failed(why)) => {
                    assert!(why.contains(name) && why.contains("TOCSIN_TEST_DATA"), "{why}");
                    failed
                }
            };
            assert_eq!(word, wanted, "{name} {named:?} {is_build_server}");
        }
    }
}
