//! Promises about writing.

use super::{LATEST, Make, Outcome, PRICES, SEEN, price, prices, store};
use tocsin_domain::Micros;
use tocsin_store::{Query, StoreError, Value, Write};

pub(super) fn order_decides_nothing(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let writes = [
        [price(("a", 1, "x"), "old", 1), price(("a", 1, "x"), "new", 2)],
        [price(("a", 2, "x"), "old", (1, 1)), price(("a", 2, "x"), "new", (1, 2))],
        [price(("a", 3, "x"), "old", (1, 9)), price(("a", 3, "x"), "new", (2, 0))],
        [price(("a", 4, "x"), "old", -5), price(("a", 4, "x"), "new", -4)],
        // Decades ahead: some clock is always wrong.
        [price(("a", 5, "x"), "old", 0), price(("a", 5, "x"), "new", 4_000_000_000_000_000)],
        [price(("a", 6, "x"), "less", 7), price(("a", 6, "x"), "new!!", 7)],
    ];
    let orders: [&[usize]; 6] = [&[0, 1], &[1, 0], &[1, 1, 0, 0], &[0, 1, 0], &[1], &[1, 0, 1]];
    for (number, order) in orders.iter().enumerate() {
        for together in [true, false] {
            let shop = format!("{number} {together}");
            for pair in &writes {
                let mut batch: Vec<Write> = order.iter().map(|at| pair[*at].clone()).collect();
                batch.iter_mut().for_each(|write| write.row[1] = shop.as_str().into());
                for part in batch.chunks(if together { batch.len() } else { 1 }) {
                    store.apply(part)?;
                }
            }
            let rows = store.select(&Query::of(&PRICES, &[shop.as_str().into()], 99))?;
            let wanted = ["new!!", "new", "new", "new", "new", "new"];
            assert_eq!(prices(&rows), wanted, "{order:?}, together: {together}");
        }
    }
    Ok(())
}

pub(super) fn rows_are_whole(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    // Of one version. Each is the greater one in some column; only one may stand, and whole.
    let row = |price: &str, sold: Value, fresh: Value, at: i64| {
        let key = ["s".into(), 1.into(), "i".into()];
        let [shop, day, id] = key;
        Write::new(&PRICES, 5, [price.into(), shop, day, id, sold, fresh, Micros(at).into()])
    };
    let rivals = [
        row("short", 9.into(), true.into(), 9),
        row("longer", 1.into(), false.into(), 1),
        row("longer", Value::Null, true.into(), -1),
        row("", (-1).into(), Value::Null, 5),
    ];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        for together in [true, false] {
            store.drop_all()?;
            store.create(&[&PRICES])?;
            let batch = order.map(|at| rivals[at].clone());
            for part in batch.chunks(if together { 4 } else { 1 }) {
                store.apply(part)?;
            }
            assert_eq!(store.dump(&PRICES)?, [rivals[2].row.clone()], "{order:?}, {together}");
        }
    }
    Ok(())
}

pub(super) fn repeats_change_nothing(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let writes: Vec<Write> = (0..50)
        .map(|at| price(("a", at % 7, &format!("{}", at % 3)), &at.to_string(), at))
        .collect();
    store.apply(&writes)?;
    let before = store.dump(&PRICES)?;
    assert_eq!(before.len(), 21);
    store.apply(&writes)?;
    for write in &writes {
        store.apply(std::slice::from_ref(write))?;
    }
    store.apply(&[])?;
    assert_eq!(store.dump(&PRICES)?, before);
    Ok(())
}

pub(super) fn nulls_overwrite(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let key = || ["s".into(), Value::from(1), "i".into()];
    let row = |version: i64, price: Value, rest: [Value; 3]| {
        let ([shop, day, id], [sold, fresh, at]) = (key(), rest);
        Write::new(&PRICES, version, [price, shop, day, id, sold, fresh, at])
    };
    let nulls = || [Value::Null, Value::Null, Value::Null];
    let full = row(1, "1".into(), [1.into(), true.into(), Micros(1).into()]);
    let empty = row(2, Value::Null, nulls());
    store.apply(std::slice::from_ref(&full))?;
    store.apply(std::slice::from_ref(&empty))?;
    assert_eq!(store.dump(&PRICES)?, std::slice::from_ref(&empty.row));
    // An older value does not come back, and a newer one stands over the null.
    store.apply(&[full])?;
    assert_eq!(store.dump(&PRICES)?, [empty.row]);
    let again = row(3, "3".into(), nulls());
    store.apply(std::slice::from_ref(&again))?;
    assert_eq!(store.dump(&PRICES)?, [again.row]);
    Ok(())
}

pub(super) fn values_come_back(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let long = "ä€😀\0'\"; DROP TABLE prices; --\n".repeat(30_000);
    let texts = ["", " ", "0", "null", "ß\u{0301}", &long];
    let numbers = [0, 1, -1, i64::MAX, i64::MIN, 1_700_000_000_000_001];
    let mut wanted = Vec::new();
    for (at, (text, number)) in texts.iter().zip(numbers).enumerate() {
        let row = [
            (*text).into(),
            "shop \u{1F514}".into(),
            number.into(),
            format!("{at}").into(),
            number.into(),
            (at % 2 == 0).into(),
            Micros(number).into(),
        ];
        wanted.push(Write::new(&PRICES, 1, row));
    }
    store.apply(&wanted)?;
    wanted.sort_by_key(|write| std::cmp::Reverse(write.row[2].int()));
    let found = store.select(&Query::of(&PRICES, &["shop \u{1F514}".into()], 99))?;
    assert_eq!(found, wanted.into_iter().map(|write| write.row).collect::<Vec<_>>());

    let seen = [-1, 0, 1].map(|at| Write::new(&SEEN, 0, ["x".into(), Micros(at).into()]));
    store.apply(&seen)?;
    assert_eq!(store.dump(&SEEN)?, seen.map(|write| write.row));
    let latest = Write::new(&LATEST, 0, [7.into(), true.into(), Value::Null]);
    store.apply(std::slice::from_ref(&latest))?;
    let found = store.select(&Query::of(&LATEST, &[true.into(), 7.into()], 1))?;
    assert_eq!(found, [latest.row]);
    assert!(store.select(&Query::of(&LATEST, &[false.into(), 7.into()], 1))?.is_empty());
    Ok(())
}

pub(super) fn misfits_are_refused(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let broken = |at: usize, value: Option<Value>| {
        let mut write = price(("a", 1, "x"), "1", 0);
        write.row.splice(at..=at, value);
        write
    };
    let bad = [
        broken(6, None),
        broken(1, Some(Value::Null)),
        broken(2, Some("one".into())),
        broken(0, Some(1.into())),
        broken(1, Some("".into())),
        broken(3, Some("x".repeat(70_000).into())),
    ];
    for bad in bad {
        let refused = store.apply(&[price(("a", 2, "y"), "2", 0), bad]);
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    }
    assert!(store.dump(&PRICES)?.is_empty());
    Ok(())
}

pub(super) fn many_at_once(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    // Small and large partitions, two tables, and each row in two versions.
    let mut writes = Vec::new();
    for at in 0..8_000_i64 {
        let shop = if at % 2 == 0 { format!("shop {at}") } else { format!("large {}", at % 7) };
        writes.push(price((&shop, at, "x"), "new", 2));
        writes.push(price((&shop, at, "x"), "old", 1));
        if at < 4_000 {
            writes.push(Write::new(&SEEN, 0, ["x".into(), Micros(at).into()]));
        }
    }
    assert_eq!(writes.len(), 20_000);
    store.apply(&writes)?;
    let rows = store.dump(&PRICES)?;
    assert_eq!(rows.len(), 8_000);
    assert!(rows.iter().all(|row| row[0].text() == "new"));
    assert_eq!(store.dump(&SEEN)?.len(), 4_000);
    Ok(())
}

pub(super) fn concurrent_writers(make: Make<'_>) -> Outcome {
    let store = store(make)?;
    let day = |writer: i64, turn: i64| -> Vec<Write> {
        let row =
            |id: i64| price(("a", id % 5, &id.to_string()), &writer.to_string(), turn * 4 + writer);
        (0..100).map(row).collect()
    };
    let failed: Vec<StoreError> = std::thread::scope(|scope| {
        let write = |writer: i64| {
            let store = &store;
            scope.spawn(move || (0..5).find_map(|turn| store.apply(&day(writer, turn)).err()))
        };
        let writers = [0, 1, 2, 3].map(write);
        writers.into_iter().filter_map(|writer| writer.join().ok().flatten()).collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
    let rows = store.dump(&PRICES)?;
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|row| row[0].text() == "3"), "{rows:?}");
    Ok(())
}
