//! Versions of Kubernetes.

use std::fmt;
use std::str::FromStr;

/// `v1.36.0`; what follows a dash or a plus is kept but not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
    rest: String,
}

impl Version {
    /// The three numbers, for comparing.
    pub fn numbers(&self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch)
    }

    /// Whether it was released: it says neither alpha, beta nor rc.
    pub fn is_release(&self) -> bool {
        !self.rest.starts_with('-')
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no version");
        let plain = text.strip_prefix('v').unwrap_or(text);
        let end = plain.find(['-', '+']).unwrap_or(plain.len());
        let (numbers, rest) = plain.split_at(end);
        let numbers: Vec<u32> = numbers.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let [major, minor, patch] = numbers[..] else { return Err(wrong()) };
        Ok(Self { major, minor, patch, rest: rest.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}{}", self.major, self.minor, self.patch, self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_written() {
        for (text, numbers, release) in [
            ("v1.36.0", (1, 36, 0), true),
            ("1.35.11", (1, 35, 11), true),
            ("v1.37.0-rc.1", (1, 37, 0), false),
            ("v1.36.2+k3", (1, 36, 2), true),
        ] {
            let version: Version = text.parse().unwrap();
            assert_eq!((version.numbers(), version.is_release()), (numbers, release));
            assert_eq!(version.to_string().trim_start_matches('v'), text.trim_start_matches('v'));
        }
        for bad in ["", "v1", "v1.36", "v1.x.0", "stable"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
