//! Writes the inputs to begin with into `corpus/`, as the code makes them now.

use kinit_etcd::fuzzing;
// What counts coverage wants the fuzzer to be linked, which is not run.
use libfuzzer_sys as _;

fn main() -> std::io::Result<()> {
    let all =
        [("wal", fuzzing::wal_seeds()), ("snapshot", fuzzing::snapshot_seeds()), ("request", fuzzing::request_seeds())];
    for (target, seeds) in all {
        let directory = std::path::Path::new("corpus").join(target);
        std::fs::create_dir_all(&directory)?;
        for (number, seed) in seeds.into_iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
