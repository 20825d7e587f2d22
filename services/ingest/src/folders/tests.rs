//! Which files are read, when, and by whom.

use super::*;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::{AQI_READINGS, Topics};
use tocsin_service::Document;
use tocsin_stream::memory::MemoryLog;

#[test]
fn a_file_is_due_once_it_has_stopped_growing_and_again_when_it_changes() {
    let mut seen = HashMap::new();
    let stamp = |size: u64| (size, None);
    let mut look = |size: Option<u64>| {
        let files = size.map(|size| (PathBuf::from("a"), stamp(size)));
        let found = due(&mut seen, files.into_iter().collect());
        if let (Some(known), false) = (seen.get_mut(Path::new("a")), found.is_empty()) {
            known.done = true;
        }
        found.len()
    };
    for (size, wanted, why) in [
        (Some(10), 0, "it was never seen before"),
        (Some(20), 0, "it grows"),
        (Some(20), 1, "it has stopped growing"),
        (Some(20), 0, "it was read"),
        (Some(30), 0, "it grows again"),
        (Some(30), 1, "and has stopped"),
        (None, 0, "it has gone"),
        (Some(30), 0, "it is back, and may be another one"),
        (Some(30), 1, "which is read"),
    ] {
        assert_eq!(look(size), wanted, "{why}");
    }
}

const CONFIG: &str = "[[sources]]\nname = \"s\"\nkind = \"csv\"\nevent = \"reading\"\n\
    subject = \"{s}\"\nmeasure = \"m\"\nvalue = \"{v}\"\ntime = \"{t}\"\nfiles = [\"*.csv\"]\n\
    folder = \"incoming\"\n";

fn events(log: &dyn Log) -> u64 {
    (0..8).map(|p| log.span(&TopicPartition::new(AQI_READINGS, p)).unwrap().end).sum()
}

#[test]
fn each_file_of_the_folder_is_read_once_whoever_reads() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("tocsin.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let document = Document::load(Some(&config), std::iter::empty()).unwrap();
    let sources = crate::settings::section(&document).unwrap();
    let incoming = directory.path().join("incoming");
    std::fs::create_dir(&incoming).unwrap();
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    let log: Arc<dyn Log> = log;
    let row = "s,t,v\na,2024-01-01T00:00:00Z,1\n";
    for name in ["one.csv", "two.csv", "notes.txt", ".three.csv"] {
        std::fs::write(incoming.join(name), row).unwrap();
    }
    let mut reports = Vec::new();
    let mut read = |slot| {
        let now = Arc::new(|| Micros(1_704_067_200_000_000));
        let mut folders =
            Folders::new(log.clone(), &sources, (slot, Observer::default()), now).unwrap();
        while !folders.ours.load(Ordering::Relaxed) {
            folders.follow(Duration::ZERO).unwrap();
        }
        for _ in 0..3 {
            folders.look(&|| true, &mut |report| reports.push(report.clone())).unwrap();
        }
        events(&*log)
    };
    assert_eq!(read(0), 2, "the two files that fit, once");
    assert_eq!(read(1), 2, "the next process knows what was read");
    std::fs::write(incoming.join("one.csv"), format!("{row}b,2024-01-01T00:00:00Z,2\n")).unwrap();
    assert_eq!(read(1), 3, "a file that has grown goes on");
    let known = |report: &&ImportReport| report.already_imported;
    assert_eq!(reports.iter().filter(known).count(), 3);
}
