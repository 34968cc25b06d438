//! The entry points of `fuzz/` for a fixed number of inputs: good ones, damaged here and there, cut, doubled, and put together.
//! `FUZZ_ROUNDS` says how many, `FUZZ_SEED` which.

use kinit_apiserver::fuzzing::{TARGETS, seeds};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const ROUNDS: u64 = 1000;
/// What means something somewhere.
const WORDS: &[&str] = &[
    "null",
    "-1",
    "0",
    "1e400",
    "9223372036854775808",
    "\"\"",
    "[]",
    "{}",
    "\\u0000",
    "é",
    "\0",
    "%",
    "$patch",
    "(",
    ")",
    "\"",
    ",",
];

fn damaged(seed: &[u8], other: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..5) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..7) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 if random.random_range(0..4) == 0 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + random.random_range(1..12)).min(bytes.len()))),
            4 => {
                let piece = bytes[at..(at + random.random_range(1..64)).min(bytes.len())].to_vec();
                let to = random.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => {
                let from = random.random_range(0..other.len());
                let piece = &other[from..(from + random.random_range(1..32)).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                let end = (at + random.random_range(0..8)).min(bytes.len());
                bytes.splice(at..end, word.bytes());
            }
        }
    }
    bytes
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn nothing_that_strangers_send_ends_in_a_panic() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| target(seed));
        let mut random = StdRng::seed_from_u64(number("FUZZ_SEED", 11));
        for _ in 0..number("FUZZ_ROUNDS", ROUNDS) {
            let [seed, other] = [(); 2].map(|()| &seeds[random.random_range(0..seeds.len())]);
            let input = damaged(seed, other, &mut random);
            target(&input);
        }
    }
}
