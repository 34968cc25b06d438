//! The `Accept` header: its clauses in the order in which a client wants them; pure.

/// One clause: a range of media types and what it asks of them beside.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause<'a> {
    /// What stands before the slash; `*` for any.
    pub kind: &'a str,
    /// What stands behind the slash; `*` for any.
    pub subtype: &'a str,
    /// Names and values, without the quality, and without quotes.
    pub parameters: Vec<(&'a str, &'a str)>,
    /// How much it is wanted, 0 to 1.
    pub quality: f32,
}

/// The clauses of a header, the most wanted first; equally wanted ones by how much they say, then in their order.
pub fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    let generality = |clause: &Clause<'_>| u8::from(clause.kind == "*") + u8::from(clause.subtype == "*");
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(generality(a).cmp(&generality(b))));
    clauses
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next()?;
        let (kind, subtype) = if media == "*" { ("*", "*") } else { media.split_once('/')? };
        let pairs = parts.filter_map(|part| part.split_once('='));
        let mut parameters: Vec<(&str, &str)> =
            pairs.map(|(key, value)| (key.trim(), value.trim().trim_matches('"'))).collect();
        let quality = parameters.iter().find(|(key, _)| *key == "q").and_then(|(_, value)| value.parse().ok());
        parameters.retain(|(key, _)| *key != "q");
        Some(Self { kind, subtype, parameters, quality: quality.unwrap_or(1.0) })
    }

    /// Whether `media`, a type without parameters, is in the range.
    pub fn takes(&self, media: &str) -> bool {
        let (kind, subtype) = media.split_once('/').unwrap_or_default();
        matches!((self.kind, self.subtype), ("*", "*"))
            || self.kind == kind && matches!(self.subtype, own if own == "*" || own == subtype)
    }

    /// The value of a parameter; empty where it is not there.
    pub fn parameter(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value).unwrap_or_default()
    }
}

/// Whether JSON is to have line breaks: `parameter` is the value of `?pretty`, and people who look with a browser or with
/// curl (`agent`, the User-Agent) get them without asking.
pub fn pretty(parameter: &str, agent: &str) -> bool {
    match parameter {
        "" => ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| agent.starts_with(known)),
        value => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_come_in_the_order_in_which_they_are_wanted() {
        let header = "*/*, text/*, text/plain;q=0.5, application/json;v=v1;as=\"Table\", bad";
        let kinds: Vec<(&str, &str)> = clauses(header).iter().map(|clause| (clause.kind, clause.subtype)).collect();
        assert_eq!(kinds, [("application", "json"), ("text", "*"), ("*", "*"), ("text", "plain")]);
        let first = &clauses(header)[0];
        assert_eq!((first.parameter("as"), first.parameter("g")), ("Table", ""));
        assert!(first.takes("application/json") && !first.takes("application/yaml"));
        assert!(clauses("text/*")[0].takes("text/plain") && clauses("*")[0].takes("a/b"));
    }

    #[test]
    fn browsers_and_those_who_ask_get_line_breaks() {
        assert!(pretty("", "curl/8") && pretty("true", "") && !pretty("false", "curl/8") && !pretty("", "kubectl"));
    }
}
