#!/bin/bash
# Fields: what kubectl explains, what is refused, and who manages which.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"

web() {                     # a Deployment's configuration: NAME REPLICAS [MORE-OF-SPEC]
  cat <<T
apiVersion: apps/v1
kind: Deployment
metadata: {name: $1}
spec:
  replicas: $2
  ${3:-}
  selector: {matchLabels: {app: $1}}
  template:
    metadata: {labels: {app: $1}}
    spec: {containers: [{name: web, image: "kinit.local/web:1"}, {name: side, image: "kinit.local/web:1"}]}
T
}
create() { web "$@" | kubectl create -f -; }
apply() { web "$@" | kubectl apply -f -; }
apply_as() { local manager=$1; shift; web "$@" | kubectl apply --server-side --field-manager "$manager" -f -; }
force_as() { local manager=$1; shift; web "$@" | kubectl apply --server-side --force-conflicts --field-manager "$manager" -f -; }
replicas() { kubectl get deployment "$1" -o 'jsonpath={.spec.replicas}'; }
managers() { kubectl get deployment "$1" --show-managed-fields -o 'jsonpath={range .metadata.managedFields[*]}{.manager}:{.operation}:{.subresource} {end}'; }
raw_map() { kubectl create --raw "/api/v1/namespaces/default/configmaps?fieldValidation=$1" -f <(echo '{"metadata":{"name":"'"$2"'"},"data":{"x":"1","x":"2"}}'); }
openapi() { curl -sS --cacert "$pki/ca.crt" --cert "$tmp/admin.crt" --key "$tmp/admin.key" "$@"; }

start_control_plane

check "kubectl explains a field" says 'type	<string>' kubectl explain deployment.spec.strategy
check "with all that is below it" says 'preferredDuringSchedulingIgnoredDuringExecution' kubectl explain pods.spec --recursive
check "and from the older document" says 'hostPort	<integer>' kubectl explain pods.spec.containers.ports --output plaintext-openapiv2
check "documents are known by their hash" says 'HTTP/2 304' openapi -D - -o /dev/null \
  -H "If-None-Match: $(openapi -D - -o /dev/null $api/openapi/v3/apis/apps/v1 | tr -d '\r' | sed -n 's/^etag: //p')" $api/openapi/v3/apis/apps/v1

check "an unknown field is refused" refuses 'strict decoding error: unknown field "spec.bogus"' create bad 1 'bogus: 1'
check "or warned of" says 'Warning: unknown field "spec.bogus"' kubectl create --validate=warn -f <(web warned 1 'bogus: 1')
check "and not stored" equals '' kubectl get deployment warned -o 'jsonpath={.spec.bogus}'
check "a value of another type is refused" refuses 'cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32' create bad '"two"'
check "a field given twice is refused" refuses 'duplicate field "data.x"' raw_map Strict twice
check "unless it does not matter" raw_map Ignore twice
check "both are told at once" refuses 'strict decoding error: unknown field "dat", duplicate field "data.x"' \
  kubectl create --raw "/api/v1/namespaces/default/configmaps?fieldValidation=Strict" -f <(echo '{"metadata":{"name":"both"},"dat":{},"data":{"x":"1","x":"2"}}')
check "a Deployment is created" create web 2
check "its creator is noted" equals 'kubectl-create:Update: ' managers web
check "applied on the client, it changes" apply web 3
check "to what was applied" equals 3 replicas web
check "applied on the server, it changes again" apply_as kubectl web 4
check "to what was applied then" equals 4 replicas web
check "another manager may not change it" refuses 'conflict with "kubectl": .spec.replicas' apply_as other web 5
check "unless it insists" force_as other web 5
check "and then it has changed" equals 5 replicas web
check "scaling is noted" kubectl scale deployment web --replicas 6
check "as the subresource's" says 'kubectl:Update:scale' managers web
check "and conflicts" refuses 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' apply_as other web 5
check "what is not there is made" says 'serverside-applied' apply_as maker new 1
check "a field that is no longer applied goes" apply_as maker new 1 'paused: true'
check "it was there" equals true kubectl get deployment new -o 'jsonpath={.spec.paused}'
check "it is taken out" apply_as maker new 1
check "it is gone" equals '' kubectl get deployment new -o 'jsonpath={.spec.paused}'
check "applying the same again changes nothing" equals "$(kubectl get deployment new -o 'jsonpath={.metadata.resourceVersion}')" \
  kubectl apply --server-side --field-manager maker -o 'jsonpath={.metadata.resourceVersion}' -f <(web new 1)
check "what is applied must say its name" says 'undeterminable: name must be provided' openapi -X PATCH -H 'Content-Type: application/apply-patch+yaml' \
  -d '{apiVersion: v1, kind: ConfigMap}' "$api/api/v1/namespaces/default/configmaps/unsaid?fieldManager=maker"
check "a strategic patch merges by name" kubectl patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"other"}]}}}}'
check "and keeps the order" equals 'kinit.local/web:1 other' kubectl get deployment web -o 'jsonpath={.spec.template.spec.containers[*].image}'
finish
