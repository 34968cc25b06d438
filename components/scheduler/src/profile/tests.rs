use super::Profile;
use crate::config::Configuration;
use crate::cycle;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;
use crate::testing::{node, pod_with};
use serde_json::json;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn profiles(text: &str) -> Result<Vec<Profile>, String> {
    let config = Configuration::parse(&format!("{HEAD}{text}")).map_err(|error| format!("{error:#}"))?;
    Profile::all(&config).map_err(|error| format!("{error:#}"))
}

/// What a plugin does under the first profile: whether it filters, and its weight.
fn role(profile: &Profile, name: &str) -> (bool, i64) {
    profile.uses.iter().find(|one| one.row.name == name).map_or((false, 0), |one| (one.filters, one.weight))
}

#[test]
fn plugins_are_chosen_by_point() {
    for (plugins, name, wanted) in [
        ("{}", "TaintToleration", (true, 3)),
        ("{multiPoint: {disabled: [{name: TaintToleration}]}}", "TaintToleration", (false, 0)),
        ("{multiPoint: {disabled: [{name: '*'}], enabled: [{name: NodeAffinity}]}}", "NodeAffinity", (true, 1)),
        ("{multiPoint: {disabled: [{name: '*'}], enabled: [{name: NodeAffinity}]}}", "NodePorts", (false, 0)),
        ("{multiPoint: {enabled: [{name: ImageLocality, weight: 9}]}}", "ImageLocality", (false, 9)),
        ("{score: {disabled: [{name: '*'}]}}", "TaintToleration", (true, 0)),
        (
            "{score: {disabled: [{name: NodeResourcesFit}], enabled: [{name: NodeResourcesFit, weight: 5}]}}",
            "NodeResourcesFit",
            (true, 5),
        ),
        ("{filter: {disabled: [{name: NodeResourcesFit}]}}", "NodeResourcesFit", (false, 1)),
        (
            "{multiPoint: {disabled: [{name: NodePorts}]}, filter: {enabled: [{name: NodePorts}]}}",
            "NodePorts",
            (true, 0),
        ),
    ] {
        let all = profiles(&format!("profiles: [{{plugins: {plugins}}}]\n")).expect(plugins);
        assert_eq!(role(&all[0], name), wanted, "{plugins} {name}");
        assert_eq!(all[0].name, "default-scheduler");
    }
    let none = profiles("profiles: [{plugins: {postFilter: {disabled: [{name: DefaultPreemption}]}}}]\n");
    assert!(!none.expect("a profile")[0].preempts);
}

#[test]
fn what_cannot_take_effect_is_refused() {
    for (text, wanted) in [
        ("extenders: [{urlPrefix: 'http://x'}]\n", "extenders are not there"),
        ("profiles: [{schedulerName: a}, {schedulerName: a}]\n", "is there twice"),
        ("profiles: [{plugins: {filter: {enabled: [{name: Mine}]}}}]\n", "there is no plugin \"Mine\""),
        ("profiles: [{plugins: {filter: {enabled: [{name: ImageLocality}]}}}]\n", "refuses no nodes"),
        ("profiles: [{plugins: {score: {enabled: [{name: NodeName}]}}}]\n", "scores no nodes"),
        ("profiles: [{plugins: {queueSort: {disabled: [{name: '*'}]}}}]\n", "queueSort"),
        ("profiles: [{plugins: {multiPoint: {disabled: [{name: DefaultBinder}]}}}]\n", "cannot be disabled"),
        ("profiles: [{plugins: {multiPoint: {enabled: [{name: DynamicResources}]}}}]\n", "is not there"),
        ("profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {surprise: 1}}]}]\n", "surprise"),
        (
            "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]\n",
            "hardPodAffinityWeight",
        ),
        ("profiles: [{pluginConfig: [{name: Mine, args: {}}]}]\n", "Mine"),
        ("percentageOfNodes: 5\n", "percentageOfNodes"),
    ] {
        let error = profiles(text).expect_err(text);
        assert!(error.contains(wanted), "{text}: {error}");
    }
    for good in [
        "profiles: [{plugins: {multiPoint: {disabled: [{name: DynamicResources}]}, bind: {enabled: [{name: DefaultBinder}]}}}]\n",
        "parallelism: 16\npercentageOfNodesToScore: 50\nleaderElection: {leaderElect: false, leaseDuration: 15s}\n",
        "profiles: [{pluginConfig: [{name: DefaultPreemption, args: {minCandidateNodesAbsolute: 1}}]}]\n",
    ] {
        profiles(good).expect(good);
    }
}

fn picture() -> Snapshot {
    let busy = pod_with(
        "busy",
        json!({"nodeName": "full", "containers": [{"name": "a", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}}]}),
    );
    let info = |name: &str, pods: Vec<PodInfo>| {
        let facts =
            std::sync::Arc::new(node(name, json!({}), &[("disk", if name == "full" { "fast" } else { "slow" })]));
        std::sync::Arc::new(NodeInfo::new(facts, pods.into_iter().map(std::sync::Arc::new).collect()))
    };
    Snapshot { nodes: vec![info("empty", vec![]), info("full", vec![busy])], ..Snapshot::default() }
}

#[test]
fn arguments_change_the_choice() {
    let fit = |strategy: &str| format!("[{{name: NodeResourcesFit, args: {{scoringStrategy: {strategy}}}}}]");
    let shape = "{type: RequestedToCapacityRatio, resources: [{name: cpu, weight: 3}], requestedToCapacityRatio: \
                 {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}}";
    let affinity = "[{name: NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
                    {nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: In, values: [fast]}]}]}}}}]";
    let asks = pod_with(
        "new",
        json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}),
    );
    for (config, wanted) in [
        ("[]".to_owned(), "empty"),
        (fit("{type: LeastAllocated, resources: [{name: memory, weight: 1}]}"), "empty"),
        (fit("{type: MostAllocated, resources: [{name: cpu, weight: 1}]}"), "full"),
        (fit(shape), "full"),
        (affinity.to_owned(), "full"),
    ] {
        let text = format!(
            "profiles: [{{pluginConfig: {config}, plugins: {{score: {{disabled: [{{name: NodeResourcesBalancedAllocation}}]}}}}}}]\n"
        );
        let all = profiles(&text).expect(&text);
        let found = cycle::schedule(&all[0], &asks, &picture(), None, 0).expect("a node");
        assert_eq!(found, wanted, "{config}");
    }
}

#[test]
fn ignored_resources_stop_nobody() {
    let asks =
        pod_with("new", json!({"containers": [{"name": "a", "resources": {"requests": {"example.com/gpu": "1"}}}]}));
    for (args, fits) in [
        ("{}", false),
        ("{ignoredResources: [example.com/gpu]}", true),
        ("{ignoredResourceGroups: [example.com]}", true),
        ("{ignoredResourceGroups: [example]}", false),
    ] {
        let all = profiles(&format!("profiles: [{{pluginConfig: [{{name: NodeResourcesFit, args: {args}}}]}}]\n"));
        let found = cycle::schedule(&all.expect(args)[0], &asks, &picture(), None, 0);
        assert_eq!(found.is_ok(), fits, "{args}");
    }
}
