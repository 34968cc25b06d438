//! Objects in each encoding, on their way to where they are stored.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kinit_apiserver::fuzzing::object(input));
