//! The road of a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kinit_etcd::fuzzing::request(input));
