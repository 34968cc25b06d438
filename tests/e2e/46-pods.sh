#!/bin/bash
# What a kubelet does for Pods, seen by the real kubectl, on the cluster that is up.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
trap 'kubectl delete pods -l suite=pods --wait=false > /dev/null 2>&1; rm -rf "$tmp"' EXIT

kubectl() { command kubectl --request-timeout 60s --cache-dir "$tmp/cache" "$@"; }
# pod NAME SPEC: a Pod of one container; SPEC is YAML in flow style, CONTAINER more of the container's.
pod() {
  kubectl apply -f - <<T
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {suite: pods}}
spec: {terminationGracePeriodSeconds: 1, $2, containers: [{name: a, image: "kinit.local/web:1", ${CONTAINER:-}}]}
T
}
of() { kubectl get pod "$1" -o "jsonpath={$2}"; }
reaches() { kubectl wait "pod/$1" --for "jsonpath={.status.phase}=$2" --timeout 30s; }
becomes() { within 30 equals "$3" of "$1" "$2"; }
event() { within 10 says "$2" kubectl get events --field-selector "involvedObject.name=$1" -o 'jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}'; }
tty() { (sleep 1; printf 'tty; exit 5\n'; sleep 1) | script -qec "kubectl --kubeconfig $KUBECONFIG exec -it $1 -- sh" /dev/null; }

# Streams.
pod plain 'restartPolicy: Always' > /dev/null
check "a Pod runs" reaches plain Running
check "its status says which of its objects it is of" equals "$(of plain .metadata.generation)" of plain .status.observedGeneration
check "a terminal is given" bash -c "$(declare -f tty); KUBECONFIG=$KUBECONFIG; tty plain | grep /dev/pts/0"
check "standard error is apart" equals err bash -c "kubectl --kubeconfig $KUBECONFIG exec plain -- sh -c 'echo out; echo err >&2' 2>&1 > /dev/null"
check "SPDY clients are served too" equals hello bash -c "echo hello | KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false kubectl --kubeconfig $KUBECONFIG exec -i plain -- cat"
head -c 5000000 /dev/urandom > "$tmp/data"
check "a file is copied in" kubectl cp "$tmp/data" plain:/tmp/data
check "and out" bash -c "kubectl --kubeconfig $KUBECONFIG cp plain:/tmp/data $tmp/back > /dev/null && cmp $tmp/data $tmp/back"
check "a container that is not there is named" refuses 'container nope is not valid for pod plain|container not found' kubectl exec plain -c nope -- true
check "HTTP is proxied to the Pod" equals plain kubectl get --raw /api/v1/namespaces/default/pods/plain:8080/proxy/cgi-bin/name
check "the node's summary has the Pod" says '"name":"plain"' kubectl get --raw "/api/v1/nodes/$(of plain .spec.nodeName)/proxy/stats/summary"
check "a debugging container joins" says busybox bash -c "kubectl --kubeconfig $KUBECONFIG debug plain --image kinit.local/web:1 -c debug -- sleep 60; sleep 2; kubectl --kubeconfig $KUBECONFIG exec plain -c debug -- readlink /bin/sh"

# Lives.
CONTAINER='command: [sh, -c, "echo last words > /dev/termination-log; exit 3"]' pod words 'restartPolicy: Never' > /dev/null
check "a Pod fails" reaches words Failed
check "and its last words are kept" equals "3 last words" of words '.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.message'
CONTAINER='command: [sh, -c, "tail /dev/zero"], resources: {limits: {memory: 16Mi}}' pod greedy 'restartPolicy: Never' > /dev/null
check "one that takes too much memory is ended" becomes greedy '.status.containerStatuses[0].state.terminated.reason' OOMKilled
CONTAINER='command: [sh, -c, "exit 1"]' pod loop 'restartPolicy: Always' > /dev/null
check "one that fails again and again waits" becomes loop '.status.containerStatuses[0].state.waiting.reason' CrashLoopBackOff
check "and an event says so" event loop "Back-off restarting failed container"
CONTAINER='imagePullPolicy: Never' pod missing 'restartPolicy: Always' > /dev/null
kubectl set image pod/missing a=kinit.local/none:1 > /dev/null
check "an image that is not there is named" becomes missing '.status.containerStatuses[0].state.waiting.reason' ErrImageNeverPull
pod late 'activeDeadlineSeconds: 2' > /dev/null
check "a Pod that runs too long is ended" becomes late .status.reason DeadlineExceeded
pod kernel 'securityContext: {sysctls: [{name: kernel.msgmax, value: "1"}]}' > /dev/null
check "unsafe kernel settings are refused" becomes kernel .status.reason SysctlForbidden
CONTAINER='lifecycle: {postStart: {exec: {command: [touch, /tmp/started]}}}, readinessProbe: {httpGet: {path: /cgi-bin/name, port: 8080}, periodSeconds: 1}' \
  pod hooked 'initContainers: [{name: side, image: "kinit.local/web:1", restartPolicy: Always, command: [sleep, "1000"]}]' > /dev/null
check "a Pod with a sidecar becomes ready" kubectl wait pod/hooked --for condition=Ready --timeout 30s
check "its hook has run" kubectl exec hooked -c a -- test -e /tmp/started
CONTAINER='resources: {requests: {cpu: 50m}, limits: {cpu: 100m}}' pod small 'restartPolicy: Always' > /dev/null
check "a Pod with limits runs" reaches small Running
check "it is resized" kubectl patch pod small --subresource resize -p '{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"200m"}}}]}}'
check "in place" becomes small '.status.containerStatuses[0].resources.limits.cpu} {.status.containerStatuses[0].restartCount' "200m 0"
check "more than the node has is refused" refuses "enough allocatable resources: cpu" kubectl patch pod small --subresource resize -p '{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"900"},"limits":{"cpu":"900"}}}]}}'
check "and it runs as before" becomes small '.status.containerStatuses[0].resources.limits.cpu' 200m
check "less is asked for" kubectl patch pod small --subresource resize -p '{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"60m"},"limits":{"cpu":"150m"}}}]}}'
check "and given" becomes small '.status.containerStatuses[0].resources.limits.cpu} {.status.conditions[?(@.type=="PodResizePending")].reason' "150m "

# Ends.
pod stubborn 'restartPolicy: Always' > /dev/null
check "a Pod runs that is to go" reaches stubborn Running
check "it goes when it is deleted" kubectl delete pod stubborn --timeout 10s
check "all others go as well" kubectl delete pods -l suite=pods --timeout 60s
finish
