//! What Go says of a text that is no regular expression.

/// The message of Go's parser, as near as ours tells what is wrong.
pub fn error(pattern: &str, error: &regex::Error) -> String {
    let said = error.to_string();
    let ours = said.rsplit("error: ").next().unwrap_or_default().trim();
    // Our parser underlines what it means.
    let lines: Vec<&str> = said.lines().collect();
    let marks = lines.iter().find(|line| line.contains('^')).copied().unwrap_or_default();
    let at = marks.find('^').unwrap_or(4).saturating_sub(4);
    let length = marks.matches('^').count();
    let marked: String = pattern.chars().skip(at).take(length).collect();
    let theirs = match ours {
        text if text.starts_with("unclosed group") => format!("missing closing ): `{pattern}`"),
        text if text.starts_with("unopened group") => format!("unexpected ): `{pattern}`"),
        text if text.starts_with("unclosed character class") => {
            let rest: String = pattern.chars().skip(at).collect();
            format!("missing closing ]: `{rest}`")
        }
        text if text.starts_with("look-around") => format!("invalid or unsupported Perl syntax: `{marked}`"),
        text if text.starts_with("repetition operator missing expression") => {
            let rest: String = pattern.chars().skip(at).take(1).collect();
            format!("missing argument to repetition operator: `{rest}`")
        }
        text if text.starts_with("unrecognized escape") => format!("invalid escape sequence: `{marked}`"),
        text if text.starts_with("incomplete escape") => "trailing backslash at end of expression: ``".to_owned(),
        text if text.starts_with("backreferences") => format!("invalid escape sequence: `{marked}`"),
        text if text.starts_with("invalid character class range") => {
            format!("invalid character class range: `{marked}`")
        }
        other => return format!("error parsing regexp: {other}"),
    };
    format!("error parsing regexp: {theirs}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_as_go_does() {
        let cases = [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("*a", "missing argument to repetition operator: `*`"),
        ];
        for (pattern, wanted) in cases {
            let found = regex::Regex::new(pattern).unwrap_err();
            assert_eq!(error(pattern, &found), format!("error parsing regexp: {wanted}"), "{pattern}: {found}");
        }
    }
}
