//! See `properties.rs`.
#![no_main]

#[path = "../properties.rs"]
#[allow(dead_code, reason = "each target tries one of them")]
mod properties;

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| properties::meta(input.0, input.1));
