//! Promises about reading, and about tables and marks as a whole.

use super::{LATEST, Make, Outcome, PRICES, SEEN, price, prices, store};
use tocsin_domain::Micros;
use tocsin_store::{Query, Store, StoreError, Value, Write};

/// Day and id of the rows of shop `s`, in the table's order.
const ROWS: [(i64, &str); 7] =
    [(3, "a"), (2, "a"), (2, "b"), (2, "c"), (1, "a"), (0, "z"), (-4, "")];

fn fill(store: &dyn Store) -> Result<(), StoreError> {
    let scrambled = [4, 2, 6, 0, 3, 1, 5].map(|at: usize| ROWS[at]);
    let writes = scrambled.map(|(day, id)| price(("s", day, id), &format!("{day}{id}"), 0));
    store.apply(&writes)?;
    store.apply(&[price(("other", 9, "z"), "other", 0)])
}

fn wanted<'r>(rows: impl IntoIterator<Item = &'r (i64, &'r str)>) -> Vec<String> {
    rows.into_iter().map(|(day, id)| format!("{day}{id}")).collect()
}

pub(super) fn pages(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    fill(&*store)?;
    let shop = ["s".into()];
    for reversed in [false, true] {
        let mut order = ROWS.to_vec();
        if reversed {
            order.reverse();
        }
        for limit in [1, 2, 3, 100] {
            let (mut found, mut after) = (Vec::new(), Vec::new());
            loop {
                let query = Query { reversed, after, ..Query::of(&PRICES, &shop, limit) };
                let page = store.select(&query)?;
                let Some(last) = page.last() else { break };
                assert!(page.len() <= limit);
                after = PRICES.cursor(last);
                found.extend(prices(&page).into_iter().map(str::to_owned));
            }
            assert_eq!(found, wanted(&order), "reversed: {reversed}, limit: {limit}");
        }
        // A cursor need not be a row that exists, and may be the first column only.
        let cursors: [(Vec<Value>, [std::ops::Range<usize>; 2]); 4] = [
            (vec![2.into(), "bb".into()], [3..7, 0..3]),
            (vec![2.into()], [4..7, 0..1]),
            (vec![99.into(), "x".into()], [0..7, 0..0]),
            (vec![(-99).into()], [0..0, 0..7]),
        ];
        for (after, [beyond, before]) in cursors {
            let query = Query { reversed, after, ..Query::of(&PRICES, &shop, 99) };
            let mut rows = ROWS[if reversed { before } else { beyond }].to_vec();
            if reversed {
                rows.reverse();
            }
            assert_eq!(prices(&store.select(&query)?), wanted(&rows), "{query:?}");
        }
    }
    assert!(store.select(&Query::of(&PRICES, &shop, 0))?.is_empty());
    for nobody in ["nobody".to_owned(), String::new(), "x".repeat(70_000)] {
        assert!(store.select(&Query::of(&PRICES, &[nobody.into()], 9))?.is_empty());
    }
    Ok(())
}

pub(super) fn ranges(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    fill(&*store)?;
    let shop = ["s".into()];
    let bounds = [None, Some(-4), Some(0), Some(1), Some(2), Some(3), Some(9)];
    let cursors: [&[Value]; 4] =
        [&[], &[2.into()], &[2.into(), "a".into()], &[9.into(), "".into()]];
    for (from, until) in bounds.iter().flat_map(|from| bounds.map(|until| (*from, until))) {
        for (after, reversed) in cursors.iter().flat_map(|after| [(*after, false), (*after, true)])
        {
            let query = Query {
                from: from.map(Value::Int),
                until: until.map(Value::Int),
                after: after.to_vec(),
                reversed,
                ..Query::of(&PRICES, &shop, 99)
            };
            // A group that the cursor names whole is behind it in both directions.
            let beyond = |day: i64, id: &str| match after {
                [] => true,
                [first] => {
                    if reversed {
                        Value::Int(day) > *first
                    } else {
                        Value::Int(day) < *first
                    }
                }
                [first, second, ..] => {
                    let order = first.cmp(&day.into()).then_with(|| Value::from(id).cmp(second));
                    if reversed { order.is_lt() } else { order.is_gt() }
                }
            };
            let inside = |(day, id): &&(i64, &str)| {
                from.is_none_or(|from| *day >= from)
                    && until.is_none_or(|until| *day < until)
                    && beyond(*day, id)
            };
            let mut rows: Vec<_> = ROWS.iter().filter(inside).collect();
            if reversed {
                rows.reverse();
            }
            assert_eq!(prices(&store.select(&query)?), wanted(rows), "{query:?}");
        }
    }
    Ok(())
}

pub(super) fn nonsense_is_refused(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let (shop, seven) = (["s".into()], [true.into(), 7.into()]);
    let all = || Query::of(&PRICES, &shop, 9);
    let nonsense = [
        Query { partition: &[], ..all() },
        Query { partition: &[Value::Null], ..all() },
        Query { partition: &[Value::Int(1)], ..all() },
        Query { from: Some("one".into()), ..all() },
        Query { until: Some(Value::Null), ..all() },
        Query { after: vec![1.into(), "x".into(), "y".into()], ..all() },
        Query { after: vec!["x".into()], ..all() },
        Query { from: Some(1.into()), ..Query::of(&LATEST, &seven, 9) },
    ];
    for query in nonsense {
        let refused = store.select(&query);
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{query:?}: {refused:?}");
    }
    Ok(())
}

pub(super) fn large_partition(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let rows: Vec<Write> = (0..10_000)
        .map(|at| price(("s", at / 100, &format!("{:02}", at % 100)), &"x".repeat(100), 0))
        .collect();
    store.apply(&rows)?;
    let shop = ["s".into()];
    assert_eq!(store.select(&Query::of(&PRICES, &shop, usize::MAX))?.len(), 10_000);
    let (mut found, mut after) = (Vec::new(), Vec::new());
    while found.len() < 10_000 {
        let page = store.select(&Query { after, ..Query::of(&PRICES, &shop, 2_300) })?;
        assert!(!page.is_empty(), "only {} rows came", found.len());
        after = page.last().map(|row| PRICES.cursor(row)).unwrap_or_default();
        found.extend(page.into_iter().map(|row| (-row[2].int().unwrap_or(0), row[3].clone())));
    }
    assert!(found.is_sorted() && found.len() == 10_000);
    found.dedup();
    assert_eq!(found.len(), 10_000);
    Ok(())
}

pub(super) fn dumps_are_ordered(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let keys = [("b", 1, "x"), ("a", 2, "y"), ("b", -1, "x"), ("a", 2, "x"), ("c", 0, "")];
    store.apply(&keys.map(|key| price(key, key.0, 0)))?;
    let key = |row: &Vec<Value>| [row[1].clone(), row[2].clone(), row[3].clone()];
    let found: Vec<_> = store.dump(&PRICES)?.iter().map(key).collect();
    assert!(found.is_sorted() && found.len() == keys.len(), "{found:?}");
    Ok(())
}

pub(super) fn marks_and_drop(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    assert_eq!(store.mark("tables")?, None);
    for (name, text) in [("tables", "v1"), ("tables", "v2"), ("other", "")] {
        store.set_mark(name, text)?;
        assert_eq!(store.mark(name)?.as_deref(), Some(text));
    }
    store.apply(&[price(("a", 1, "x"), "1", i64::from(u32::MAX))])?;
    store.drop_all()?;
    assert_eq!((store.mark("tables")?, store.mark("other")?), (None, None));
    assert!(store.dump(&PRICES).is_err(), "the table is still there");
    // Made anew, it is empty, and no old version is in the way of a smaller one.
    store.create(&[&PRICES])?;
    store.apply(&[price(("a", 1, "x"), "2", 1)])?;
    assert_eq!(prices(&store.dump(&PRICES)?), ["2"]);
    store.set_mark("tables", "v3")?;
    assert_eq!(store.mark("tables")?.as_deref(), Some("v3"));
    store.drop_all()?;
    store.drop_all()?;
    Ok(())
}

pub(super) fn creating_again(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    store.apply(&[price(("a", 1, "x"), "1", 0)])?;
    store.apply(&[Write::new(&SEEN, 0, ["x".into(), Micros(1).into()])])?;
    store.create(&[&PRICES, &SEEN, &LATEST])?;
    assert_eq!(prices(&store.dump(&PRICES)?), ["1"]);
    assert_eq!(store.dump(&SEEN)?.len(), 1);
    Ok(())
}
