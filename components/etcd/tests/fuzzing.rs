//! The entry points of `fuzz/` for a fixed number of inputs: good ones, damaged here and there, cut, and doubled.

use kinit_etcd::fuzzing;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const ROUNDS: u64 = 1500;

fn damaged(seed: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(0..6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + random.random_range(1..20)).min(bytes.len()))),
            4 => {
                let piece = bytes[at..(at + random.random_range(1..64)).min(bytes.len())].to_vec();
                let to = random.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                // A number at its bounds.
                let number: [u8; 8] =
                    [0, 1, u64::MAX, 1 << 63, i64::MAX as u64][random.random_range(0..5)].to_le_bytes();
                let length = (bytes.len() - at).min(8);
                bytes[at..at + length].copy_from_slice(&number[..length]);
            }
        }
    }
    bytes
}

fn run(target: impl Fn(&[u8]), seeds: Vec<Vec<u8>>, rounds: u64) {
    let mut random = StdRng::seed_from_u64(11);
    for seed in &seeds {
        target(seed);
    }
    for round in 0..rounds {
        let input = damaged(&seeds[round as usize % seeds.len()], &mut random);
        target(&input);
    }
}

#[test]
fn the_log_is_read_whatever_it_holds() {
    run(fuzzing::wal, fuzzing::wal_seeds(), 20 * ROUNDS);
}

#[test]
fn snapshots_are_read_whatever_they_hold() {
    run(fuzzing::snapshot, fuzzing::snapshot_seeds(), ROUNDS);
}

#[test]
fn requests_are_answered_whatever_they_say() {
    run(fuzzing::request, fuzzing::request_seeds(), ROUNDS);
}
