//! A file of tokens, each with its user: `token,user,uid,"group1,group2"`.

use std::path::Path;

use anyhow::{Context, ensure};
use subtle::ConstantTimeEq;

use super::User;

/// The tokens of a file.
#[derive(Debug, Default)]
pub struct TokenFile(Vec<(String, User)>);

impl TokenFile {
    /// Reads the file; errors name it.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fields = fields(line);
            ensure!(fields.len() >= 3, "line {}: token, user name and user uid are expected", number + 1);
            ensure!(!fields[0].is_empty(), "line {}: the token is empty", number + 1);
            let groups = fields.get(3).map(String::as_str).unwrap_or_default();
            let user = User {
                name: fields[1].clone(),
                uid: fields[2].clone(),
                groups: groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned).collect(),
                ..User::default()
            };
            tokens.push((fields[0].clone(), user));
        }
        Ok(Self(tokens))
    }

    /// The token's user.
    pub fn user(&self, token: &str) -> Option<User> {
        let is = |own: &String| bool::from(own.as_bytes().ct_eq(token.as_bytes()));
        self.0.iter().find(|(own, _)| is(own)).map(|(_, user)| user.clone())
    }
}

/// The fields of a line, which commas part and quotes hold together; a doubled quote within quotes is one.
fn fields(line: &str) -> Vec<String> {
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut field).trim().to_owned()),
            _ => field.push(character),
        }
    }
    all.push(field.trim().to_owned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_users_and_groups() {
        let file = TokenFile::parse("t1,ann,u1,\"a, b\"\n\nt2,bob,u2\n").unwrap();
        let ann = file.user("t1").unwrap();
        assert_eq!(
            (ann.name.as_str(), ann.uid.as_str(), ann.groups.as_slice()),
            ("ann", "u1", &["a".to_owned(), "b".into()][..])
        );
        assert_eq!(file.user("t2").unwrap().groups.len(), 0);
        assert_eq!(file.user("t"), None);
        assert!(TokenFile::parse("t1,ann").is_err() && TokenFile::parse(",ann,u").is_err());
    }
}
