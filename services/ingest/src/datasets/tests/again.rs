//! What comes of a row that was set aside: what would have come of it in its upload, while that is
//! the newest of its set.

use super::*;
use crate::datasets::again::Again;
use crate::redrive::Outcome;
use tocsin_domain::dead_letter::DeadLetter;

fn values(log: &dyn Log, topic: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for partition in 0..log.partitions(topic).unwrap() {
        let scanned = log.scan_all(&TopicPartition::new(topic, partition), |record| {
            found.push(record.value.unwrap().to_vec());
            Ok::<(), tocsin_stream::LogError>(())
        });
        scanned.unwrap();
    }
    found
}

fn letters(log: &dyn Log) -> Vec<DeadLetter> {
    let ids = wire::SchemaIds::default();
    values(log, DEAD_LETTERS).iter().map(|value| wire::read_owned(value, &ids).unwrap()).collect()
}

/// Uploads these files into `log`.
fn upload(log: &Arc<MemoryLog>, set: &DatasetConfig, all: &[(&str, &[u8])]) {
    let directory = tempfile::tempdir().unwrap();
    let upload = Upload::open(set, &files(directory.path(), all)).unwrap();
    loader(log, set).load(&upload, &mut || true).unwrap();
}

/// Leads letters through the sets, one after the other.
fn each(sets: &[DatasetConfig], log: Option<&dyn Log>, letters: &[DeadLetter]) -> Vec<Outcome> {
    let mut again = Again::new(sets);
    let mut one = |letter: &DeadLetter| {
        let (name, line) = letter.origin.rsplit_once(':').unwrap();
        let set = letter.source.strip_prefix("dataset:").unwrap();
        again.reread((letter, (name, line.parse().unwrap())), set, log).unwrap()
    };
    letters.iter().map(&mut one).collect()
}

/// The same set, which asks for less.
fn corrected() -> String {
    let name = "name = \"catalogue\"\n";
    let flag = format!("{name}formulas = \"flag\"\n");
    let typed = SET.lines().filter(|line| !line.starts_with("types"));
    typed.collect::<Vec<_>>().join("\n").replacen(name, &flag, 1)
}

fn utf16(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn what_comes_of_a_letter_is_what_would_have_come_of_its_row() {
    let columns = "column_id,namespace_id,parent,owner,size,rows,since\n";
    let wide =
        utf16(&format!("{columns}c1,n1,,é,1.5,x,\nc2,n1,,\"a\nb\",1.5,,soon\nc3,n1,,b,,,\n"));
    let mixed = [columns.as_bytes(), "c1,n1,,é,,,\nc2,n1,,ü,,,\nc3,n1,,".as_bytes(), b"\xfc,,,\n"];
    let latin = "name = \"catalogue\"\nencoding = \"latin-1\"\n";
    let latin = SET.replacen("name = \"catalogue\"\n", latin, 1);
    for (text, bytes, dead, back) in [
        (corrected(), COLUMNS.to_vec(), 7, 4),
        (corrected(), wide, 2, 2),
        (latin, mixed.concat(), 1, 1),
    ] {
        let (log, fixed) = (memory_log(), parse(&text));
        let all = [("columns.csv", bytes.as_slice()), ("namespaces.csv", NAMESPACES)];
        upload(&log, &set(""), &all);
        let letters = letters(&*log);
        assert_eq!(letters.len(), dead);
        for (letter, same) in letters.iter().zip(each(&[set("")], Some(&*log), &letters)) {
            assert_eq!(same.dead.as_ref(), Some(&letter.reason), "nothing was corrected");
        }
        let found = each(std::slice::from_ref(&fixed), Some(&*log), &letters);
        let made: Vec<_> = found.iter().flat_map(|found| &found.events).collect();
        assert_eq!((made.len(), back), (back, found.iter().filter(|f| f.dead.is_none()).count()));
        let other = memory_log();
        upload(&other, &fixed, &all);
        let wanted = values(&*other, DATASETS_ROWS);
        for made in made {
            assert!(wanted.contains(&made.value), "to the last byte: {made:?}");
        }
    }
}

const NAMED: &[u8] = b"namespace_id,name\nn1,One\nn2\n";
/// Of the last four, each has a size that is no number; one refers to the one before it.
const SIZED: &[u8] = b"column_id,namespace_id,parent,owner,size,rows,since\n\
    c1,n1,,ann,1.5,,\n\
    c2,n9,c4,ann,x,,\n\
    c3,n1,c1,,x,,\n\
    c4,n2,,=1+1,x,,\n\
    c5,n1,c4,ann,x,,\n";

#[test]
fn what_a_row_refers_to_is_looked_for_and_told() {
    let log = memory_log();
    upload(&log, &set(""), &[("namespaces.csv", NAMED), ("columns.csv", SIZED)]);
    let letters = letters(&*log);
    let found = each(&[parse(&corrected())], Some(&*log), &letters);
    let told: Vec<_> = letters
        .iter()
        .zip(&found)
        .map(|(letter, found)| format!("{} {}", letter.origin, found.told.join(" and ")))
        .collect();
    let formula = "`owner`: \"=1+1\" begins as a formula, which a spreadsheet would compute; \
                   remove the first character, or allow it with formulas = \"flag\"";
    assert_eq!(
        told,
        [
            "namespaces.csv:3 ",
            "columns.csv:3 `namespace_id`: no row has the key \"n9\" and \
             `parent`: no row has the key \"c4\"",
            "columns.csv:4 `owner`: the cell is empty",
            &format!("columns.csv:5 {formula} and `namespace_id`: no row has the key \"n2\""),
            "columns.csv:6 ",
        ]
    );
    assert!(found[0].dead.is_some() && found[1..].iter().all(|found| found.events.len() == 1));
    // Without a log nobody can say.
    let found = each(&[parse(&corrected())], None, &letters[1..2]);
    assert_eq!((found[0].events.len(), found[0].told.len()), (1, 1));
}

#[test]
fn a_letter_of_an_older_upload_stays_dead_and_so_does_what_cannot_be_read() {
    let log = memory_log();
    let old = [("namespaces.csv", NAMESPACES), ("columns.csv", SIZED)];
    upload(&log, &set(""), &old);
    let letters = letters(&*log);
    let (fixed, letter) = (parse(&corrected()), &letters[0]);
    let missing = corrected().replace("[\"owner\"]", "[\"owner\", \"title\"]");
    let bare = DeadLetter { head: Vec::new(), ..letter.clone() };
    let other = corrected().replace("\"columns\"", "\"fields\"").replace("columns.", "fields.");
    let tenant = corrected().replacen("formulas", "tenant = \"other\"\nformulas", 1);
    for (sets, letter, wanted) in [
        (vec![fixed.clone()], letter, ""),
        (vec![], letter, "there is no \"dataset:catalogue\" any more"),
        (vec![parse(&tenant)], letter, "there is no \"dataset:catalogue\" any more"),
        (vec![parse(&other)], letter, "the set has no file `columns` any more"),
        (vec![parse(&missing)], letter, "it has no column `title`"),
        (vec![fixed.clone()], &bare, "kept without its header"),
    ] {
        let found = each(&sets, Some(&*log), std::slice::from_ref(letter)).remove(0);
        let reason = found.dead.unwrap_or_default();
        assert!(reason.contains(wanted) && reason.is_empty() == wanted.is_empty(), "{reason}");
    }
    upload(&log, &set(""), &[old[0], ("columns.csv", COLUMNS)]);
    let found = each(std::slice::from_ref(&fixed), Some(&*log), &letters[..1]).remove(0);
    assert!(found.dead.unwrap().contains("another upload of its set came after it"));
    // The old one once more is the newest.
    let directory = tempfile::tempdir().unwrap();
    let once_more = Upload::open(&fixed, &files(directory.path(), &old)).unwrap();
    loader(&log, &set("")).again(true).load(&once_more, &mut || true).unwrap();
    let found = each(&[fixed], Some(&*log), &letters[..1]).remove(0);
    assert_eq!((found.dead, found.events.len()), (None, 1));
}

#[test]
fn an_upload_that_begins_after_letters_were_read_is_noticed() {
    let log = memory_log();
    let old = [("namespaces.csv", NAMESPACES), ("columns.csv", SIZED)];
    upload(&log, &set(""), &old);
    let (letters, fixed) = (letters(&*log), parse(&corrected()));
    let mut again = Again::new(std::slice::from_ref(&fixed));
    assert_eq!(again.overtaken(&*log).unwrap(), None, "nothing was read");
    let found = again.reread((&letters[0], ("columns.csv", 3)), "catalogue", Some(&*log)).unwrap();
    assert_eq!(found.events.len(), 1);
    assert_eq!(again.overtaken(&*log).unwrap(), None);
    // It has only begun.
    let directory = tempfile::tempdir().unwrap();
    let new = files(directory.path(), &[old[0], ("columns.csv", COLUMNS)]);
    let new = Upload::open(&set(""), &new).unwrap();
    let mut asked = 0;
    let stopped = loader(&log, &set("")).rows_at_once(1).load(&new, &mut || {
        asked += 1;
        asked < 4
    });
    assert!(stopped.is_err(), "{stopped:?}");
    assert_eq!(again.overtaken(&*log).unwrap(), Some("catalogue"));
}
