//! Values that somebody else's schema describes: before the first line end any schema, and behind it any
//! bytes as a body that it wrote. What comes of it is JSON of bounded size.

use crate::target::Target;
use tocsin_domain::wire::foreign::{Foreign, Foreigners};
use tocsin_domain::wire::{compatible, fingerprint};

/// What one body may become: each of its bytes may be a value, and values have names.
const ROOM: usize = 64 << 20;

pub(super) fn targets() -> Vec<Target> {
    vec![Target { name: "foreign", open: |_| Box::new(suffer) }]
}

fn suffer(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (schema, body) = (&bytes[..end], &bytes[end + 1..]);
    let Ok(schema) = std::str::from_utf8(schema) else { return };
    _ = fingerprint(schema);
    _ = compatible(&[schema, schema]);
    let Ok(foreign) = Foreign::parse(schema) else { return };
    let bare = foreign.read(body);
    if let Ok(value) = &bare {
        assert!(value.to_string().len() < ROOM);
    }
    let mut known = Foreigners::default();
    let learnt = known.learn(7, schema);
    assert!(learnt.is_ok(), "{learnt:?}");
    let framed = [&[0, 0, 0, 0, 7], body].concat();
    assert_eq!(known.read(&framed).is_ok(), bare.is_ok());
    _ = known.add(schema);
    _ = known.read(body);
}
