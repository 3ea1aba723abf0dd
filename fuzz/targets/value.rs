#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipwire_fuzz_targets::run("value", data));
