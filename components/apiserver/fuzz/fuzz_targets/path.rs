//! Paths, queries and Accept headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kinit_apiserver::fuzzing::path(input));
