//! Running the host's programs.
//!
//! The image holds one static binary, so `nft` is the host's, whose root is mounted at `/host`. A child of this
//! program changes its root there and then becomes the wanted program. Outside of a container there is no `/host`, and
//! the program is run as it is.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the host's root is mounted.
const ROOT: &str = "/host";
/// The first argument that makes a child become a program of the host.
const MARK: &str = "become-host-program";
/// Where the host's programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes a program of the host if this process was started to; otherwise returns at once. To be called first in
/// `main`.
pub fn become_host_program() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != MARK) {
        return;
    }
    let Some(program) = arguments.next() else { std::process::exit(2) };
    let entered = std::os::unix::fs::chroot(ROOT).and_then(|()| std::env::set_current_dir("/"));
    let error = match entered {
        Ok(()) => Command::new(&program).args(arguments).env("PATH", PATH).exec(),
        Err(error) => error,
    };
    // Nobody has set logging up in this process; its standard error is read by the parent.
    let _ = writeln!(std::io::stderr(), "cannot run the host's {}: {error}", program.display());
    std::process::exit(127);
}

/// Runs a program of the host with an input; blocks until it ended. The error is what it said.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{program}: {error}");
    let mut command = if Path::new(ROOT).join("usr").is_dir() {
        let own = std::env::current_exe().map_err(fail)?;
        let mut command = Command::new(own);
        command.arg(MARK).arg(program);
        command
    } else {
        Command::new(program)
    };
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early says why itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(fail)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
