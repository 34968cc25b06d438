//! Definitions, and objects of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kinit_apiserver::fuzzing::definition(input));
