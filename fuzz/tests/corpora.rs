//! Every input of every corpus goes through its target, so that what was found once is never broken again;
//! and corpora and targets are as many.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tocsin_fuzz::targets;

/// What all of them may have, in bytes: they are in every checkout.
const ROOM: u64 = 1 << 20;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The files of a directory, in the order of their names.
fn entries(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn every_input_of_a_corpus_does_no_harm() {
    let mut failed = Vec::new();
    for target in targets::all() {
        let mut suffer = target.open();
        let inputs = entries(&corpora().join(target.name));
        assert!(!inputs.is_empty(), "fuzz/corpus/{} is empty: it needs a seed", target.name);
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            if catch_unwind(AssertUnwindSafe(|| suffer(&bytes))).is_err() {
                failed.push(input);
                suffer = target.open();
            }
        }
    }
    assert!(failed.is_empty(), "these do harm; what each panicked with stands above: {failed:#?}");
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_its_target() {
    let names: Vec<&str> = targets::all().iter().map(|target| target.name).collect();
    let names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
    assert_eq!(names.len(), targets::all().len(), "two targets have one name");
    let found = entries(&corpora());
    let found = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    assert_eq!(found.collect::<BTreeSet<_>>(), names);
    for kind in tocsin_ingest::sources::KINDS {
        assert!(names.contains(kind.name), "{} has no target", kind.name);
    }
}

#[test]
fn the_corpora_are_small() {
    let inputs = entries(&corpora()).iter().flat_map(|corpus| entries(corpus)).collect::<Vec<_>>();
    let bytes: u64 = inputs.iter().map(|input| input.metadata().unwrap().len()).sum();
    assert!(bytes <= ROOM, "the corpora have {bytes} bytes; at most {ROOM}: minimise them");
}

#[test]
fn no_target_is_of_another_name() {
    assert!(targets::named("waqi").is_some_and(|target| target.name == "waqi"));
    assert!(targets::named("").is_none());
}
