#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mantlet_fuzz::expression(data));
