//! Any calls of an application as a response.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rwsgi_fuzz::response(data));
