//! Where to connect to.

use std::fmt;
use std::str::FromStr;

use super::Error;
use crate::config::net::{host_port, split_host_port};

const SSH_PORT: u16 = 22;

/// A user at a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who to be there.
    pub user: String,
    /// Name or address.
    pub host: String,
    /// Port of sshd.
    pub port: u16,
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason| Error::Target { text: text.to_owned(), reason };
        let rest = text.strip_prefix("ssh://").unwrap_or(text).trim_end_matches('/');
        let (user, host) = rest.split_once('@').unwrap_or(("root", rest));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if user.is_empty() || !user.chars().all(plain) || user.starts_with('-') {
            return Err(fail("the user name is not one"));
        }
        let (host, port) =
            split_host_port(host, SSH_PORT).map_err(|_| fail("the host is neither an address nor a name"))?;
        Ok(Self { user: user.to_owned(), host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            SSH_PORT => write!(f, "{}@{}", self.user, self.host),
            port => write!(f, "{}@{}", self.user, host_port(&self.host, port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        for (text, user, host, port) in [
            ("root@w1", "root", "w1", 22),
            ("w1", "root", "w1", 22),
            ("ssh://admin@10.0.0.1:2222/", "admin", "10.0.0.1", 2222),
            ("root@[fd00::1]:22", "root", "fd00::1", 22),
        ] {
            let wanted = Target { user: user.into(), host: host.into(), port };
            assert_eq!(text.parse::<Target>().unwrap(), wanted);
        }
        for bad in ["", "@w1", "root@", "-o@w1", "root@-x", "root@a b", "root@w1:x", "a;b@w1"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
