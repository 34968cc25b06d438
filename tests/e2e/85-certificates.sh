#!/bin/bash
# Certificates that live for less than two minutes, the control plane's and the kubelets': they are renewed before they end, and
# servers take them while they run.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

on() { $lab ssh "$@"; }
equip() {
  on "$1" mkdir -p /usr/local/lib/kinit && $lab push "$1" "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/ &&
    on "$1" ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
}
ready() { equals True kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
served() { openssl s_client -connect 10.88.0.11:6443 < /dev/null 2> /dev/null | openssl x509 -noout -serial; }
another() { local now; now=$(served) && [ -n "$now" ] && [ "$now" != "$1" ]; }
restarts() { kubectl get pods -n kube-system -l 'component in (etcd,kube-apiserver)' -o 'jsonpath={.items[*].status.containerStatuses[0].restartCount}'; }
# What the kubelet of a host serves with: who issued it, and its number.
serves() { openssl s_client -connect "$1" < /dev/null 2> /dev/null | openssl x509 -noout -issuer -serial | tr '\n' ' '; }
serving_requests() {
  kubectl get csr -o 'jsonpath={range .items[?(@.spec.signerName=="kubernetes.io/kubelet-serving")]}{.metadata.name} {.spec.username} {.status.conditions[*].type}{"\n"}{end}'
}
asks() { serving_requests | awk -v user="system:node:$1" '$2 == user && $3 == "" { print $1; found = 1 } END { exit !found }'; }
approved_issuer() { [[ $(serves "$1") == *"CN = kubernetes "* ]]; }
# Approves what a host's kubelet asks for, until it serves with something that the cluster signed.
approved() {
  local name
  for name in $(asks "$1"); do kubectl certificate approve "$name"; done
  approved_issuer "$2"
}
# What w1's kubelet shows to the API server, and what it serves with: others than the ones with these numbers.
shown() { on w1 cat /var/lib/kubelet/pki/kubelet-client-current.pem | openssl x509 -noout -serial; }
shows_another() { local now; now=$(shown) && [ -n "$now" ] && [ "$now" != "$1" ]; }
serves_another() { approved w1 "$1" && [ "$(serves "$1")" != "$2" ]; }
ended() { [ "$(date +%s)" -gt "$1" ]; }

check "the lab of the tests before is ended" $lab down
check "two hosts start" $lab up --control-planes 1 --workers 1
check "cp1 gets the binaries" equip cp1
cat > "$tmp/kinit.yaml" <<'T'
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
certificateValidityPeriod: 100s
encryptionAlgorithm: ECDSA-P384
controllerManager:
  extraArgs:
    - name: cluster-signing-duration
      value: 100s
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
serverTLSBootstrap: true
T
$lab push cp1 "$tmp/kinit.yaml" /root/
check "a cluster with short certificates is made" on cp1 kinit init --config /root/kinit.yaml
end=$(($(date +%s) + 105))
serial=$(served)
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "w1 joins" on cp1 kinit join --ssh root@w1 --accept-new-host-keys
check "and is ready" within 60 ready w1
check "w1's kubelet asks for a certificate to serve with" within 30 asks w1
check "serving without it as nobody has approved it" not approved_issuer 10.88.0.21:10250
check "an administrator approves it, and it is served" within 30 approved w1 10.88.0.21:10250
shown=$(shown)
first=$(serves 10.88.0.21:10250)
check "logs come through it" within 30 kubectl logs -n kube-system kube-scheduler-cp1 --tail 1
check "keys are of the algorithm that was asked for" says secp384r1 bash -c "$lab ssh cp1 cat /etc/kubernetes/pki/apiserver.crt | openssl x509 -noout -text"
check "what ends is told as data" says '"residualTime"' on cp1 kinit certs check-expiration -o json
check "the API server serves another certificate" within 120 another "$serial"
check "the first ones have ended" within 120 ended "$end"
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "w1's kubelet shows another certificate" within 60 shows_another "$shown"
check "and serves with another, once that is approved" within 60 serves_another 10.88.0.21:10250 "$first"
check "its node stays ready" ready w1
check "administrators are let in by their new one" kubectl get nodes
check "a phase speaks with the kubeconfig that it is given" on cp1 kinit init phase mark-control-plane --kubeconfig /etc/kubernetes/super-admin.conf
check "and names the one that is not there" refuses "/root/none.conf" on cp1 kinit init phase mark-control-plane --kubeconfig /root/none.conf
check "controllers go on" kubectl create deployment web --image kinit.local/web:1 --replicas 2
check "and the scheduler" within 30 equals "w1 w1" kubectl get pods -l app=web -o 'jsonpath={.items[*].spec.nodeName}'
check "etcd is asked with the new one" on cp1 kinit etcd status
check "logs come from the kubelet" within 30 kubectl logs -n kube-system kube-scheduler-cp1 --tail 1
check "no server was restarted" equals "0 0" restarts
check "the agent says so" says "apiserver is renewed" on cp1 journalctl -u kinit-agent --no-pager
finish
