//! The phases of `kinit upgrade apply` and `kinit upgrade node`, in their order, by kubeadm's names where it has them.

use crate::phase::Error;

/// One phase.
#[derive(Debug, Clone, Copy)]
struct Phase {
    name: &'static str,
    about: &'static str,
    /// Whether nodes have it too, on which nothing of the cluster as a whole is changed.
    on_nodes: bool,
}

const PHASES: &[Phase] = &[
    Phase { name: "images", about: "gives the images of this build to the container runtime", on_nodes: true },
    Phase { name: "control-plane", about: "replaces the static pods one by one", on_nodes: true },
    Phase { name: "upload-config", about: "writes down what the cluster is made of now", on_nodes: false },
    Phase { name: "agent", about: "replaces the agent", on_nodes: true },
    Phase { name: "kubelet-config", about: "replaces the kubelet and its configuration", on_nodes: true },
    Phase { name: "addon", about: "replaces the add-ons", on_nodes: true },
];

/// Phases of kubeadm's in which nothing is left to do here: they may be skipped.
const OTHERS: &[&str] = &["preflight", "kubeconfig", "bootstrap-token", "post-upgrade"];

fn phases(of_node: bool) -> impl Iterator<Item = &'static Phase> {
    PHASES.iter().filter(move |phase| phase.on_nodes || !of_node)
}

/// The phases with what each does, for help.
pub fn listing(of_node: bool) -> String {
    phases(of_node).map(|phase| format!("  {:<16}{}\n", phase.name, phase.about)).collect()
}

/// The phases to leave out: those that are named, or all but `only` and the images that it needs.
pub fn skipped(only: Option<&str>, named: Vec<String>, of_node: bool) -> Result<Vec<String>, Error> {
    let unknown = |name: &str| Error::Unknown {
        name: name.to_owned(),
        known: phases(of_node).map(|phase| phase.name).collect::<Vec<_>>().join(", "),
    };
    let is_phase = |name: &str| phases(of_node).any(|phase| phase.name == name);
    if let Some(bad) = named.iter().find(|name| {
        let head = name.split('/').next().unwrap_or_default();
        !is_phase(head) && !OTHERS.contains(&head)
    }) {
        return Err(unknown(bad));
    }
    let Some(only) = only else { return Ok(named) };
    if !is_phase(only) {
        return Err(unknown(only));
    }
    let others = phases(of_node).map(|phase| phase.name).filter(|name| *name != only && *name != "images");
    Ok(others.map(str::to_owned).chain(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_phase_leaves_the_others_out() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (only, named, of_node, wanted) in [
            (None, &[][..], false, Some(&[][..])),
            (None, &["addon/coredns", "bootstrap-token"], false, Some(&["addon/coredns", "bootstrap-token"])),
            (None, &["nonsense"], false, None),
            (Some("control-plane"), &[], true, Some(&["agent", "kubelet-config", "addon"])),
            (Some("images"), &[], true, Some(&["control-plane", "agent", "kubelet-config", "addon"])),
            (Some("upload-config"), &[], true, None),
            (Some("post-upgrade"), &[], false, None),
        ] {
            let found = skipped(only, names(named), of_node).ok();
            assert_eq!(found, wanted.map(names), "{only:?} {named:?}");
        }
    }
}
