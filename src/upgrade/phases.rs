//! The phases of `kinit upgrade apply` and `kinit upgrade node`, in their order, by kubeadm's names where it has them.

use crate::phase::{Error, own_name};

/// One phase.
#[derive(Debug, Clone, Copy)]
struct Phase {
    name: &'static str,
    about: &'static str,
    /// Whether nodes have it too, on which nothing of the cluster as a whole is changed.
    on_nodes: bool,
    /// What it consists of, where parts can be run or left out alone.
    parts: &'static [&'static str],
}

const ADDONS: &[&str] = &["kinit-network", "kube-proxy", "cluster-dns"];
const CONFIG_MAPS: &[&str] = &["kubeadm", "kubelet"];

const PHASES: &[Phase] = &[
    Phase {
        name: "images",
        about: "gives the images of this build to the container runtime",
        on_nodes: true,
        parts: &[],
    },
    Phase { name: "control-plane", about: "replaces the static pods one by one", on_nodes: true, parts: &[] },
    Phase {
        name: "upload-config",
        about: "writes down what the cluster is made of now",
        on_nodes: false,
        parts: CONFIG_MAPS,
    },
    Phase { name: "agent", about: "replaces the agent", on_nodes: true, parts: &[] },
    Phase { name: "kubelet-config", about: "replaces the kubelet and its configuration", on_nodes: true, parts: &[] },
    Phase { name: "addon", about: "replaces the add-ons", on_nodes: true, parts: ADDONS },
];

/// Phases of kubeadm's in which nothing is left to do here: they may be skipped.
const OTHERS: &[&str] = &["preflight", "kubeconfig", "bootstrap-token", "post-upgrade"];

fn phases(of_node: bool) -> impl Iterator<Item = &'static Phase> {
    PHASES.iter().filter(move |phase| phase.on_nodes || !of_node)
}

/// The phases with what each does, for help.
pub fn listing(of_node: bool) -> String {
    let mut lines = String::new();
    for phase in phases(of_node) {
        lines.push_str(&format!("  {:<24}{}\n", phase.name, phase.about));
        let parts = phase.parts.iter().map(|part| format!("  {} {part}\n", phase.name));
        lines.extend(parts);
    }
    lines
}

/// The phases and parts to leave out: those that are named, or all but the one that the words `only` are, and the images that
/// it needs.
pub fn skipped(only: Option<&[String]>, named: Vec<String>, of_node: bool) -> Result<Vec<String>, Error> {
    let check = |path: &str, known_elsewhere: bool| {
        let (head, part) = path.split_once('/').map_or((path, None), |(head, part)| (head, Some(part)));
        let found = phases(of_node).find(|phase| phase.name == head);
        let fits = match (found, part) {
            (Some(_), None) => true,
            (Some(phase), Some(part)) => phase.parts.contains(&part),
            (None, _) => known_elsewhere && OTHERS.contains(&head),
        };
        let known = || match found {
            Some(phase) if part.is_some() && !phase.parts.is_empty() => phase.parts.join(", "),
            _ => phases(of_node).map(|phase| phase.name).collect::<Vec<_>>().join(", "),
        };
        if fits { Ok(()) } else { Err(Error::Unknown { name: path.to_owned(), known: known() }) }
    };
    let mut skip: Vec<String> = named.into_iter().map(own_name).collect();
    skip.iter().try_for_each(|path| check(path, true))?;
    let Some(words) = only else { return Ok(skip) };
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "all").collect();
    let only = own_name(words.join("/"));
    check(&only, false)?;
    let (head, part) = only.split_once('/').map_or((only.as_str(), None), |(head, part)| (head, Some(part)));
    for phase in phases(of_node) {
        if phase.name != head && phase.name != "images" {
            skip.push(phase.name.to_owned());
        } else if let Some(part) = part.filter(|_| phase.name == head) {
            let others = phase.parts.iter().filter(|other| **other != part);
            skip.extend(others.map(|other| format!("{head}/{other}")));
        }
    }
    Ok(skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_phase_leaves_the_others_out() {
        let names = |list: &str| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (only, named, of_node, wanted) in [
            ("", "", false, Some("")),
            ("", "addon/coredns bootstrap-token", false, Some("addon/cluster-dns bootstrap-token")),
            ("", "nonsense", false, None),
            ("", "addon/nonsense", false, None),
            ("control-plane", "", true, Some("agent kubelet-config addon")),
            ("images", "", true, Some("control-plane agent kubelet-config addon")),
            (
                "addon coredns",
                "",
                true,
                Some("control-plane agent kubelet-config addon/kinit-network addon/kube-proxy"),
            ),
            ("addon all", "agent", true, Some("agent control-plane agent kubelet-config")),
            (
                "upload-config kubelet",
                "",
                false,
                Some("control-plane upload-config/kubeadm agent kubelet-config addon"),
            ),
            ("upload-config", "", true, None),
            ("post-upgrade", "", false, None),
            ("control-plane etcd", "", false, None),
        ] {
            let only = Some(names(only)).filter(|words| !words.is_empty());
            let found = skipped(only.as_deref(), names(named), of_node).ok();
            assert_eq!(found, wanted.map(names), "{only:?} {named:?}");
        }
    }
}
