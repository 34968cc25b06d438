//! The clock that leases go by: one that nobody sets, and that goes on while the machine sleeps.

use nix::time::{ClockId, clock_gettime};

use crate::raft::Nanos;

pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every kernel that this runs on has the clock");
    let (seconds, nanos) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
