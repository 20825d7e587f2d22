//! Any bytes as an answer of `http-csv`.

#![no_main]

use std::cell::RefCell;

#[path = "../../services/ingest/tests/support/hostile.rs"]
mod hostile;

thread_local! {
    static VICTIM: RefCell<hostile::Victim> = RefCell::new(hostile::Victim::of("http-csv"));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    VICTIM.with(|victim| victim.borrow_mut().suffer(bytes));
});
