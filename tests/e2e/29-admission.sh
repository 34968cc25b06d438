#!/bin/bash
# Admission, aggregation and flow control of our kube-apiserver alone, on loopback, with the real kubectl.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"
status() { kubectl patch "$1" --subresource status --type merge -p "$2" -n work; }
header() { kubectl get --raw /api/v1/namespaces -v 8 2>&1 | grep -i "x-kubernetes-pf-$1-uid"; }
pod() {                     # pod NAME CPU [more of the container]
  echo '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"'"$1"'"},"spec":{"containers":[{"name":"c","image":"kinit.local/web:1"'"${3:-}"',
    "resources":{"requests":{"cpu":"'"$2"'"}}}]}}' > "$tmp/$1.json"
  echo "$tmp/$1.json"
}
cat > "$tmp/limits.yaml" <<'T2'
apiVersion: v1
kind: LimitRange
metadata: {name: sizes}
spec: {limits: [{type: Container, min: {cpu: 5m}, max: {cpu: "1", memory: 64Mi}, defaultRequest: {cpu: 10m}, default: {cpu: "1", memory: 64Mi}}]}
T2
cat > "$tmp/quota.yaml" <<'T2'
apiVersion: v1
kind: ResourceQuota
metadata: {name: q}
spec: {hard: {pods: "2", requests.cpu: "1"}}
T2
cat > "$tmp/hook.yaml" <<'T2'
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: nobody}
webhooks:
- name: nobody.kinit.local
  clientConfig: {url: "https://127.0.0.1:1/x"}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [configmaps]}]
  objectSelector: {matchLabels: {asked: "true"}}
  sideEffects: None
  admissionReviewVersions: [v1]
  timeoutSeconds: 2
T2
cat > "$tmp/asked.yaml" <<'T2'
apiVersion: v1
kind: ConfigMap
metadata: {name: asked, labels: {asked: "true"}}
T2
cat > "$tmp/remote.yaml" <<'T2'
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.toys.kinit.local}
spec: {group: toys.kinit.local, version: v1, groupPriorityMinimum: 1000, versionPriority: 10, insecureSkipTLSVerify: true, service: {name: none, namespace: default}}
T2

start_control_plane
check "the system's namespaces stay" refuses 'this namespace may not be deleted' kubectl delete namespace kube-system
check "a namespace" kubectl create namespace work
check "its account" kubectl create serviceaccount default -n work

check "limits" kubectl apply -n work -f "$tmp/limits.yaml"
check "a Pod below them is refused" refuses 'minimum cpu usage per Container is 5m, but request is 1m' kubectl create -n work -f "$(pod small 1m)"
check "a quota" kubectl apply -n work -f "$tmp/quota.yaml"
check "it is counted" status resourcequota/q '{"status":{"hard":{"pods":"2","requests.cpu":"1"},"used":{"pods":"0","requests.cpu":"0"}}}'
check "a Pod within it comes in" kubectl create -n work -f "$(pod a 600m)"
check "with the limits' defaults" equals 64Mi kubectl get pod a -n work -o 'jsonpath={.spec.containers[0].resources.limits.memory}'
check "it is charged" equals 600m kubectl get resourcequota q -n work -o 'jsonpath={.status.used.requests\.cpu}'
check "the next is too much" refuses 'exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1' kubectl create -n work -f "$(pod b 600m)"
check "a trial is not charged" kubectl create -n work -f "$(pod c 100m)" --dry-run=server
check "the quota is as it was" equals 1 kubectl get resourcequota q -n work -o 'jsonpath={.status.used.pods}'

check "a wrong standard is refused" refuses 'must be one of privileged, baseline, restricted' kubectl label namespace work pod-security.kubernetes.io/enforce=strict
check "a right one tells of Pods against it" says 'violate the new PodSecurity enforce level' kubectl label namespace work pod-security.kubernetes.io/enforce=restricted
check "a Pod against it is refused" refuses 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false' kubectl create -n work -f "$(pod d 10m)"

check "a webhook that nobody is behind" kubectl apply -f "$tmp/hook.yaml"
check "what it is not asked about comes in" kubectl create configmap free
check "what it is asked about does not" refuses 'failed calling webhook "nobody.kinit.local": failed to call webhook' kubectl create -f "$tmp/asked.yaml"
check "unless its policy says so" kubectl patch validatingwebhookconfiguration nobody --type json -p '[{"op":"add","path":"/webhooks/0/failurePolicy","value":"Ignore"}]'
check "and then it does" within 5 kubectl create -f "$tmp/asked.yaml"
check "a webhook without a place is refused" refuses 'exactly one of url or service is required' kubectl patch validatingwebhookconfiguration nobody --type json -p '[{"op":"remove","path":"/webhooks/0/clientConfig/url"}]'

check "own groups have APIServices" within 20 says 'Local' kubectl get apiservice v1.apps
check "so has another server's" kubectl apply -f "$tmp/remote.yaml"
check "which is told to be missing" within 10 says ServiceNotFound kubectl get apiservice v1.toys.kinit.local -o yaml
check "and does not answer" refuses 'unable to handle the request|service unavailable' kubectl get --raw /apis/toys.kinit.local/v1/toys

check "answers tell their FlowSchema" header flowschema
check "and their priority level" header prioritylevel
check "FlowSchemas know their levels" within 15 equals False kubectl get flowschema exempt -o 'jsonpath={.status.conditions[0].status}'
finish
