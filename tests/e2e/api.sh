# Sourced by tests of the API server alone: etcd and kube-apiserver on loopback, both over TLS with certificates that kinit made.
dist=${KINIT_DIST:-$PWD/target/dist}
etcd_binary=${etcd_binary:-$dist/etcd}
tmp=$(mktemp -d)
pids=()
api_authorization=(--authorization-mode Node,RBAC)
api_flags=()               # more flags of the API server
trap 'kill "${pids[@]}" 2> /dev/null; wait; rm -rf "$tmp"' EXIT
pki=$tmp/pki
etcd=https://127.0.0.1:${ETCD_PORT:-23791}
api_port=${API_PORT:-16443}
api=https://127.0.0.1:$api_port

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
  "$etcd_binary" --data-dir "$tmp/etcd" --listen-client-urls $etcd --advertise-client-urls $etcd \
    --listen-peer-urls http://127.0.0.1:$((${ETCD_PORT:-23791} + 10)) --client-cert-auth --trusted-ca-file "$pki/etcd/ca.crt" \
    --cert-file "$pki/etcd/server.crt" --key-file "$pki/etcd/server.key" >> "$tmp/etcd.log" 2>&1 &
  etcd_pid=$!; pids+=($!)
}
start_api() {
  "$dist/kube-apiserver" --bind-address 127.0.0.1 --secure-port $api_port "${api_authorization[@]}" --etcd-servers $etcd --etcd-cafile "$pki/etcd/ca.crt" \
    --etcd-certfile "$pki/apiserver-etcd-client.crt" --etcd-keyfile "$pki/apiserver-etcd-client.key" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    "${api_flags[@]}" >> "$tmp/api.log" 2>&1 &
  api_pid=$!; pids+=($!)
}
start_control_plane() {
  check "kinit makes the certificates" "$dist/kinit" init phase certs all --cert-dir "$pki" --apiserver-advertise-address 192.0.2.1 \
    --apiserver-cert-extra-sans 127.0.0.1
  check "its CA signs an administrator" admin
  start_etcd
  start_api
  check "the server is ready" within 20 ready
}
