//! Whole clusters simulated: every order of events, loss and crash that a seed picks, and the same again for the same
//! seed.
//!
//! Members ([`member`]) lose what was not durable when they crash, messages are lost, doubled, delayed and overtake one
//! another, clocks stand still and leap, members come and go. After every step raft's invariants are checked, at the end
//! that clients have seen one register per key ([`history`]), and that a cluster left in peace works.
//!
//! `RAFT_SEEDS=100000` runs more seeds than usual, `RAFT_SEED=1234` only one.

mod aimed;
mod history;
mod member;
mod world;

use world::World;

const SEEDS: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(members: u64, base: u64) {
    if let Some(seed) = number("RAFT_SEED") {
        return World::new(seed, members).run();
    }
    for seed in base..base + number("RAFT_SEEDS").unwrap_or(SEEDS) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, members).run());
        assert!(outcome.is_ok(), "{members} members fail with RAFT_SEED={seed}");
    }
}

#[test]
fn three_members_stay_one_register() {
    run(3, 0);
}

#[test]
fn five_members_stay_one_register() {
    run(5, 1_000_000);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = || {
        let mut world = World::new(42, 3);
        world.play();
        world.trace()
    };
    assert_eq!(trace(), trace());
}
