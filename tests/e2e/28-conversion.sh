#!/bin/bash
# Custom resources whose versions a webhook converts, on our kube-apiserver alone, on loopback, with the real kubectl.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"

port=${HOOK_PORT:-19443}
certificate() {             # for the webhook, by itself
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=hook \
    -addext 'subjectAltName=IP:127.0.0.1' -addext basicConstraints=critical,CA:FALSE -keyout "$tmp/hook.key" -out "$tmp/hook.crt"
}
webhook() { python3 tests/e2e/clients/convert.py "$port" "$tmp/hook.crt" "$tmp/hook.key" "$tmp/hook.log" & hook_pid=$!; pids+=($!); }
listening() { curl -s --cacert "$tmp/hook.crt" "https://127.0.0.1:$port/" -o /dev/null; }
quiet() { "$@" 2> /dev/null; }      # without the warning that a version is deprecated
calls() { wc -l < "$tmp/hook.log"; }
field() { kubectl get "$1" -o "jsonpath={$2}"; }
host() { printf '{"apiVersion":"example.com/%s","kind":"Host","metadata":{"name":"%s"},%s}' "$@"; }
create() { host "$@" | kubectl create -f -; }
seen() { within 10 grep -q "$1" "$tmp/watch"; }
definition() {              # definition STORAGE: which of the two versions objects are stored in
  cat <<T
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: hosts.example.com}
spec:
  group: example.com
  names: {plural: hosts, kind: Host}
  scope: Namespaced
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {url: "https://127.0.0.1:$port/convert", caBundle: $(base64 -w0 "$tmp/hook.crt")}
  versions:
  - name: v1
    served: true
    storage: $([ "$1" = v1 ] && echo true || echo false)
    selectableFields: [{jsonPath: .hostPort}]
    schema: {openAPIV3Schema: {type: object, properties: {hostPort: {type: string}}}}
  - name: v2
    served: true
    storage: $([ "$1" = v2 ] && echo true || echo false)
    deprecated: true
    selectableFields: [{jsonPath: .host}, {jsonPath: .port}]
    schema: {openAPIV3Schema: {type: object, properties: {host: {type: string}, port: {type: string}}}}
T
}

check "a certificate" certificate
start_control_plane
webhook
check "the webhook listens" within 10 listening
check "a definition is created" kubectl create -f <(definition v1)
check "and established" kubectl wait --for=condition=established --timeout=10s crd/hosts.example.com
check "an object of the stored version" within 5 create v1 a '"hostPort":"a:80"'
check "is shown in the other" equals 'a 80' quiet field hosts.v2.example.com/a '.host} {.port'
check "one of the other version" create v2 b '"host":"b","port":"81"'
check "is stored in the first" equals 'b:81' field hosts.v1.example.com/b .hostPort
check "a deprecated version warns" says 'example.com/v2 Host is deprecated' kubectl get hosts.v2.example.com
check "lists are converted" equals 'a b' quiet kubectl get hosts.v2.example.com -o 'jsonpath={.items[*].host}'
check "each state of an object once" equals "$(calls)" eval 'kubectl get hosts.v2.example.com > /dev/null 2>&1; calls'
check "fields of the version select" equals b quiet kubectl get hosts.v2.example.com --field-selector port=81 -o 'jsonpath={.items[*].metadata.name}'
check "no others do" refuses 'field label not supported' kubectl get hosts.v2.example.com --field-selector hostPort=a:80
kubectl get hosts.v2.example.com --watch-only --request-timeout 60s -o 'jsonpath={.host}:{.port}{"\n"}' > "$tmp/watch" 2> /dev/null &
pids+=($!)
# Something has to happen until the watch has begun.
check "watchers see the version that they asked for" within 15 eval \
  'kubectl patch hosts.v1.example.com a --type merge -p "{\"hostPort\":\"a:$RANDOM\"}" > /dev/null; kubectl patch hosts.v1.example.com a --type merge -p "{\"hostPort\":\"a:82\"}" > /dev/null; grep -q a:82 "$tmp/watch"'
check "a patch in the other version" kubectl patch hosts.v2.example.com a --type merge -p '{"port":"83"}'
check "is stored" equals 'a:83' field hosts.v1.example.com/a .hostPort
check "the other version is the stored one now" kubectl apply -f <(definition v2)
check "which is noted" equals '["v1","v2"]' field crd/hosts.example.com .status.storedVersions
check "objects stored before are shown all the same" within 10 equals 'a b' quiet kubectl get hosts.v2.example.com -o 'jsonpath={.items[*].host}'
check "a webhook that ends" kill "$hook_pid"
check "is told of" within 5 refuses 'conversion webhook for example.com/v1, Kind=Host failed: Post' kubectl get hosts.v2.example.com a
kubectl create --dry-run=client -o json -f <(definition v2) > "$tmp/blind.json"
check "an update has to say what it replaces" refuses 'metadata.resourceVersion: Invalid value: 0: must be specified for an update' \
  kubectl replace --raw /apis/apiextensions.k8s.io/v1/customresourcedefinitions/hosts.example.com -f "$tmp/blind.json"

finish
