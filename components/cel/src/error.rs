//! Errors of compiling, shown with the line they are in, and errors of evaluating.

use std::fmt;

/// What is wrong with an expression, at a character of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub at: usize,
    pub text: String,
}

/// All that is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    text: String,
    pub issues: Vec<Issue>,
}

impl CompileError {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|issue| issue.at);
        Self { text: source.to_owned(), issues }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.issues.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let (mut line, mut column) = (1, 0);
            for character in self.text.chars().take(issue.at) {
                if character == '\n' {
                    (line, column) = (line + 1, 0);
                } else {
                    column += 1;
                }
            }
            let text = self.text.lines().nth(line - 1).unwrap_or_default().replace('\t', " ");
            write!(f, "ERROR: <input>:{line}:{}: {}\n | {text}\n | {}^", column + 1, issue.text, ".".repeat(column))?;
        }
        Ok(())
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    #[error("no such overload")]
    NoSuchOverload,
    #[error("no such key: {0}")]
    NoSuchKey(String),
    #[error("{0}")]
    Other(String),
    /// The expression did more than it may; nothing in it can catch that.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
}

impl EvalError {
    pub fn new(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}
