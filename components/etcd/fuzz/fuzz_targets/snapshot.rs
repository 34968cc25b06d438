//! The reader of snapshots.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kinit_etcd::fuzzing::snapshot(input));
