//! The query of a request. Pure.

use http::Request;

/// The pairs of a query, in order; a name may come more than once.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Of a request.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self::parse(request.uri().query().unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let parts = text.split('&').filter(|part| !part.is_empty());
        let decode = |text: &str| percent(&text.replace('+', " "));
        let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
        Self(pairs.map(|(key, value)| (decode(key), decode(value))).collect())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a boolean is on.
    pub fn on(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true"))
    }
}

fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| bytes[index] == b'%') {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let query = Query::parse("command=sh&command=-c&command=a+%2B%20%zz&tty=1&x");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "a + %zz"]);
        assert!(query.on("tty") && !query.on("x"));
        assert_eq!((query.get("x"), query.get("y")), (Some(""), None));
    }
}
