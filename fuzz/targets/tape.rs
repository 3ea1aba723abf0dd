#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipwire_tests::fuzz::run("tape", data));
