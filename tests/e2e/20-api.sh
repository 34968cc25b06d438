#!/bin/bash
# The real kubectl against our kube-apiserver over our etcd, on loopback, both over TLS with certificates that kinit made.
. "$(dirname "$0")/lib.sh"
dist=${KINIT_DIST:-$PWD/target/dist}
tmp=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2> /dev/null; wait; rm -rf "$tmp"' EXIT
pki=$tmp/pki
etcd=https://127.0.0.1:23791
api=https://127.0.0.1:16443

kubectl() { command kubectl --request-timeout 10s --cache-dir "$tmp/cache" --server $api --certificate-authority "$pki/ca.crt" \
  --client-certificate "$tmp/admin.crt" --client-key "$tmp/admin.key" "$@"; }
admin() {                   # a client certificate of the cluster's CA, as an administrator would make one
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /O=system:masters/CN=admin \
    -keyout "$tmp/admin.key" -out "$tmp/admin.csr" &&
    openssl x509 -req -in "$tmp/admin.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -set_serial 7 -days 1 \
      -extfile <(echo extendedKeyUsage=clientAuth) -out "$tmp/admin.crt"
}
ready() { says ok curl -sS --cacert "$pki/ca.crt" "$api/readyz"; }
start_etcd() {
  "$dist/etcd" --data-dir "$tmp/etcd" --listen-client-urls $etcd --advertise-client-urls $etcd \
    --listen-peer-urls https://127.0.0.1:23801 --client-cert-auth --trusted-ca-file "$pki/etcd/ca.crt" \
    --cert-file "$pki/etcd/server.crt" --key-file "$pki/etcd/server.key" >> "$tmp/etcd.log" 2>&1 &
  etcd_pid=$!; pids+=($!)
}
start_api() {
  "$dist/kube-apiserver" --bind-address 127.0.0.1 --secure-port 16443 --etcd-servers $etcd --etcd-cafile "$pki/etcd/ca.crt" \
    --etcd-certfile "$pki/apiserver-etcd-client.crt" --etcd-keyfile "$pki/apiserver-etcd-client.key" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" >> "$tmp/api.log" 2>&1 &
  api_pid=$!; pids+=($!)
}
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

check "kinit makes the certificates" "$dist/kinit" init phase certs all --cert-dir "$pki" --apiserver-advertise-address 192.0.2.1 \
  --apiserver-cert-extra-sans 127.0.0.1
check "its CA signs an administrator" admin
start_etcd
start_api
check "the server is ready" within 20 ready
check "the system's namespaces are there" within 10 says namespace/kube-node-lease kubectl get namespaces -o name
check "discovery names every group" says resourceslices kubectl api-resources --api-group resource.k8s.io
check "objects are created" kubectl create --validate=false -f "$tmp/maps.yaml"
check "a second creation is refused" refuses 'configmaps "a" already exists' kubectl create --validate=false -f "$tmp/maps.yaml"
check "labels select" equals configmap/b kubectl get configmaps -l 'app in (db)' -o name
check "fields select" equals configmap/a kubectl get configmaps --field-selector metadata.name=a -o name
check "a merge patch changes" kubectl patch configmap a --type merge -p '{"data":{"x":"2","y":"3"}}'
check "what it changed is read" equals 2 value a x
check "a JSON patch changes" kubectl patch configmap a --type json -p '[{"op":"remove","path":"/data/y"}]'
check "what it removed is gone" equals '' value a y
check "a Deployment is applied" kubectl apply --validate=false -f "$tmp/web.yaml"
check "a strategic patch merges a list by its key" kubectl patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"other"}]}}}}'
check "the other element stays" equals 'kinit.local/web:1 other' kubectl get deployment web -o 'jsonpath={.spec.template.spec.containers[*].image}'
check "the generation counts the changes" equals 2 kubectl get deployment web -o 'jsonpath={.metadata.generation}'

kubectl get configmaps -w -o name > "$tmp/watch" 2>&1 & watch_pid=$!; pids+=($watch_pid)
check "a watch begins with what there is" within 5 watched configmap/b
check "an object goes" kubectl delete configmap b
check "a third comes" kubectl create --validate=false -f "$tmp/c.json"
check "the watch saw it" within 5 watched configmap/c
kill $watch_pid

check "a stranger may not list" refuses 'system:anonymous.* cannot list resource' curl -sS --fail-with-body --cacert "$pki/ca.crt" $api/api/v1/pods
check "an unknown path is not found" refuses 'NotFound' kubectl get --raw /api/v1/nothings
check "a body that is no JSON is refused" refuses 'the object provided is unrecognized' kubectl create --raw /api/v1/namespaces -f <(echo '{')
check "an unknown flag is refused" refuses "unexpected argument '--bogus'" "$dist/kube-apiserver" --etcd-servers $etcd --bogus

kill -9 $etcd_pid
start_etcd
check "after etcd is killed nothing is lost" within 20 equals 2 value a x
check "and the server's cache follows again" within 20 kubectl create --validate=false -f "$tmp/d.json"
check "a list shows what was written since" within 10 says configmap/d kubectl get configmaps -o name
kill -9 $api_pid
start_api
check "a new server serves the same objects" within 20 equals 2 value a x
finish
