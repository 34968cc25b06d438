#!/bin/bash
# A control plane whose host got another address is told so and mended by one command.
. "$(dirname "$0")/lib.sh"

on() { $lab ssh "$@"; }
in_cp1() { env -u KUBECONFIG $lab run cp1 "$@"; }         # without the network
equip() {
  on "$1" mkdir -p /usr/local/lib/kinit && $lab push "$1" "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/ &&
    on "$1" ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
}
ready() { equals True kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
alive() {
  local at; at=$(kubectl get lease -n kube-node-lease "$1" -o 'jsonpath={.spec.renewTime}') &&
    [ $(($(date +%s) - $(date -d "$at" +%s))) -lt 12 ]
}
address_of() { kubectl get node "$1" -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}'; }

check "the lab of the tests before is ended" $lab down
check "two hosts start" $lab up --control-planes 1 --workers 1
check "cp1 gets the binaries" equip cp1
check "a cluster is made" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "w1 joins" on cp1 kinit join --ssh root@w1 --accept-new-host-keys
check "and is ready" within 60 ready w1
check "an object is made" kubectl create configmap kept --from-literal=a=b

in_cp1 bash -c 'ip addr add 10.88.0.19/24 dev eth0; ip addr del 10.88.0.11/24 dev eth0; ip addr show dev eth0 | grep -q 10.88.0.19 || ip addr add 10.88.0.19/24 dev eth0; ip route replace default via 10.88.0.1'
check "the status tells that the address is gone" refuses "10.88.0.11 no more" in_cp1 kinit status
check "it is explained" says readdress in_cp1 kinit explain NodeAddress
check "an address that is not there is refused" refuses "no interface" in_cp1 kinit readdress --address 10.88.0.77 --yes
check "a dry run shows what would change" says "+    - \"--advertise-address=10.88.0.19\"" in_cp1 kinit readdress --address 10.88.0.19 --dry-run
check "one command takes the new one over" in_cp1 kinit readdress --address 10.88.0.19 --yes
in_cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "the API answers there" within 30 kubectl get --raw /readyz
check "what was stored is there" kubectl get configmap kept
check "etcd knows its new URL" says https://10.88.0.19:2380 in_cp1 kinit etcd members
check "its node says the new address" within 60 equals 10.88.0.19 address_of cp1
check "the worker is told" on w1 kinit readdress --server 10.88.0.19:6443
check "and is there again" within 60 alive w1
check "it is ready" within 60 ready w1
check "the cluster is well" within 60 in_cp1 kinit status
check "others join at the new address" says "kinit join 10.88.0.19:6443" in_cp1 kinit token create --print-join-command
finish
