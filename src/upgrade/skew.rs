//! Which version may follow which: the rules that kubeadm has, as one pure function.

use super::Version;

/// How many minor versions a kubelet may be behind its API server.
const KUBELET_BEHIND: u32 = 3;

/// What speaks against an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Whether --force helps.
    pub can_be_forced: bool,
}

/// What speaks against going from `current` to `target` with these kubelets.
pub fn problems(current: &Version, target: &Version, kubelets: &[(String, Version)]) -> Vec<Problem> {
    let mut all = Vec::new();
    let mut add = |can_be_forced, message| all.push(Problem { message, can_be_forced });
    if target.major != current.major {
        add(false, format!("{current} cannot be upgraded to {target}: the major versions differ"));
        return all;
    }
    if target.minor > current.minor + 1 {
        let next = current.minor + 1;
        add(
            true,
            format!("{target} is more than one minor version ahead of {current}; go to v{}.{next} first", target.major),
        );
    }
    if target.numbers() < current.numbers() {
        let forced = target.minor + 1 >= current.minor;
        add(forced, format!("{target} is older than {current}, which the cluster runs"));
    }
    for (node, version) in kubelets {
        if version.minor + KUBELET_BEHIND < target.minor {
            add(
                true,
                format!(
                    "the kubelet of {node} is {version}: more than {KUBELET_BEHIND} minor versions behind {target}"
                ),
            );
        }
        if version.numbers() > target.numbers() && version.minor > target.minor {
            add(true, format!("the kubelet of {node} is {version}, newer than {target}"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_kubeadms() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        // From, to, a kubelet, and for each problem whether it can be forced.
        for (current, target, kubelet, wanted) in [
            ("v1.36.0", "v1.36.0", "v1.36.0", &[][..]),
            ("v1.35.4", "v1.36.0", "v1.35.0", &[]),
            ("v1.36.0", "v1.36.3", "v1.33.0", &[]),
            ("v1.34.0", "v1.36.0", "v1.34.0", &[true]),
            ("v1.36.2", "v1.36.0", "v1.36.0", &[true]),
            ("v1.38.0", "v1.36.0", "v1.36.0", &[false]),
            ("v1.36.0", "v1.36.1", "v1.32.9", &[true]),
            ("v1.36.0", "v1.36.1", "v1.37.0", &[true]),
            ("v2.0.0", "v1.36.1", "v1.36.0", &[false]),
        ] {
            let found = problems(&version(current), &version(target), &[("w1".into(), version(kubelet))]);
            let forced: Vec<bool> = found.iter().map(|problem| problem.can_be_forced).collect();
            assert_eq!(forced, wanted, "{current} -> {target}, {kubelet}: {found:?}");
        }
    }
}
