//! Flags of upstream's that a component has no code for: taken, because command lines and files have them, or refused, because
//! whoever gives them would count on something that does not happen.

use std::marker::PhantomData;

use clap::builder::Command;
use clap::{Arg, ArgAction, ArgMatches, Args, Error, FromArgMatches};
use serde_json::{Map, Value, json};

use crate::go::boolean;

/// What becomes of such a flag.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Taken with any value; the text says why nothing follows.
    Idle(&'static str),
    /// Taken with these values alone; the text says what to do instead.
    Only(&'static [&'static str], &'static str),
    /// Taken as this field of the component's configuration, with dots between the steps.
    Field(&'static str, Shape),
}

/// How a flag's text becomes a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As it is.
    Text,
    /// A number, whole or not.
    Number,
    /// `true` or `false`; the flag may stand alone.
    Switch,
    /// Texts with commas between them.
    List,
    /// `name=value` with commas between them, `<` in place of `=` too: an object of texts.
    Map,
}

/// A flag: its name without the dashes, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Without the dashes.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// Whether it may stand alone.
    switch: bool,
    /// Whether it has a second name, which begins with `experimental-`.
    experimental: bool,
}

/// A flag that is taken for nothing; `why` ends "--name has no effect: ".
pub const fn idle(name: &'static str, why: &'static str) -> Row {
    Row { name, fate: Fate::Idle(why), switch: false, experimental: false }
}

/// A flag that is taken with these values alone. It is a switch where `true` or `false` is the first or the second of them.
pub const fn only(name: &'static str, values: &'static [&'static str], instead: &'static str) -> Row {
    let mut switch = false;
    let mut at = 0;
    while at < values.len() {
        switch = switch || matches!(values[at].as_bytes(), b"true" | b"false");
        at += 1;
    }
    Row { name, fate: Fate::Only(values, instead), switch, experimental: false }
}

/// A flag that is the configuration's field at `path`.
pub const fn field(name: &'static str, path: &'static str, shape: Shape) -> Row {
    Row { name, fate: Fate::Field(path, shape), switch: matches!(shape, Shape::Switch), experimental: false }
}

impl Row {
    /// The same, which may stand alone.
    pub const fn switch(self) -> Self {
        Self { switch: true, ..self }
    }

    /// The same, by the name with `experimental-` before it, too.
    pub const fn once_experimental(self) -> Self {
        Self { experimental: true, ..self }
    }
}

/// The flags of one component.
pub trait Table {
    /// Whose flags they are, for the heading in the help: `upstream's`.
    const WHOSE: &'static str;
    /// All of them; a name is there once.
    const GROUPS: &'static [&'static [Row]];

    /// Each of them.
    fn rows() -> impl Iterator<Item = &'static Row> {
        Self::GROUPS.iter().copied().flatten()
    }
}

/// What must not be passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag} cannot be {value:?} here: {instead}")]
pub struct Refused {
    /// The flag's name.
    pub flag: &'static str,
    /// Its value.
    pub value: String,
    /// What to do instead.
    pub instead: String,
}

/// The flags of a [`Table`] that were given.
#[derive(Debug)]
pub struct Foreign<T> {
    given: Vec<(&'static Row, String)>,
    table: PhantomData<fn() -> T>,
}

impl<T> Clone for Foreign<T> {
    fn clone(&self) -> Self {
        Self { given: self.given.clone(), table: PhantomData }
    }
}

impl<T> Default for Foreign<T> {
    fn default() -> Self {
        Self { given: Vec::new(), table: PhantomData }
    }
}

impl<T> Foreign<T> {
    /// The flags that were given for nothing, each with the reason.
    pub fn idle(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.given.iter().filter_map(|(row, _)| match row.fate {
            Fate::Idle(why) => Some((row.name, why)),
            _ => None,
        })
    }

    /// What must not be passed over, with what to do instead.
    pub fn refused(&self) -> Option<Refused> {
        self.given.iter().find_map(|(row, value)| {
            let instead = match row.fate {
                Fate::Only(values, instead) if !values.contains(&plain(row, value).as_str()) => instead.to_owned(),
                Fate::Field(_, shape) => shape.read(value).err()?,
                _ => return None,
            };
            Some(Refused { flag: row.name, value: value.clone(), instead })
        })
    }

    /// Tells the log of what has no effect; what is refused is the error.
    pub fn settle(&self) -> Result<(), Refused> {
        self.refused().map_or(Ok(()), Err)?;
        for (flag, why) in self.idle() {
            tracing::warn!("--{flag} has no effect: {why}");
        }
        Ok(())
    }

    /// Whether a flag was given that is a field of the configuration.
    pub fn has_fields(&self) -> bool {
        self.given.iter().any(|(row, _)| matches!(row.fate, Fate::Field(..)))
    }

    /// Writes the flags that are fields into the configuration, where they overrule what it has, maps as a whole.
    pub fn fill(&self, configuration: &mut Value) -> Result<(), Refused> {
        for (row, value) in &self.given {
            let Fate::Field(path, shape) = row.fate else { continue };
            let read = shape.read(value);
            let read = read.map_err(|instead| Refused { flag: row.name, value: value.clone(), instead })?;
            let mut place = &mut *configuration;
            for step in path.split('.') {
                if !place.is_object() {
                    *place = json!({});
                }
                place = &mut place[step];
            }
            *place = read;
        }
        Ok(())
    }
}

/// A switch's value in the one way in which tables have it.
fn plain(row: &Row, value: &str) -> String {
    match boolean(value) {
        Ok(value) if row.switch => value.to_string(),
        _ => value.to_owned(),
    }
}

impl Shape {
    fn read(self, text: &str) -> Result<Value, String> {
        let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        match self {
            Self::Text => Ok(Value::from(text)),
            Self::Number => text
                .parse::<i64>()
                .map(Value::from)
                .or_else(|_| text.parse::<f64>().map(Value::from))
                .map_err(|_| "it must be a number".to_owned()),
            Self::Switch => boolean(text).map(Value::from),
            Self::List => Ok(parts().collect()),
            Self::Map => {
                let pair = |part: &str| {
                    let (name, value) = part.split_once(['=', '<']).ok_or("it must be name=value,...")?;
                    Ok((name.trim().to_owned(), Value::from(value.trim())))
                };
                parts().map(pair).collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
        }
    }
}

impl<T: Table> FromArgMatches for Foreign<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = T::rows().filter_map(|row| {
            let mut values = matches.get_many::<String>(row.name)?;
            let value = match row.fate {
                Fate::Field(_, Shape::List | Shape::Map) => values.cloned().collect::<Vec<_>>().join(","),
                _ => values.next_back()?.clone(),
            };
            Some((row, value))
        });
        Ok(Self { given: given.collect(), table: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T: Table> Args for Foreign<T> {
    fn augment_args(command: Command) -> Command {
        let heading = format!("Taken as {}, without code of their own", T::WHOSE);
        T::rows().fold(command.next_help_heading(heading), |command, row| {
            let help = match row.fate {
                Fate::Idle(why) => format!("Without effect: {why}"),
                Fate::Only(_, instead) => format!("Refused with other values than the default: {instead}"),
                Fate::Field(path, _) => format!("The configuration's field {path}"),
            };
            // All occurrences are kept: of lists all count, of the others the last.
            let mut arg = Arg::new(row.name).long(row.name).action(ArgAction::Append).help(help).hide_short_help(true);
            // A value may begin with a dash, such as a negative number.
            arg = arg.allow_hyphen_values(true);
            if row.switch {
                arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            }
            if row.experimental {
                arg = arg.alias(format!("experimental-{}", row.name));
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug)]
    struct Rows;

    impl Table for Rows {
        const WHOSE: &'static str = "the test's";
        const GROUPS: &'static [&'static [Row]] = &[
            &[
                idle("ease", "there is nothing to do"),
                idle("quiet", "it is").switch(),
                only("loud", &["", "false"], "whisper"),
                only("tongue", &["Go"], "speak Go"),
                idle("new", "it is old").once_experimental(),
            ],
            &[
                field("most", "limits.most", Shape::Number),
                field("on", "on", Shape::Switch),
                field("names", "names", Shape::List),
                field("kept", "limits.kept", Shape::Map),
                field("word", "word", Shape::Text),
            ],
        ];
    }

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        foreign: Foreign<Rows>,
    }

    fn read(flags: &[&str]) -> Foreign<Rows> {
        let all = std::iter::once("x").chain(flags.iter().copied());
        Options::try_parse_from(all).unwrap_or_else(|error| panic!("{flags:?}: {error}")).foreign
    }

    #[test]
    fn idle_flags_are_told_and_others_not() {
        let given = read(&["--ease=1", "--quiet", "--experimental-new", "x", "--loud=F", "--tongue", "Go"]);
        let names: Vec<&str> = given.idle().map(|(name, _)| name).collect();
        assert_eq!(names, ["ease", "quiet", "new"]);
        assert_eq!(given.settle(), Ok(()));
    }

    #[test]
    fn other_values_are_refused_with_what_to_do_instead() {
        for (flags, expected) in [
            (&["--loud"][..], "--loud cannot be \"true\" here: whisper"),
            (&["--loud=1"], "--loud cannot be \"1\" here: whisper"),
            (&["--loud=false", "--loud=true"], "--loud cannot be \"true\" here: whisper"),
            (&["--tongue=C"], "--tongue cannot be \"C\" here: speak Go"),
            (&["--most=many"], "--most cannot be \"many\" here: it must be a number"),
            (&["--on=perhaps"], "--on cannot be \"perhaps\" here: write it as true or false"),
            (&["--kept=cpu"], "--kept cannot be \"cpu\" here: it must be name=value,..."),
        ] {
            assert_eq!(read(flags).settle().map_err(|refused| refused.to_string()), Err(expected.to_owned()));
        }
        assert_eq!(read(&["--loud=true", "--loud=false"]).settle(), Ok(()), "the last counts");
    }

    #[test]
    fn fields_overrule_the_configuration() {
        let mut configuration = json!({"on": false, "limits": {"kept": {"cpu": "1", "pid": "9"}}});
        let given =
            read(&["--most=-5", "--on", "--names=a,b", "--names=c", "--kept=cpu=2,memory.available<5%", "--word="]);
        assert!(given.has_fields() && !read(&["--ease=1"]).has_fields());
        assert_eq!(given.fill(&mut configuration), Ok(()));
        let expected = json!({
            "on": true, "names": ["a", "b", "c"], "word": "",
            "limits": {"most": -5, "kept": {"cpu": "2", "memory.available": "5%"}},
        });
        assert_eq!(configuration, expected);
    }

    #[test]
    fn the_help_shows_them() {
        let help = <Options as clap::CommandFactory>::command().render_long_help().to_string();
        for words in ["Without effect: it is old", "Refused with other values than the default: whisper", "field on"] {
            assert!(help.contains(words), "{help}");
        }
    }
}
