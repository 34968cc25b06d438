//! Values as Go's flags read them.

/// A truth value in any of the ways that Go takes.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write it as true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_as_go_reads_it() {
        assert_eq!(["1", "T", "true"].map(boolean), [Ok(true), Ok(true), Ok(true)]);
        assert_eq!(["0", "F", "False"].map(boolean), [Ok(false), Ok(false), Ok(false)]);
        assert!(boolean("yes").is_err() && boolean("").is_err());
    }
}
