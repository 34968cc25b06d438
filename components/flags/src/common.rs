//! The flags that every one of upstream's components has and that have an effect here.

use clap::{Args, ValueEnum};

use crate::gates;

/// Logging and feature gates.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// How much is logged, 0 to 10
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "LEVEL")]
    pub verbosity: u8,
    /// The form of the log
    #[arg(long, value_enum, default_value = "text")]
    pub logging_format: LoggingFormat,
    /// Features by name, Gate=true or Gate=false; each is what v1.36 has by default and can be nothing else
    #[arg(long, value_name = "GATES", value_delimiter = ',', value_parser = gates::parse)]
    pub feature_gates: Vec<String>,
}

/// What `--logging-format` may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LoggingFormat {
    #[default]
    Text,
    Json,
}

impl Common {
    /// Whether the log is JSON.
    pub fn json(&self) -> bool {
        self.logging_format == LoggingFormat::Json
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        common: Common,
    }

    fn read(flags: &[&str]) -> Result<Common, String> {
        let all = std::iter::once("x").chain(flags.iter().copied());
        Options::try_parse_from(all).map(|options| options.common).map_err(|error| error.to_string())
    }

    #[test]
    fn logs_and_gates_are_upstreams() {
        let common = read(&["-v=4", "--logging-format=json", "--feature-gates="]).expect("taken");
        assert_eq!((common.verbosity, common.json()), (4, true));
        let gates = "--feature-gates=ContextualLogging=true,AllAlpha=false";
        assert_eq!(read(&[gates, "--v", "2"]).map(|common| common.feature_gates.len()), Ok(2));
        for (flag, words) in [
            ("--feature-gates=Nothing=true", "unrecognized feature gate: Nothing"),
            ("--feature-gates=ContextualLogging=true,AllAlpha=true", "AllAlpha"),
            ("--logging-format=xml", "xml"),
        ] {
            assert!(read(&[flag]).is_err_and(|error| error.contains(words)), "{flag}");
        }
    }
}
