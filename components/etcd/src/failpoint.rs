//! Places of the write path at which tests make the member fail.
//!
//! In a build for debugging the variable `FAILPOINT` names one, as `wal.sync=3*crash`: the third time it is passed the
//! process ends at once, as in a power cut, or (`error`) the disk is said to be full. Other builds have none of it.

#[cfg(debug_assertions)]
mod plan {
    use std::io;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Plan {
        place: String,
        /// How often it is passed before.
        left: AtomicU64,
        crash: bool,
    }

    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| parse(&std::env::var("FAILPOINT").ok()?));

    fn parse(text: &str) -> Option<Plan> {
        let (place, what) = text.split_once('=')?;
        let (number, kind) = what.split_once('*')?;
        let left = AtomicU64::new(number.parse().ok()?);
        Some(Plan { place: place.to_owned(), left, crash: kind == "crash" })
    }

    /// Passes a place.
    pub fn pass(place: &str) -> io::Result<()> {
        let Some(plan) = PLAN.as_ref().filter(|plan| plan.place == place) else { return Ok(()) };
        // It happens once; whoever goes on after an error must not be stopped by the next.
        if plan.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) != Ok(1) {
            return Ok(());
        }
        if plan.crash {
            std::process::abort();
        }
        Err(io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_plan_is_read() {
            let plan = parse("wal.sync=3*crash").expect("good");
            assert_eq!((plan.place.as_str(), plan.left.into_inner(), plan.crash), ("wal.sync", 3, true));
            assert!(parse("wal.sync").is_none() && parse("wal.sync=x*error").is_none());
        }
    }
}

#[cfg(debug_assertions)]
pub use plan::pass;

/// Passes a place; nothing happens.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn pass(_: &str) -> std::io::Result<()> {
    Ok(())
}
