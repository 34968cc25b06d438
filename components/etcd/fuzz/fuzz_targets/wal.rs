//! The reader of the log.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kinit_etcd::fuzzing::wal(input));
