#!/bin/bash
# No endpoint for all control planes: each node goes to whichever API server is well. A worker outlives the one it joined by.
. "$(dirname "$0")/lib.sh"

on() { $lab ssh "$@"; }
equip() {
  on "$1" mkdir -p /usr/local/lib/kinit && $lab push "$1" "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/ &&
    on "$1" ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
}
through() { local number=${1#cp}; shift; kubectl --server "https://10.88.0.1$number:6443" --request-timeout 3s "$@"; }
ready() { equals True through "$1" get node "$2" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
# The kubelet wrote its lease within the last ten seconds.
alive() {
  local at; at=$(through "$1" get lease -n kube-node-lease "$2" -o 'jsonpath={.spec.renewTime}') &&
    [ $(($(date +%s) - $(date -d "$at" +%s))) -lt 12 ]
}
known() { on "$1" cat /var/lib/kinit/agent.json | tr -d ' \n' | grep -o '"servers":\[[^]]*' | grep -o '10[.0-9]*:6443' | sort | xargs; }
# The logs of a node's part on w1.
part_says() {
  local pod; pod=$(through cp2 get pods -n kube-system -l "k8s-app=$1" --field-selector spec.nodeName=w1,status.phase=Running -o name | tail -n 1)
  through cp2 logs -n kube-system "$pod"
}
running() { equals "$2" through "$1" get pods -l app=web -o 'jsonpath={.items[*].status.phase}'; }

check "the lab of the tests before is ended" $lab down
check "three hosts for control planes and one worker start" $lab up --control-planes 3 --workers 1
check "cp1 gets the binaries" equip cp1
check "a control plane is made without an endpoint for all" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "the worker joins by it" on cp1 kinit join --ssh root@w1 --accept-new-host-keys
check "two more control planes join" on cp1 'kinit join --ssh root@cp2 --control-plane --accept-new-host-keys && kinit join --ssh root@cp3 --control-plane --accept-new-host-keys'
for node in cp1 cp2 cp3 w1; do check "$node becomes ready" within 60 ready cp1 "$node"; done
for node in cp2 w1; do
  check "the kubelet of $node goes through its own balancer" on "$node" 'grep -q "server: https://127.0.0.1:6444" /etc/kubernetes/kubelet.conf'
  check "which knows all three" within 60 equals "10.88.0.11:6443 10.88.0.12:6443 10.88.0.13:6443" known "$node"
done
check "kube-proxy goes through it too" says https://127.0.0.1:6444 through cp1 get configmap -n kube-system kube-proxy -o yaml
vagrant/image target/lab-web.tar
$lab push w1 target/lab-web.tar /tmp/ && on w1 ctr -n k8s.io images import /tmp/lab-web.tar > /dev/null
rm -f target/lab-web.tar

check "cp1, by which the worker joined, is powered off" $lab kill cp1
check "writes go on" within 15 through cp2 create configmap after --from-literal=a=b
check "the worker's kubelet goes on" within 30 alive cp2 w1
check "Pods are made" through cp2 create deployment web --image kinit.local/web:1
check "and run on the worker" within 60 running cp2 Running
check "the worker is ready" ready cp2 w1
check "the worker loses its power, too" $lab kill w1
check "and gets it again" $lab start w1
check "it comes back without cp1" within 60 alive cp2 w1
check "and is ready" within 60 ready cp2 w1
check "so is its Pod" within 60 running cp2 Running
check "cp1 is powered on" $lab start cp1
check "and is ready" within 90 ready cp2 cp1

# A node that kubeadm joined has no balancer: its kubelet goes to the server that it joined by.
check "w1 becomes a node without a balancer" on w1 'systemctl disable -q --now kinit-agent && sed -i "s#https://127.0.0.1:6444#https://10.88.0.12:6443#" /etc/kubernetes/kubelet.conf && rm /etc/cni/net.d/10-kinit.conflist && systemctl restart kubelet'
check "its parts are made anew" through cp2 delete pods -n kube-system --field-selector spec.nodeName=w1 --wait=false
check "its network is set up again" within 60 on w1 test -e /etc/cni/net.d/10-kinit.conflist
check "by way of the kubelet's server" within 30 says "goes where the kubelet goes" part_says kinit-network
check "and kube-proxy goes there too" within 30 says "goes where the kubelet goes" part_says kube-proxy
check "w1 is ready" within 60 ready cp2 w1
check "it has a balancer again" on w1 'sed -i "s#https://10.88.0.12:6443#https://127.0.0.1:6444#" /etc/kubernetes/kubelet.conf && systemctl enable -q --now kinit-agent && systemctl restart kubelet'
check "w1 is alive by it" within 60 alive cp2 w1

check "a worker that is reset takes itself out" on w1 kinit reset -f
check "its Node is gone" refuses NotFound through cp2 get node w1
check "and nothing of the agent is left" refuses "" on w1 'pgrep -f "^/usr/local/lib/kinit/kinit agent" || ls /etc/systemd/system/kinit-agent.service'
finish
