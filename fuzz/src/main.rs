//! One target under libFuzzer: `TOCSIN_FUZZ` names it. `scripts/fuzz` builds and runs this.

#![no_main]
#![allow(clippy::panic, reason = "whoever runs it must hear what is missing")]

use std::cell::RefCell;
use tocsin_fuzz::{Suffer, targets};

thread_local! {
    /// Never dropped: libFuzzer ends the process where threads of a target may still run.
    static TARGET: RefCell<&'static mut Suffer> = RefCell::new(Box::leak(Box::new(open())));
}

fn open() -> Suffer {
    let name = std::env::var("TOCSIN_FUZZ").unwrap_or_default();
    let Some(target) = targets::named(&name) else {
        let names: Vec<&str> = targets::all().iter().map(|target| target.name).collect();
        panic!("TOCSIN_FUZZ is {name:?}, which is no target; allowed: {}", names.join(", "));
    };
    target.open()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET.with_borrow_mut(|target| target(bytes)));
