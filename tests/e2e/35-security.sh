#!/bin/bash
# Encryption at rest, auditing, other issuers' tokens and webhooks of our kube-apiserver alone, on loopback.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"
port=$((api_port + 1))
stand_in=$(dirname "$(readlink -f "$0")")/security.py

stored() {                  # what etcd holds under a key, as it is
  curl -sS --cacert "$pki/etcd/ca.crt" --cert "$pki/apiserver-etcd-client.crt" --key "$pki/apiserver-etcd-client.key" "$etcd/v3/kv/range" \
    -d "{\"key\":\"$(printf %s "$1" | base64 -w 0)\"}" | python3 -c 'import base64, json, sys; sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["kvs"][0]["value"]))' |
    tr -d '\0'
}
starts() { local start=$1; shift; local value; value=$("$@") && [ "${value:0:${#start}}" = "$start" ] || { echo "${value:0:60}"; return 1; }; }
ask() { local token=$1; shift; curl -sS -A e2e --cacert "$pki/ca.crt" -H "Authorization: Bearer $token" "$@"; }
token() { python3 "$stand_in" token "$tmp/issuer.key" "https://127.0.0.1:$port" "$@"; }
noted() { python3 "$stand_in" noted "$tmp/audit.log" "$@"; }
encryption() {              # a file in which these providers keep Secrets
  { printf 'apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n'
    printf -- '  - %s\n' "$@"; } > "$tmp/encryption.new" && mv "$tmp/encryption.new" "$tmp/encryption.yaml"
}
key() { echo "{$1: {keys: [{name: $2, secret: $(printf "%032d" "$3" | base64 -w 0)}]}}"; }
restart() { kill "$api_pid"; wait "$api_pid"; start_api; }
kubeconfig() {              # a kubeconfig of the stand-in
  printf 'apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: "https://127.0.0.1:%s%s", certificate-authority: %s}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n' \
    "$port" "$1" "$pki/ca.crt" > "$2"
}
serving() {                 # a certificate for the stand-in, and the issuer's own key
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=stand-in -keyout "$tmp/stand-in.key" -out "$tmp/stand-in.csr" &&
    openssl x509 -req -in "$tmp/stand-in.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -set_serial 8 -days 1 \
      -extfile <(printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth') -out "$tmp/stand-in.crt" &&
    openssl genrsa -out "$tmp/issuer.key" 2048
}

cat > "$tmp/policy.yaml" <<'T2'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, nonResourceURLs: ["/readyz*", "/api*"]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: RequestResponse, verbs: [create], resources: [{group: "", resources: [configmaps]}]}
- {level: Metadata, resources: [{group: authentication.k8s.io}]}
- {level: Metadata, users: [issued:ann, told, "system:anonymous"]}
- {level: None}
T2
cat > "$tmp/authentication.yaml" <<T2
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://127.0.0.1:$port
    audiences: [us]
    certificateAuthority: |
CA
  claimValidationRules:
  - {expression: "claims.hd == 'x'", message: of another domain}
  claimMappings:
    username: {expression: "'issued:' + claims.sub"}
    groups: {expression: "claims.roles.split(',')"}
    extra: [{key: example.org/team, valueExpression: "claims.?team.orValue('none')"}]
  userValidationRules:
  - {expression: "!user.username.contains('system:')"}
anonymous:
  enabled: true
  conditions: [{path: /livez}, {path: /readyz}, {path: /healthz}]
T2
cat > "$tmp/authorization.yaml" <<T2
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: stand-in
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: NoOpinion
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: $tmp/authorize.conf}
    matchConditions:
    - expression: "!('system:masters' in request.groups)"
    - expression: has(request.resourceAttributes) && request.resourceAttributes.namespace != 'kube-system'
- {type: Node, name: node}
- {type: RBAC, name: rbac}
T2
cat > "$tmp/admission.yaml" <<T2
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ImagePolicyWebhook
  configuration: {imagePolicy: {kubeConfigFile: $tmp/images.conf, retryBackoff: 100, defaultAllow: false}}
- name: ValidatingAdmissionWebhook
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: $tmp/users.conf}
T2
pod() { printf '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s"},"spec":{"automountServiceAccountToken":false,"containers":[{"name":"c","image":"%s"}]}}' "$1" "$2" > "$tmp/pod.json"; kubectl create -f "$tmp/pod.json"; }
asked_as() { echo '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"as-'"$1"'","labels":{"asked":"true"}}}' | kubectl create -f -; }
asked_for() { [ "$(grep -c "$1" "$tmp/images.log")" = "$2" ]; }

api_flags=(--encryption-provider-config "$tmp/encryption.yaml" --encryption-provider-config-automatic-reload
  --audit-policy-file "$tmp/policy.yaml" --audit-log-path "$tmp/audit.log" --audit-webhook-config-file "$tmp/audit.conf" --audit-webhook-batch-max-wait 1s)
encryption "$(key aescbc one 1)" 'identity: {}'
kubeconfig /audit "$tmp/audit.conf"; kubeconfig /authorize "$tmp/authorize.conf"; kubeconfig /token "$tmp/token.conf"
start_control_plane
check "a stand-in's certificate" serving
python3 "$stand_in" serve $port "$tmp" > "$tmp/stand-in.log" 2>&1 &
pids+=($!)

check "a Secret is made" kubectl create secret generic s --from-literal=a=hidden
check "it is encrypted in etcd" starts k8s:enc:aescbc:v1:one: stored /registry/secrets/default/s
check "and read as it was" equals aGlkZGVu kubectl get secret s -o 'jsonpath={.data.a}'
check "a ConfigMap is not" kubectl create configmap c --from-literal=a=plain
check "it lies there as JSON" starts '{' stored /registry/configmaps/default/c
encryption "$(key secretbox two 2)" "$(key aescbc one 1)"
rewritten() { kubectl get secret s -o json | kubectl replace -f - && starts k8s:enc:secretbox:v1:two: stored /registry/secrets/default/s; }
check "a changed file is taken up, and a rewrite encrypts anew" within 20 rewritten
check "it still reads as before" equals aGlkZGVu kubectl get secret s -o 'jsonpath={.data.a}'
check "reloads are counted" says 'apiserver_encryption_config_controller_automatic_reloads_total{status="success"} 1' kubectl get --raw /metrics
encryption "$(key aesgcm three 3)" "$(key secretbox two 2)"
restart
check "another server with another first key is ready" within 20 ready
check "and reads what the old one wrote" equals aGlkZGVu kubectl get secret s -o 'jsonpath={.data.a}'

check "the audit log tells of the Secret" noted verb=create objectRef.resource=secrets objectRef.name=s level=Metadata user.username=admin stage=ResponseComplete responseStatus.code=201
check "and not of what is in it" not grep -q hidden "$tmp/audit.log"
check "nor of what the policy leaves out" not noted requestURI=/readyz
check "it has whole ConfigMaps" noted objectRef.name=c requestObject.data.a=plain responseObject.data.a=plain
check "why it was allowed" noted objectRef.name=c annotations.authorization.k8s.io/decision=allow
check "answers name their event" says audit-id curl -sS -D - -o /dev/null --cacert "$pki/ca.crt" "$api/readyz"
check "a webhook gets events too" within 20 says secrets cat "$tmp/events.log"

sed -i "/^CA/{
r /dev/stdin
d
}" "$tmp/authentication.yaml" < <(sed 's/^/      /' "$pki/ca.crt")
api_flags+=(--authentication-config "$tmp/authentication.yaml" --authentication-token-webhook-config-file "$tmp/token.conf" --authentication-token-webhook-version v1)
restart
check "a server with other issuers is ready" within 20 ready
check "strangers may ask for health" says ok curl -sS --cacert "$pki/ca.crt" "$api/livez"
check "and for nothing else" says '"code": 401' curl -sS --cacert "$pki/ca.crt" "$api/version"
review() { ask "$1" -H 'Content-Type: application/json' -d '{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}' "$api/apis/authentication.k8s.io/v1/selfsubjectreviews"; }
check "an issued token names a user" within 10 says '"username":"issued:ann"' review "$(token ann)"
check "with groups and more" says '"example.org/team":["red"]' review "$(token ann team=red)"
check "one for somebody else is refused" says '"code":401' review "$(token ann aud=them)"
check "one that has ended too" says '"code":401' review "$(token ann exp=1)"
check "one of another domain" says '"code":401' review "$(token ann hd=y)"
check "one that claims too much" says '"code":401' review "$(token system:admin)"
check "and a forged one" says '"code":401' review "$(token ann | sed 's/....$/AAAA/')"
check "a webhook knows others" says '"username":"told"' review magic
check "but not everybody" says '"code":401' review tragic
check "refusals are noted" noted responseStatus.code=401 stage=ResponseStarted

api_authorization=(--authorization-config "$tmp/authorization.yaml")
restart
check "a server that asks a webhook is ready" within 20 ready
check "what it allows is allowed" says PodList ask magic "$api/api/v1/namespaces/allowed/pods"
check "what it refuses is told with its reason" says 'the stand-in says no' ask magic "$api/api/v1/namespaces/refused/pods"
check "and so is what it has no opinion of" says ': the stand-in knows no such place' ask magic "$api/api/v1/namespaces/unknown/pods"
check "an answer that is none is an internal error" says 'Internal Server Error: "/api/v1/namespaces/both/pods": webhook subject access review' ask magic "$api/api/v1/namespaces/both/pods"
check "of what it is not asked it says nothing" says 'cannot list resource' ask magic "$api/api/v1/namespaces/kube-system/pods"
check "administrators need not be known to it" kubectl get pods -n refused
check "rules are told to be incomplete" says '"incomplete":true' ask magic -H 'Content-Type: application/json' -d '{"kind":"SelfSubjectRulesReview","apiVersion":"authorization.k8s.io/v1","spec":{"namespace":"default"}}' "$api/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"

messages() { local token=$1; shift; python3 tests/e2e/clients/messages.py "${api#https://}" "$pki/ca.crt" "/api/v1/namespaces/allowed/configmaps?watch=1&timeoutSeconds=1" "$token" "$@"; }
check "a namespace to watch" kubectl create namespace allowed
check "and what is in it" kubectl create configmap seen -n allowed
check "a watch comes in messages, by a token among the subprotocols" says 'text ADDED seen' messages magic
check "the token is not told again" says 'sec-websocket-protocol: base64.binary.k8s.io' messages magic
check "its end is told" says 'close 1000' messages magic
check "protobuf comes in messages of bytes" says 'binary ADDED' messages magic application/vnd.kubernetes.protobuf
check "another token is refused" refuses ' 401 ' messages tragic

kubeconfig /images "$tmp/images.conf"
printf 'apiVersion: v1\nkind: Config\nusers: [{name: "127.0.0.1:%s", user: {tokenFile: %s}}]\n' "$port" "$tmp/hook.token" > "$tmp/users.conf"
echo hook > "$tmp/hook.token"
api_flags+=(--enable-admission-plugins NodeRestriction,ImagePolicyWebhook --admission-control-config-file "$tmp/admission.yaml")
restart
check "a server that asks about images is ready" within 20 ready
check "the account of Pods" within 20 kubectl create serviceaccount default
check "an image that is refused is refused with its reason" refuses 'forbidden: image policy webhook backend denied one or more images: the stand-in knows it' pod bad kinit.local/bad:1
check "another is taken" pod good kinit.local/good:1
check "and its answer is remembered" pod good-too kinit.local/good:1
check "so it is asked for once" asked_for good 1
cat > "$tmp/hook.yaml" <<T2
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: stand-in}
webhooks:
- name: stand-in.kinit.local
  clientConfig: {url: "https://127.0.0.1:$port/admit", caBundle: $(base64 -w 0 "$pki/ca.crt")}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [configmaps]}]
  objectSelector: {matchLabels: {asked: "true"}}
  sideEffects: None
  admissionReviewVersions: [v1]
T2
check "a webhook is told who asks" kubectl apply -f "$tmp/hook.yaml"
check "by the token for it" within 5 asked_as hook
echo other > "$tmp/hook.token"
check "and by a new one" refuses "the stand-in was shown 'Bearer other'" asked_as other

starting() { timeout 10 "$dist/kube-apiserver" --etcd-servers $etcd "$@"; }
check "a wrong policy is refused by name" refuses 'audit-policy-file.*missing field' starting --audit-policy-file <(echo '{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{}]}')
check "a wrong key is not shown" refuses 'secret is not of the expected length, got 3' starting --encryption-provider-config <(echo '{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{resources: [secrets], providers: [{aescbc: {keys: [{name: a, secret: YWJj}]}}]}]}')
check "a plugin without what it needs is told" refuses 'ImagePolicyWebhook needs its server in --admission-control-config-file' starting --enable-admission-plugins ImagePolicyWebhook
finish
