//! The store does what a naive model does, whatever the bytes say is to be done; see `tests/model/`.
#![no_main]

#[path = "../../tests/model/mod.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|script: &[u8]| model::run(script));
