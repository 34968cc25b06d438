#!/bin/bash
# An etcd and an API server of any make on it, on loopback, for the load generator to measure and to disturb. All that they keep lies in a
# directory of their own, $BENCH_DIR, with the kubeconfig of somebody who may do everything. Ports are $ETCD_PORT and $API_PORT.
#   servers.sh etcd PROGRAM [FLAG...]    starts an etcd        servers.sh apiserver PROGRAM [FLAG...]    starts an API server
#   servers.sh pid etcd|apiserver        prints its process    servers.sh down [etcd|apiserver]          ends it, or both
#   servers.sh disturb                   etcd is killed, the next time stands still, the next time is cut off, and so on
#   servers.sh compare RESOURCE NAMESPACE    what the API lists there against what etcd has: names and versions, of /api/v1
# A soak, with both up: cargo bench -p kinit-apiserver --bench load -- --kubeconfig $BENCH_DIR/kubeconfig --seconds 600
#   --disturb 'benches/servers.sh disturb' soak && benches/servers.sh compare configmaps load-soak
set -euo pipefail
dir=${BENCH_DIR:?where the servers keep what they have}
etcd_port=${ETCD_PORT:-22379} api_port=${API_PORT:-26443}
etcd=http://127.0.0.1:$etcd_port api=https://127.0.0.1:$api_port
table=kinit-bench

pid() { cat "$dir/$1.pid"; }
within() {                                  # within SECONDS COMMAND...: it succeeds in the end
  local until=$((SECONDS + $1)); shift
  until "$@" > /dev/null 2>&1; do [ $SECONDS -lt $until ] || { echo "not in time: $*" >&2; return 1; }; sleep 0.1; done
}
ask() { curl -sf --cacert "$dir/ca.crt" --cert "$dir/admin.crt" --key "$dir/admin.key" "$api/$1"; }
run() {                                     # run NAME COMMAND...: in the background, remembered for the next time
  local name=$1; shift
  printf '%q ' "$@" > "$dir/$name.command"
  again "$name"
}
again() {
  eval "exec setsid $(cat "$dir/$1.command")" >> "$dir/$1.log" 2>&1 < /dev/null & echo $! > "$dir/$1.pid"
  case $1 in
    etcd) within 60 curl -sf "$etcd/health" ;;
    apiserver) within 120 ask readyz ;;
  esac
}
end() { kill "-$1" "$(pid "$2")"; within 60 not_there "$2"; }
not_there() { ! kill -0 "$(pid "$1")"; }

certificate() {                             # certificate NAME SUBJECT EXTENSIONS
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$dir/$1.key" -out "$dir/$1.csr"
  openssl x509 -req -in "$dir/$1.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 30 -extfile <(printf '%b' "$3") -out "$dir/$1.crt"
} 2> /dev/null
certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=ca -days 30 -keyout "$dir/ca.key" -out "$dir/ca.crt" 2> /dev/null
  certificate server /CN=kube-apiserver 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n'
  certificate admin /O=system:masters/CN=admin 'extendedKeyUsage=clientAuth\n'
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/accounts.key"
  cat > "$dir/kubeconfig" <<END
{"apiVersion": "v1", "kind": "Config", "current-context": "bench",
 "clusters": [{"name": "bench", "cluster": {"server": "$api", "certificate-authority": "$dir/ca.crt"}}],
 "users": [{"name": "admin", "user": {"client-certificate": "$dir/admin.crt", "client-key": "$dir/admin.key"}}],
 "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "admin"}}]}
END
}

stored() {                                  # stored RESOURCE NAMESPACE: names and versions of what lies in etcd
  local key=/registry/$1/$2
  curl -sf "$etcd/v3/kv/range" -d "{\"key\": \"$(printf '%s/' "$key" | base64 -w0)\", \"range_end\": \"$(printf '%s0' "$key" | base64 -w0)\", \"keys_only\": true}" |
    jq -r '.kvs // [] | .[] | "\(.key | @base64d | split("/") | last) \(.mod_revision)"' | sort
}
served() { ask "api/v1/namespaces/$2/$1" | jq -r '.items[].metadata | "\(.name) \(.resourceVersion)"' | sort; }

case ${1:-} in
  etcd) mkdir -p "$dir"; shift; program=$1; shift
    run etcd "$program" --data-dir "$dir/etcd" --listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
      --listen-peer-urls "http://127.0.0.1:$((etcd_port + 1))" --log-level=error --quota-backend-bytes=16000000000 "$@" ;;
  apiserver) shift; program=$1; shift; [ -s "$dir/kubeconfig" ] || certificates
    run apiserver "$program" --etcd-servers "$etcd" --bind-address 127.0.0.1 --secure-port "$api_port" --authorization-mode Node,RBAC \
      --tls-cert-file "$dir/server.crt" --tls-private-key-file "$dir/server.key" --client-ca-file "$dir/ca.crt" \
      --service-account-issuer https://bench.example.org --service-account-key-file "$dir/accounts.key" \
      --service-account-signing-key-file "$dir/accounts.key" --service-cluster-ip-range 10.96.0.0/16 "$@" ;;
  pid) pid "$2" ;;
  down) for name in ${2:-apiserver etcd}; do [ ! -s "$dir/$name.pid" ] || not_there "$name" 2> /dev/null || end TERM "$name"; done ;;
  disturb) turn=$(cat "$dir/turn" 2> /dev/null || echo 0); echo $((turn + 1)) > "$dir/turn"
    case $((turn % 3)) in
      0) echo "etcd is killed"; end KILL etcd; sleep 2; again etcd ;;
      1) echo "etcd stands still"; kill -STOP "$(pid etcd)"; sleep 20; kill -CONT "$(pid etcd)" ;;
      2) echo "etcd is cut off"
        nft "table inet $table { chain input { type filter hook input priority 0; tcp dport $etcd_port drop; tcp sport $etcd_port drop; }; }"
        trap 'nft delete table inet $table' EXIT
        sleep 20 ;;
    esac ;;
  compare) stored "$2" "$3" > "$dir/stored"
    [ -s "$dir/stored" ] || { echo "no $2 are stored" >&2; exit 1; }
    served "$2" "$3" | diff "$dir/stored" - || exit 1
    echo "$(wc -l < "$dir/stored") $2, all as stored" ;;
  *) sed -n '2,9s/^# //p' "$0" >&2; exit 2 ;;
esac
