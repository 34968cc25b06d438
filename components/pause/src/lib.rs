//! The process that holds a pod's namespaces: it waits, reaps what is left to it, and ends when told to.
//!
//! A pod's containers may share its process namespace; then this is their process 1, to which children whose parents
//! ended are given. It must take their exit status, or they stay as zombies. It does nothing else and opens nothing.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Waits until SIGINT or SIGTERM.
pub fn run() -> Result<(), Errno> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block()?;
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => reap(),
            _ => return Ok(()),
        }
    }
}

/// One SIGCHLD may stand for many children.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
