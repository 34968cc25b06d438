//! `--feature-gates`: what is built here is what v1.36 has by default, so a gate may be given with that value alone.

mod table;

pub use table::GATES;

/// How far a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Alpha,
    Beta,
    /// What upstream calls GA.
    Stable,
    Deprecated,
}

/// A feature gate of v1.36.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// As the command line has it.
    pub name: &'static str,
    /// How far the feature is.
    pub stage: Stage,
    /// Whether the feature is there.
    pub on: bool,
    /// Whether upstream, too, takes that value alone.
    pub locked: bool,
}

/// The gates that stand for all of a stage.
const ALL: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

/// Checks one of the flag's parts, `Gate=true` or `component:Gate=false`, and gives it back. Made for a flag's parser with a comma
/// between values.
pub fn parse(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let (component, pair) = text.split_once(':').unwrap_or(("kube", text));
    if component.trim() != "kube" {
        return Err(format!("there is no component {component:?} with gates of its own; leave it out"));
    }
    let Some((name, value)) = pair.split_once('=') else { return Err(format!("missing bool value for {pair}")) };
    let (name, value) = (name.trim(), value.trim());
    let on = crate::go::boolean(value).map_err(|why| format!("invalid value of {name}={value}: {why}"))?;
    set(name, on).map(|()| text.to_owned())
}

/// Whether a gate may be set to a value; the error says in one line why it may not.
pub fn set(name: &str, on: bool) -> Result<(), String> {
    if let Some((_, stage)) = ALL.iter().find(|(all, _)| *all == name) {
        let other = GATES.iter().filter(|gate| gate.stage == *stage && gate.on != on).count();
        if other == 0 {
            return Ok(());
        }
        let now = if on { "off" } else { "on" };
        return Err(format!("cannot set feature gate {name} to {on}: {other} of its features are always {now} here"));
    }
    match GATES.iter().find(|gate| gate.name == name) {
        None => Err(format!("unrecognized feature gate: {name}")),
        Some(gate) if gate.on == on => Ok(()),
        Some(gate) if gate.locked => {
            Err(format!("cannot set feature gate {name} to {on}, feature is locked to {}", gate.on))
        }
        Some(gate) => Err(format!("cannot set feature gate {name} to {on}: it is always {} here", gate.on)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gate_is_taken_with_its_default_and_with_nothing_else() {
        for gate in GATES {
            let Gate { name, on, .. } = *gate;
            assert_eq!(parse(&format!("{name}={on}")), Ok(format!("{name}={on}")));
            assert!(parse(&format!("{name}={}", !on)).is_err_and(|error| error.contains(name)), "{name}");
        }
        assert!(GATES.is_sorted_by(|one, next| one.name < next.name));
    }

    #[test]
    fn what_stage_a_gate_is_of_says_its_default() {
        for gate in GATES {
            match gate.stage {
                Stage::Alpha => assert!(!gate.on && !gate.locked, "{}", gate.name),
                Stage::Stable => assert!(gate.on, "{}", gate.name),
                Stage::Beta | Stage::Deprecated => {}
            }
        }
    }

    #[test]
    fn parts_are_read_as_upstream_reads_them() {
        for good in ["", "AllAlpha=false", "kube:AllAlpha=F", " ContextualLogging = true ", "SidecarContainers=1"] {
            assert_eq!(parse(good).as_deref(), Ok(good));
        }
        for (bad, words) in [
            ("Nothing=true", "unrecognized feature gate: Nothing"),
            ("Nothing", "missing bool value for Nothing"),
            ("SidecarContainers=maybe", "invalid value of SidecarContainers=maybe"),
            ("SidecarContainers=false", "feature is locked to true"),
            ("AllAlpha=true", "always off here"),
            ("AllBeta=true", "always off here"),
            ("AllBeta=false", "always on here"),
            ("wardle:SidecarContainers=true", "no component \"wardle\""),
        ] {
            assert!(parse(bad).is_err_and(|error| error.contains(words)), "{bad}: {:?}", parse(bad));
        }
    }
}
