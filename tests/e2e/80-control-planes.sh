#!/bin/bash
# Three control planes: any of them may be lost, come back, and be replaced.
. "$(dirname "$0")/lib.sh"

on() { $lab ssh "$@"; }
equip() {
  on "$1" mkdir -p /usr/local/lib/kinit && $lab push "$1" "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/ &&
    on "$1" ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
}
through() { local number=${1#cp}; shift; kubectl --server "https://10.88.0.1$number:6443" --request-timeout 3s "$@"; }
ready() { equals True through "$1" get node "$2" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
members() { on "$1" kinit etcd members | awk '$2 == "started" && $NF == "false" { print $3 }' | sort | xargs; }
join_by_token() {
  local key command
  key=$(on cp1 kinit certs certificate-key) &&
    on cp1 kinit init phase upload-certs --upload-certs --certificate-key "$key" &&
    command=$(on cp1 kinit token create --print-join-command --certificate-key "$key") && on "$1" "$command"
}
nodes_of() { through "$1" get pods -l "app=$2" -o 'jsonpath={.items[*].spec.nodeName}'; }
all_answer() { local host; for host in cp1 cp2 cp3; do through "$host" get --raw /readyz || return; done; }

check "the lab of the tests before is ended" $lab down
check "three hosts for control planes and one worker start" $lab up --control-planes 3 --workers 1
check "cp1 gets the binaries" equip cp1
check "the first control plane is made" on cp1 kinit init --apiserver-advertise-address 10.88.0.11 --control-plane-endpoint 10.88.0.11:6443 --upload-certs
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "the second joins over SSH" on cp1 kinit join --ssh root@cp2 --control-plane --accept-new-host-keys
check "cp3 gets the binaries" equip cp3
check "the third joins by token and certificate key" join_by_token cp3
check "the worker joins" on cp1 kinit join --ssh root@w1 --accept-new-host-keys
for node in cp1 cp2 cp3 w1; do check "$node becomes ready" within 60 ready cp1 "$node"; done
check "etcd has three members that vote" equals "cp1 cp2 cp3" members cp1
check "each control plane answers" all_answer
check "an object is made through one" through cp1 create configmap first --from-literal=a=b
check "and is there through another at once" through cp3 get configmap first

check "cp1 is powered off" $lab kill cp1
check "writes go on within ten seconds" within 10 through cp2 create configmap second --from-literal=a=b
check "and what was there is there" through cp3 get configmap first
check "controllers and scheduler go on elsewhere" through cp2 create deployment web --image kinit.local/web:1 --replicas 2
check "its Pods get a node" within 60 equals "w1 w1" nodes_of cp2 web
check "cp1 is powered on" $lab start cp1
check "its API server comes back" within 60 through cp1 get configmap second
check "and its node is ready" within 60 ready cp2 cp1

check "cp2 is cut off" $lab cut cp2
check "writes go on within ten seconds again" within 10 through cp3 create configmap third --from-literal=a=b
check "cp2 is plugged in" $lab heal cp2
check "it learns what it missed" within 60 through cp2 get configmap third

check "cp3 is reset" on cp3 kinit reset -f
check "it is no member any more" equals "cp1 cp2" members cp1
check "nor a node" within 20 refuses NotFound through cp1 get node cp3
check "it is made anew" on cp1 kinit join --ssh root@cp3 --control-plane --accept-new-host-keys
check "etcd has three members again" equals "cp1 cp2 cp3" members cp1
check "and all is there through it" within 30 through cp3 get configmap first second third
finish
