//! Any bytes as what a client sends: heads, bodies, requests behind requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rwsgi_fuzz::connection(data));
