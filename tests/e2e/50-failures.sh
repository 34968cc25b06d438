#!/bin/bash
# What breaks mends itself: Pods, workers and the control plane come back, and nothing is lost. On the cluster of 40-cluster.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

kubectl() { command kubectl --request-timeout 30s --cache-dir "$tmp/cache" "$@"; }
node_is() { equals "$2" kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
available() { equals "$1" kubectl get deployment web -o 'jsonpath={.status.availableReplicas}'; }
running_on() { kubectl get pods -l app=web --field-selector "spec.nodeName=$1" -o json | grep -c '"deletionTimestamp"' | grep -qx 0 && equals "$2" bash -c "kubectl --kubeconfig $KUBECONFIG get pods -l app=web --field-selector spec.nodeName=$1,status.phase=Running --no-headers | wc -l"; }
count() { kubectl get configmaps -l kept=yes -o name | wc -l; }

check "the cluster of the test before is up" available 6
victim=$(kubectl get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
check "a Pod is deleted" kubectl delete pod "$victim" --timeout 60s
check "another takes its place" within 60 available 6

# Replaced after ten seconds, so that the test need not wait for Kubernetes' five minutes.
check "its Pods leave lost nodes soon" kubectl patch deployment web -p '{"spec":{"template":{"spec":{"tolerations":[
  {"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":10},
  {"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":10}]}}}}'
check "that rolls out" kubectl rollout status deployment/web --timeout 120s
check "w2 loses its power" $lab kill w2
check "w2 is not ready" within 90 node_is w2 Unknown
check "its Pods are replaced on w1" within 90 available 6
check "w2 gets power again" $lab start w2
check "w2 is ready" within 60 node_is w2 True

for i in $(seq 20); do kubectl create configmap "kept-$i" --from-literal n="$i" > /dev/null && kubectl label configmap "kept-$i" kept=yes > /dev/null; done
check "objects are stored" equals 20 count
check "cp1 loses its power" $lab kill cp1
check "cp1 gets power again" $lab start cp1
check "the API is back" within 60 kubectl get --raw /readyz
check "no object is lost" equals 20 count
check "cp1 is ready" within 60 node_is cp1 True
check "Pods still run" within 60 available 6
check "and new ones start" kubectl rollout restart deployment/web
check "to the end" kubectl rollout status deployment/web --timeout 120s
finish
