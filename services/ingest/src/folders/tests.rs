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
    let mut rows = 0;
    let mut read = |slot| {
        let now = Arc::new(|| Micros(1_704_067_200_000_000));
        let mut folders =
            Folders::new(log.clone(), &sources, (slot, Observer::default()), now).unwrap();
        while !folders.ours.load(Ordering::Relaxed) {
            folders.follow(Duration::ZERO).unwrap();
        }
        for _ in 0..3 {
            let mut hear = |news: News<'_>| {
                if let News::Rows(_, tally) = news {
                    rows += tally.rows;
                }
            };
            folders.look(&|| true, &mut hear).unwrap();
        }
        events(&*log)
    };
    assert_eq!(read(0), 2, "the two files that fit, once");
    assert_eq!(read(1), 2, "the next process knows what was read");
    std::fs::write(incoming.join("one.csv"), format!("{row}b,2024-01-01T00:00:00Z,2\n")).unwrap();
    assert_eq!(read(1), 3, "a file that has grown goes on");
    assert_eq!(rows, 3, "what was known is not counted again");
}

#[test]
fn a_source_of_which_too_much_is_dead_is_paused_and_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let incoming = directory.path().join("incoming");
    std::fs::create_dir(&incoming).unwrap();
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    let log: Arc<dyn Log> = log;
    // Files of few rows each: what counts is the source, not the file.
    for number in 0..40 {
        let day = number % 28 + 1;
        let rows = (0..10).map(|i| format!("s{i},{day:02}.01.2023,1\n")).collect::<String>();
        std::fs::write(incoming.join(format!("{number:02}.csv")), format!("s,t,v\n{rows}"))
            .unwrap();
    }
    // Reads as a new process would; what was heard, and how many dead letters there are.
    let read = |more: &str| {
        let config = directory.path().join("tocsin.toml");
        std::fs::write(&config, format!("{CONFIG}{more}")).unwrap();
        let document = Document::load(Some(&config), std::iter::empty()).unwrap();
        let sources = crate::settings::section(&document).unwrap();
        let now = Arc::new(|| Micros(1_704_067_200_000_000));
        let mut folders =
            Folders::new(log.clone(), &sources, (0, Observer::default()), now).unwrap();
        while !folders.ours.load(Ordering::Relaxed) {
            folders.follow(Duration::ZERO).unwrap();
        }
        let (mut heard, mut counted) = (Vec::new(), Tally::default());
        for _ in 0..4 {
            let mut hear = |news: News<'_>| match news {
                News::Rows(_, tally) => counted = counted.plus(tally),
                News::Paused(_, reason) => heard.push(reason.map(str::to_owned)),
            };
            folders.look(&|| true, &mut hear).unwrap();
        }
        assert_eq!(counted.outcomes().iter().map(|(_, n)| n).sum::<u64>(), counted.rows);
        (heard, counted.rows, counted.dead_letters, sources)
    };
    let (heard, rows, dead, sources) = read("");
    assert_eq!((rows, dead), (100, 100), "it stops at once");
    let reason = "100 of the last 100 rows could not be read, and more than 50 % are too many";
    assert_eq!(heard, [None, Some(reason.to_owned())]);

    let (heard, rows, ..) = read("");
    assert_eq!((heard.len(), rows), (1, 0), "a restart alone changes nothing");
    let now = ("ada", Micros(9));
    let ended = crate::pause::resume(&*log, &Whom::source(&sources[0]), now).unwrap().unwrap();
    assert_eq!(ended.resumed, Some(("ada".to_owned(), Micros(9))));
    assert_eq!(crate::pause::resume(&*log, &Whom::source(&sources[0]), now).unwrap(), None);
    assert_eq!(read("").1, 100, "it looks at a hundred more, and is paused again");
    let (heard, rows, dead, _) = read("time_format = \"%d.%m.%Y\"\n");
    assert_eq!((heard, rows), (vec![None], 200), "a change of the configuration ends it");
    assert_eq!((dead, events(&*log)), (0, 200), "it goes on behind the last row that was read");
}
