#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| _native::fuzzing::cut_and_merge(data));
