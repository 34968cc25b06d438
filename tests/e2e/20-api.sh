#!/bin/bash
# The real kubectl against our kube-apiserver over our etcd, on loopback, both over TLS with certificates that kinit made.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"
value() { kubectl get configmap "$1" -o "jsonpath={.data.$2}"; }
watched() { grep -q "$1" "$tmp/watch"; }

cat > "$tmp/maps.yaml" <<'T'
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {app: web}}
data: {x: "1"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, labels: {app: db}}
data: {x: "1"}
T
for name in c d; do echo '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"'$name'"}}' > "$tmp/$name.json"; done
cat > "$tmp/web.yaml" <<'T'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "kinit.local/web:1"}, {name: side, image: "kinit.local/web:1"}]}
T

start_control_plane
check "the system's namespaces are there" within 10 says namespace/kube-node-lease kubectl get namespaces -o name
check "discovery names every group" says resourceslices kubectl api-resources --api-group resource.k8s.io
check "objects are created" kubectl create -f "$tmp/maps.yaml"
check "a second creation is refused" refuses 'configmaps "a" already exists' kubectl create -f "$tmp/maps.yaml"
check "labels select" equals configmap/b kubectl get configmaps -l 'app in (db)' -o name
check "fields select" equals configmap/a kubectl get configmaps --field-selector metadata.name=a -o name
check "a merge patch changes" kubectl patch configmap a --type merge -p '{"data":{"x":"2","y":"3"}}'
check "what it changed is read" equals 2 value a x
check "a JSON patch changes" kubectl patch configmap a --type json -p '[{"op":"remove","path":"/data/y"}]'
check "what it removed is gone" equals '' value a y
check "a Deployment is applied" kubectl apply -f "$tmp/web.yaml"
check "a strategic patch merges a list by its key" kubectl patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"other"}]}}}}'
check "the other element stays" equals 'kinit.local/web:1 other' kubectl get deployment web -o 'jsonpath={.spec.template.spec.containers[*].image}'
check "the generation counts the changes" equals 2 kubectl get deployment web -o 'jsonpath={.metadata.generation}'

kubectl get configmaps -w -o name > "$tmp/watch" 2>&1 & watch_pid=$!; pids+=($watch_pid)
check "a watch begins with what there is" within 5 watched configmap/b
check "a trial of a deletion" kubectl delete configmap b --dry-run=server
check "deletes nothing" equals configmap/b kubectl get configmap b -o name
check "an object goes" kubectl delete configmap b
check "a third comes" kubectl create -f "$tmp/c.json"
check "the watch saw it" within 5 watched configmap/c
kill $watch_pid

check "a stranger may not list" refuses 'system:anonymous.* cannot list resource' curl -sS --fail-with-body --cacert "$pki/ca.crt" $api/api/v1/pods
check "an unknown path is not found" refuses 'NotFound' kubectl get --raw /api/v1/nothings
check "a body that is no JSON is refused" refuses 'the object provided is unrecognized' kubectl create --raw /api/v1/namespaces -f <(echo '{')
check "an unknown flag is refused" refuses "unexpected argument '--bogus'" "$dist/kube-apiserver" --etcd-servers $etcd --bogus

kill -9 $etcd_pid; wait $etcd_pid 2> /dev/null
start_etcd
check "after etcd is killed nothing is lost" within 20 equals 2 value a x
check "and the server's cache follows again" within 20 kubectl create -f "$tmp/d.json"
check "a list shows what was written since" within 10 says configmap/d kubectl get configmaps -o name
kill -9 $api_pid; wait $api_pid 2> /dev/null
start_api
check "a new server serves the same objects" within 20 equals 2 value a x
finish
