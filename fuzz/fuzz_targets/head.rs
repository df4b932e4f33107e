//! Any bytes as the head of a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rwsgi_fuzz::head(data));
