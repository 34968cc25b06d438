"""One deed with the Python client: `python.py NAME`. A deed that does not hold ends with an exception."""

import os
import sys
import uuid

from kubernetes import client, dynamic, watch
from kubernetes.client.exceptions import ApiException

configuration = client.Configuration()
configuration.host = os.environ["API"]
configuration.ssl_ca_cert = os.environ["CA"]
configuration.cert_file = os.environ["CERT"]
configuration.key_file = os.environ["KEY"]
api = client.ApiClient(configuration)
core = client.CoreV1Api(api)
apps = client.AppsV1Api(api)
space = f"python-{uuid.uuid4().hex[:8]}"


def config_map(name, data=None, labels=None):
    metadata = client.V1ObjectMeta(name=name, labels=labels)
    return client.V1ConfigMap(metadata=metadata, data=data or {})


def deployment(name, replicas):
    labels = {"app": name}
    pod = client.V1PodSpec(containers=[client.V1Container(name="c", image="example.com/c")])
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod)
    selector = client.V1LabelSelector(match_labels=labels)
    spec = client.V1DeploymentSpec(replicas=replicas, selector=selector, template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)


def typed():
    made = apps.create_namespaced_deployment(space, deployment("d", 2))
    assert made.metadata.generation == 1 and made.spec.strategy.type == "RollingUpdate", made
    read = apps.read_namespaced_deployment("d", space)
    read.spec.replicas = 3
    assert apps.replace_namespaced_deployment("d", space, read).metadata.generation == 2
    scale = apps.read_namespaced_deployment_scale("d", space)
    assert scale.spec.replicas == 3, scale
    apps.delete_namespaced_deployment("d", space)


def paged():
    for number in range(5):
        core.create_namespaced_config_map(space, config_map(f"page-{number}", labels={"of": "pages"}))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(space, label_selector="of=pages", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{number}" for number in range(5)], names
    core.delete_collection_namespaced_config_map(space, label_selector="of=pages")
    assert not core.list_namespaced_config_map(space, label_selector="of=pages").items


def watched():
    start = core.list_namespaced_config_map(space).metadata.resource_version
    core.create_namespaced_config_map(space, config_map("seen", {"a": "1"}))
    core.patch_namespaced_config_map("seen", space, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("seen", space)
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, space, resource_version=start, field_selector="metadata.name=seen", timeout_seconds=5
    )
    seen = []
    for event in stream:
        seen.append((event["type"], (event["object"].data or {}).get("a")))
        if event["type"] == "DELETED":
            break
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")], seen


def patched():
    core.create_namespaced_config_map(space, config_map("p", {"a": "1", "b": "2"}))
    merged = core.patch_namespaced_config_map("p", space, {"data": {"a": None, "c": "3"}})
    assert merged.data == {"b": "2", "c": "3"}, merged
    by_path = [{"op": "replace", "path": "/data/b", "value": "4"}]
    assert core.patch_namespaced_config_map("p", space, by_path).data["b"] == "4"


def applied():
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": {"a": "1"}}
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    maps.server_side_apply(body=body, namespace=space, field_manager="one")
    body["data"] = {"a": "2"}
    try:
        maps.server_side_apply(body=body, namespace=space, field_manager="two")
        raise AssertionError("a field of another manager was taken without force")
    except ApiException as error:
        assert error.status == 409, error
    forced = maps.server_side_apply(body=body, namespace=space, field_manager="two", force_conflicts=True)
    assert forced.data.a == "2", forced


def custom():
    group = f"{space}.example.com"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 7}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "toys", "singular": "toy", "kind": "Toy", "listKind": "ToyList"}
    body = {"metadata": {"name": f"toys.{group}"}, "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}}
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", **body})
    for event in watch.Watch().stream(definitions.list_custom_resource_definition, timeout_seconds=10):
        conditions = {one.type: one.status for one in (event["object"].status.conditions or [])} if event["object"].status else {}
        if event["object"].metadata.name == f"toys.{group}" and conditions.get("Established") == "True":
            break
    toys = client.CustomObjectsApi(api)
    toy = {"apiVersion": f"{group}/v1", "kind": "Toy", "metadata": {"name": "t"}, "spec": {}}
    made = toys.create_namespaced_custom_object(group, "v1", space, "toys", toy)
    assert made["spec"] == {"size": 7}, made
    grown = toys.patch_namespaced_custom_object(group, "v1", space, "toys", "t", {"spec": {"size": 8}})
    assert grown["spec"] == {"size": 8}, grown
    assert len(toys.list_namespaced_custom_object(group, "v1", space, "toys")["items"]) == 1
    definitions.delete_custom_resource_definition(f"toys.{group}")


def discovered():
    found = dynamic.DynamicClient(api).resources
    assert found.get(api_version="apps/v1", kind="Deployment").namespaced
    assert client.VersionApi(api).get_code().minor == "36"


def escaped():
    role = client.RbacAuthorizationV1Api(api).read_cluster_role("system:node")
    assert role.metadata.name == "system:node", role


def refused():
    for name, status, reason in [("Not_A_Name", 422, "Invalid"), ("kube-root", 201, "")]:
        try:
            core.create_namespaced_config_map(space, config_map(name))
            assert status == 201, name
        except ApiException as error:
            assert error.status == status and f'"reason":"{reason}"' in error.body.replace(" ", ""), error
    try:
        core.read_namespaced_config_map("nowhere", space)
        raise AssertionError("what is not there was read")
    except ApiException as error:
        assert error.status == 404, error


core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=space)))
globals()[sys.argv[1]]()
