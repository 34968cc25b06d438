#!/bin/bash
# Forms: the tables that kubectl prints, what each encoding says, what defaults are set and what is refused.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"

get() { curl -sS -A test --fail-with-body --cacert "$pki/ca.crt" --cert "$tmp/admin.crt" --key "$tmp/admin.key" "$@"; }
cells() { kubectl get "$@" --no-headers | sed 's/  */ /g; s/ $//'; }
# as TYPE PATH [CURL-ARGUMENT...]: an answer in a media type.
as() { local type=$1 path=$2; shift 2; get -H "Accept: $type" "$api$path" "$@"; }
magic() { as $proto "$1" | head -c 3; }
bytes() { as "$@" | tr -d '\0' | strings; }
rows() { [ "$(grep -c '^web .*Pending' "$tmp/table")" -ge "$1" ]; }
field() { kubectl get "$1" -o "jsonpath={$2}"; }
deployment() { printf '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"%s"},"spec":%s}' "$1" "$2" | kubectl create -f -; }

cat > "$tmp/objects.yaml" <<'T'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "kinit.local/web:1", resources: {limits: {memory: 1024Mi}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: web, image: "kinit.local/web:1", resources: {limits: {cpu: 0.5}}}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: once, image: "kinit.local/web:1"}]}}}
T

start_control_plane
check "objects are created" within 10 kubectl apply -f "$tmp/objects.yaml"

check "a Deployment has its columns" says 'web 0/2 0 0' cells deployment web -o wide
check "and the wide ones" says 'web kinit.local/web:1 app=web' cells deployment web -o wide
check "a headless Service has none for its address" says 'web ClusterIP None <none> 80/TCP' cells service web
check "a Pod that nobody runs is pending" says 'web 0/1 Pending 0' cells pod web
check "a Job counts its completions" says 'once Running 0/1' cells job once
check "a role has the time of its creation" says 'CREATED AT' kubectl get clusterroles
table='application/json;as=Table;v=v1;g=meta.k8s.io'
check "rows carry metadata" says PartialObjectMetadata as "$table" /api/v1/namespaces/default/pods
check "or the object" says '"containers"' as "$table" '/api/v1/namespaces/default/pods?includeObject=Object'
kubectl get pods --watch > "$tmp/table" 2> /dev/null & pids+=($!)
check "a watch prints rows" within 10 rows 1
check "a Pod is labelled" kubectl label pod web tier=front
check "and the watch prints it again" within 10 rows 2

proto=application/vnd.kubernetes.protobuf
check "protobuf begins with its magic" equals k8s magic /api/v1/namespaces/default/pods/web
check "it says its type" says $proto as $proto /api/v1/pods -o /dev/null -w '%{content_type}'
check "lists have it too" says PodList bytes $proto /api/v1/pods
check "metadata alone is short" says PartialObjectMetadataList bytes "$proto;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" /api/v1/pods
check "errors are protobuf too" bash -c '! "$@"' - as $proto /api/v1/namespaces/default/pods/none -o /dev/null
check "kubectl creates by protobuf" kubectl create configmap sent --from-literal=key=value
check "and it is read" equals value field configmap/sent .data.key
check "kubectl describes by protobuf" says Burstable kubectl describe pod web
check "YAML is spoken" says 'kind: Pod' as application/yaml /api/v1/namespaces/default/pods/web
check "other types are not" refuses '406: Not Acceptable' as application/cbor /api/v1/pods
check "people get lines" says '  "kind": "Pod"' as application/json '/api/v1/namespaces/default/pods/web?pretty=true'

check "quantities are canonical" equals 1Gi field deployment/web '.spec.template.spec.containers[0].resources.limits.memory'
check "a Pod's requests are its limits" equals 500m field pod/web '.spec.containers[0].resources.requests.cpu'
check "a Deployment rolls by a quarter" equals 25% field deployment/web .spec.strategy.rollingUpdate.maxSurge
check "a Job selects its own Pods" equals "$(field job/once .metadata.uid)" \
  field job/once '.spec.selector.matchLabels.batch\.kubernetes\.io/controller-uid'

check "a selector that misses its template is refused" refuses '`selector` does not match template `labels`' \
  deployment bad '{"selector":{"matchLabels":{"a":"b"}},"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}'
check "so is a bad name" refuses 'a lowercase RFC 1123 subdomain must consist of' kubectl create configmap Bad
check "and a label that is none" refuses 'must start and end with an alphanumeric character' kubectl label pod web 'x=-'
check "a Pod stays where it is" refuses 'pod updates may not change fields other than' \
  kubectl patch pod web -p '{"spec":{"nodeName":"elsewhere"}}'
check "a selector stays what it is" refuses 'field is immutable' \
  kubectl patch deployment web -p '{"spec":{"selector":{"matchLabels":{"app":"other"}}}}'
check "a sealed ConfigMap is sealed" kubectl patch configmap sent -p '{"immutable":true}'
check "and stays so" refuses 'field is immutable when `immutable` is set' kubectl patch configmap sent -p '{"data":{"key":"other"}}'

finish
