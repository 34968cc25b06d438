//! The servers under test, alone or three together, and what they cost.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use super::common::free_addresses;

/// What is measured, and what it is told besides.
pub struct Program {
    pub path: PathBuf,
    pub flags: Vec<String>,
}

/// A network namespace that a member runs in, and its address there.
#[derive(Clone)]
pub struct Host {
    namespace: String,
    address: IpAddr,
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, address) = text.split_once('=').ok_or("NAMESPACE=ADDRESS is expected")?;
        Ok(Self { namespace: namespace.to_owned(), address: address.parse().map_err(|_| "that is no address")? })
    }
}

/// What a member's memory comes to, in bytes.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub resident: u64,
    /// Without pages of files, which the kernel may take back at any time.
    pub anonymous: u64,
}

/// Members of one cluster, killed when dropped.
pub struct Servers {
    children: Vec<Child>,
    pub addresses: Vec<SocketAddr>,
    data: Option<tempfile::TempDir>,
}

impl Servers {
    /// Starts a cluster on empty directories, a member on each host if there are several of both.
    pub fn start(program: &Program, members: usize, hosts: &[Host]) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let hosts = if members > 1 { hosts } else { &[] };
        let addresses: Vec<[SocketAddr; 2]> = (0..members)
            .map(|number| {
                let mut addresses = free_addresses();
                if let Some(host) = hosts.get(number) {
                    addresses.iter_mut().for_each(|address| address.set_ip(host.address));
                }
                addresses
            })
            .collect();
        let mut servers = Self::with(program, data.path(), &addresses, hosts);
        servers.data = Some(data);
        servers
    }

    /// Starts one member on a directory that may have something in it.
    pub fn start_on(program: &Program, data: &Path) -> Self {
        Self::with(program, data, &[free_addresses()], &[])
    }

    fn with(program: &Program, directory: &Path, addresses: &[[SocketAddr; 2]], hosts: &[Host]) -> Self {
        let url = |address: SocketAddr| format!("http://{address}");
        let cluster: Vec<String> =
            addresses.iter().enumerate().map(|(number, [_, peer])| format!("m{number}={}", url(*peer))).collect();
        let start = |(number, [client, peer]): (usize, &[SocketAddr; 2])| {
            // The tool that enters a namespace becomes the program there, so that the process is the member's own.
            let mut command = Command::new(hosts.get(number).map_or(program.path.as_path(), |_| Path::new("/sbin/ip")));
            if let Some(host) = hosts.get(number) {
                command.args(["netns", "exec", &host.namespace]).arg(&program.path);
            }
            command
                .env_clear()
                .args(["--data-dir", &directory.join(format!("m{number}")).display().to_string()])
                .args(["--name", &format!("m{number}"), "--initial-cluster", &cluster.join(",")])
                .args(["--listen-client-urls", &url(*client), "--advertise-client-urls", &url(*client)])
                .args(["--listen-peer-urls", &url(*peer), "--initial-advertise-peer-urls", &url(*peer)])
                .args(["--log-level=error", "--quota-backend-bytes=16000000000"])
                .args(&program.flags)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program starts")
        };
        let children = addresses.iter().enumerate().map(start).collect();
        Self { children, addresses: addresses.iter().map(|[client, _]| *client).collect(), data: None }
    }

    /// Ends them as a power cut would, as far as processes are concerned, and gives the data back.
    pub fn kill_and_keep(mut self) -> tempfile::TempDir {
        self.data.take().expect("a directory of its own")
    }

    fn each<T>(&self, figure: impl Fn(u32) -> T) -> Vec<T> {
        self.children.iter().map(|child| figure(child.id())).collect()
    }

    /// Seconds of processor time that all of them have taken.
    pub fn cpu(&self) -> f64 {
        self.each(cpu_seconds).iter().sum()
    }

    pub fn memory(&self) -> Memory {
        self.each(memory).into_iter().fold(Memory::default(), |sum, each| Memory {
            resident: sum.resident + each.resident,
            anonymous: sum.anonymous + each.anonymous,
        })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Seconds of processor time of a process.
pub fn cpu_seconds(process: u32) -> f64 {
    // Nanoseconds of the threads that run, unlike the figures in `stat`, which are in ticks.
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanoseconds = spent.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum();
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

fn memory(process: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok());
        value.map_or(0, |kilobytes: u64| kilobytes << 10)
    };
    Memory { resident: field("VmRSS:"), anonymous: field("RssAnon:") }
}
