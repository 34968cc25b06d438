//! Connections to hosts that configurations name; where there is none, the error says so in the words of Go's dialler, which are
//! what clients of upstream's server see.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};

const RESOLVERS: &str = "/etc/resolv.conf";

/// A connection to one of the host's addresses; the error is that of the first.
pub async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses: Vec<SocketAddr> = match lookup_host((host, port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(unknown(host, &error).await),
    };
    let mut first = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it small messages wait for acknowledgements; the connection works all the same.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => first = first.or_else(|| Some(format!("dial tcp {address}: {}", in_go(&error)))),
        }
    }
    Err(first.unwrap_or_else(|| format!("dial tcp: lookup {host}: no such host")))
}

/// Why a connection could not be made, as Go tells it.
fn in_go(error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::HostUnreachable => "no route to host",
        io::ErrorKind::NetworkUnreachable => "network is unreachable",
        io::ErrorKind::TimedOut => "connection timed out",
        _ => return error.to_string(),
    };
    format!("connect: {why}")
}

async fn unknown(host: &str, error: &io::Error) -> String {
    let said = error.to_string();
    let why = if said.contains("Temporary failure") { "server misbehaving" } else { "no such host" };
    let resolvers = tokio::fs::read_to_string(RESOLVERS).await.unwrap_or_default();
    format!("dial tcp: lookup {host} on {}: {why}", resolver(&resolvers))
}

/// The name server that is asked first, with its port.
fn resolver(file: &str) -> String {
    let named = file.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())
    });
    match named {
        Some(address) if address.contains(':') => format!("[{address}]:53"),
        Some(address) => format!("{address}:53"),
        None => "127.0.0.1:53".to_owned(),
    }
}

/// What went wrong on a connection that stood. `ends` are its own address and the other's.
pub fn broken(error: &(dyn std::error::Error + 'static), ends: Option<(SocketAddr, SocketAddr)>) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        match (kind, ends) {
            (Some(io::ErrorKind::ConnectionReset), Some((own, other))) => {
                return Some(format!("read tcp {own}->{other}: read: connection reset by peer"));
            }
            (Some(io::ErrorKind::BrokenPipe), Some((own, other))) => {
                return Some(format!("write tcp {own}->{other}: write: broken pipe"));
            }
            (Some(io::ErrorKind::UnexpectedEof), _) => return Some("EOF".to_owned()),
            _ => {}
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return Some("EOF".to_owned());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_server_is_told() {
        for (file, wanted) in [
            ("", "127.0.0.1:53"),
            ("# nameserver 9.9.9.9\nsearch a\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n", "10.0.0.2:53"),
            ("nameserver fd00::1\n", "[fd00::1]:53"),
        ] {
            assert_eq!(resolver(file), wanted, "{file}");
        }
    }

    #[tokio::test]
    async fn hosts_that_cannot_be_had_are_told_as_go_tells_them() {
        let nobody = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let refused = dial("127.0.0.1", nobody).await.unwrap_err();
        assert_eq!(refused, format!("dial tcp 127.0.0.1:{nobody}: connect: connection refused"));
        let unknown = unknown("a.invalid", &io::Error::other("Name or service not known")).await;
        assert!(unknown.starts_with("dial tcp: lookup a.invalid on "), "{unknown}");
        assert!(unknown.ends_with(":53: no such host"), "{unknown}");
    }

    #[test]
    fn broken_connections_are_told_as_go_tells_them() {
        let ends = Some(("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()));
        for (kind, wanted) in [
            (io::ErrorKind::ConnectionReset, Some("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer")),
            (io::ErrorKind::BrokenPipe, Some("write tcp 127.0.0.1:1->127.0.0.1:2: write: broken pipe")),
            (io::ErrorKind::UnexpectedEof, Some("EOF")),
            (io::ErrorKind::InvalidData, None),
        ] {
            assert_eq!(broken(&io::Error::from(kind), ends).as_deref(), wanted, "{kind}");
        }
    }
}
