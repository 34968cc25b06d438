//! Writes the inputs to begin with into `corpus/`, as the code makes them now.

use kinit_apiserver::fuzzing::{TARGETS, seeds};
// What counts coverage wants the fuzzer to be linked, which is not run.
use libfuzzer_sys as _;

fn main() -> std::io::Result<()> {
    for (target, _) in TARGETS {
        let directory = std::path::Path::new("corpus").join(target);
        std::fs::create_dir_all(&directory)?;
        for (number, seed) in seeds(target).into_iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
