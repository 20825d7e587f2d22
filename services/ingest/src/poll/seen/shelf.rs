//! How it is kept what a search has brought: sheets of entries, each sheet a record. What is new goes
//! onto the last sheet, so that a change costs one small record however much is remembered. What
//! stands further on counts; when more stands there twice than once, all of it is written anew.

/// Bytes of an entry: eight of a thing, four of what was said of it. Entries of one thing that follow
/// each other are one answer that said several things of it.
const ENTRY: usize = 12;
/// Entries of a sheet: 12 KiB, as the last one is written again with each change.
const SHEET: usize = 1_024;
/// So many entries may be out of date before anything is written anew for them.
const SPARE: usize = 100;

/// A record: the number of its sheet, and what stands on it; `None` if the sheet is no more.
pub(crate) type Sheet = (u32, Option<Vec<u8>>);

/// The sheets of one search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shelf {
    /// The last sheet.
    last: Vec<(u64, u32)>,
    /// How many are before it, and how many entries these have.
    full: u32,
    filled: usize,
    /// Full ones that no record has yet.
    unwritten: Vec<Sheet>,
    /// How many the log has.
    written: u32,
    is_changed: bool,
    is_stale: bool,
}

impl Shelf {
    /// Reads sheets in their order; `take` is told of each thing what was said of it, the latest last.
    pub fn read<'a>(
        sheets: impl IntoIterator<Item = &'a [u8]>,
        take: &mut dyn FnMut(u64, &[u32]),
    ) -> Shelf {
        let mut shelf = Shelf::default();
        for sheet in sheets {
            shelf.filled += shelf.last.len();
            shelf.last = sheet.chunks_exact(ENTRY).map(entry).collect();
            for one in shelf.last.chunk_by(|a, b| a.0 == b.0) {
                let said: Vec<u32> = one.iter().map(|(_, content)| *content).collect();
                take(one[0].0, &said);
            }
            shelf.written += 1;
        }
        shelf.full = shelf.written.saturating_sub(1);
        shelf
    }

    /// This was said of the thing last, and nothing else.
    pub fn push(&mut self, thing: u64, said: &[u32]) {
        while self.last.last().is_some_and(|(known, _)| *known == thing) {
            self.last.pop();
        }
        if self.last.len() + said.len() > SHEET {
            self.unwritten.push((self.full, Some(bytes(&self.last))));
            self.full += 1;
            self.filled += self.last.len();
            self.last.clear();
        }
        self.last.extend(said.iter().map(|content| (thing, *content)));
        self.is_changed = true;
    }

    /// Something was forgotten: it must not stand here any more.
    pub fn forget(&mut self) {
        self.is_stale = true;
    }

    /// How many records there are.
    pub fn sheets(&self) -> u32 {
        self.written
    }

    /// The records that are not in the log yet, or not so. `all` is everything that counts, `live`
    /// how many entries that takes.
    pub fn changes<'a>(
        &mut self,
        live: usize,
        all: impl Iterator<Item = (u64, &'a [u32])>,
    ) -> Vec<Sheet> {
        if self.is_stale || self.filled + self.last.len() > 2 * live + SPARE {
            *self = Shelf { written: self.written, is_changed: true, ..Shelf::default() };
            all.for_each(|(thing, said)| self.push(thing, said));
        }
        if !std::mem::take(&mut self.is_changed) {
            return Vec::new();
        }
        let mut sheets = std::mem::take(&mut self.unwritten);
        sheets.push((self.full, Some(bytes(&self.last))));
        sheets.extend((self.full + 1..self.written).map(|gone| (gone, None)));
        self.written = self.full + 1;
        sheets
    }
}

fn entry(bytes: &[u8]) -> (u64, u32) {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    (number(&bytes[..8]), number(&bytes[8..]) as u32)
}

fn bytes(entries: &[(u64, u32)]) -> Vec<u8> {
    let bytes = |(thing, content): &(u64, u32)| {
        thing.to_be_bytes().into_iter().chain(content.to_be_bytes())
    };
    entries.iter().flat_map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What is read from these records, as the log has them.
    fn read(log: &BTreeMap<u32, Vec<u8>>) -> (Shelf, BTreeMap<u64, Vec<u32>>) {
        let mut found = BTreeMap::new();
        let shelf = Shelf::read(log.values().map(Vec::as_slice), &mut |thing, said| {
            found.insert(thing, said.to_vec());
        });
        (shelf, found)
    }

    /// Writes what has changed; gives how many bytes that took.
    fn write(shelf: &mut Shelf, log: &mut BTreeMap<u32, Vec<u8>>, all: &[(u64, u32)]) -> usize {
        let said = all.iter().map(|(thing, content)| (*thing, std::slice::from_ref(content)));
        let mut size = 0;
        for (number, sheet) in shelf.changes(all.len(), said) {
            size += sheet.as_ref().map_or(0, Vec::len);
            match sheet {
                Some(sheet) => drop(log.insert(number, sheet)),
                None => drop(log.remove(&number)),
            }
        }
        size
    }

    #[test]
    fn a_change_costs_the_last_sheet_and_a_restart_finds_all() {
        let (mut shelf, mut log) = (Shelf::default(), BTreeMap::new());
        let mut all: Vec<(u64, u32)> = (0..3 * SHEET as u64 + 5).map(|thing| (thing, 7)).collect();
        all.iter().for_each(|(thing, content)| shelf.push(*thing, &[*content]));
        assert_eq!(write(&mut shelf, &mut log, &all), all.len() * ENTRY);
        assert!(log.len() == 4 && log.values().all(|sheet| sheet.len() <= SHEET * ENTRY));
        assert_eq!(write(&mut shelf, &mut log, &all), 0, "nothing is new");

        all[9].1 = 8;
        shelf.push(9, &[8]);
        assert_eq!(write(&mut shelf, &mut log, &all), 6 * ENTRY);
        let (mut shelf, found) = read(&log);
        assert_eq!((found.len(), &found[&9]), (all.len(), &vec![8]), "the later counts");
        shelf.push(10, &[9]);
        assert_eq!(write(&mut shelf, &mut log, &all), 7 * ENTRY, "and it goes on there");
    }

    #[test]
    fn what_is_out_of_date_goes_when_it_is_more_than_what_counts() {
        let (mut shelf, mut log) = (Shelf::default(), BTreeMap::new());
        let mut most = 0;
        for turn in 0..50_000_u32 {
            shelf.push(u64::from(turn % 2), &[turn]);
            let all = [(0, turn - turn % 2), (1, turn)];
            write(&mut shelf, &mut log, &all);
            most = most.max(log.values().map(Vec::len).sum::<usize>() / ENTRY);
        }
        assert!((SPARE..=SPARE + 4).contains(&most), "{most}");

        let all: Vec<(u64, u32)> = (0..2 * SHEET as u64).map(|thing| (thing, 1)).collect();
        all.iter().for_each(|(thing, content)| shelf.push(*thing, &[*content]));
        write(&mut shelf, &mut log, &all);
        assert!(log.len() >= 2);
        shelf.forget();
        write(&mut shelf, &mut log, &all[..3]);
        let (shelf, found) = read(&log);
        assert_eq!((log.len(), shelf.sheets(), found.len()), (1, 1, 3), "others have no record");
    }

    #[test]
    fn several_words_of_one_answer_stay_together_and_those_of_two_answers_do_not() {
        let (mut shelf, mut log) = (Shelf::default(), BTreeMap::new());
        (0..SHEET as u64 - 1).for_each(|thing| shelf.push(thing + 9, &[0]));
        shelf.push(1, &[5, 6]);
        shelf.push(2, &[7]);
        shelf.push(2, &[8]);
        let all: Vec<(u64, u32)> = (0..SHEET as u64 + 1).map(|thing| (thing, 0)).collect();
        write(&mut shelf, &mut log, &all);
        let (_, found) = read(&log);
        assert_eq!((log.len(), &found[&1], &found[&2]), (2, &vec![5, 6], &vec![8]));
    }
}
