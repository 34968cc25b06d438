#!/bin/bash
# From one version to the next, under a Deployment that stays reachable; and back again when a component does not come up.
# The next version is this build with another number in it: what replaces what is told by version and digest alone.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null; rm -rf "$tmp"' EXIT

on() { $lab ssh "$@"; }
# version NUMBER: the binaries of v1.36.NUMBER are in $tmp/NUMBER.
version() {
  local binary
  mkdir -p "$tmp/$1"
  for binary in "${KINIT_DIST:-target/dist}"/*; do
    LC_ALL=C sed "s/v1\.36\.0/v1.36.$1/g" "$binary" > "$tmp/$1/${binary##*/}" || return
  done
  chmod 755 "$tmp/$1"/*
}
equip() {                   # HOST NUMBER; by a rename, because what runs cannot be written to
  on "$1" 'rm -rf /usr/local/lib/kinit.new; mkdir -p /usr/local/lib/kinit.new' && $lab push "$1" "$tmp/$2"/* /usr/local/lib/kinit.new/ &&
    on "$1" 'rm -rf /usr/local/lib/kinit && mv /usr/local/lib/kinit.new /usr/local/lib/kinit && ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit'
}
ready() { equals True kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
kubelets() { kubectl get nodes -o 'jsonpath={.items[*].status.nodeInfo.kubeletVersion}'; }
images() { kubectl get pods -n kube-system -o 'jsonpath={range .items[*]}{.spec.containers[0].image}{"\n"}{end}' | sed 's/.*://' | sort | uniq -c | xargs; }
system_runs() { equals 0 bash -c "kubectl get pods -n kube-system -o json | grep -c '\"ready\": false'; true"; }
# Asks both workers again and again, and writes down each time that nobody answered.
watch_web() { while :; do for n in 21 22; do curl -fsS --max-time 2 "http://10.88.0.$n:30080/cgi-bin/name" > /dev/null 2>&1 || date +%T.%N; done; sleep 0.1; done; }

check "the lab of the tests before is ended" $lab down
check "three hosts start" $lab up --control-planes 1 --workers 2
check "there are two versions" version 1
cp -r "${KINIT_DIST:-target/dist}/." "$tmp/0" 2> /dev/null || { mkdir -p "$tmp/0" && cp -L "${KINIT_DIST:-target/dist}"/* "$tmp/0/"; }
check "cp1 gets the one before" equip cp1 0
check "a cluster of it is made" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "workers join it" on cp1 kinit join --ssh root@w1 --ssh root@w2 --accept-new-host-keys
vagrant/image "$tmp/web.tar"
for host in w1 w2; do $lab push $host "$tmp/web.tar" /tmp/ && on $host ctr -n k8s.io images import /tmp/web.tar > /dev/null; done
check "a Deployment is made" kubectl apply -f vagrant/web.yaml
check "and is available" kubectl rollout status deployment/web --timeout 120s
check "it answers at every node" within 20 curl -fsS http://10.88.0.22:30080/cgi-bin/name

check "cp1 gets the next version" equip cp1 1
check "the plan tells of it" says "v1.36.0" on cp1 kinit upgrade plan
check "as data too" says '"newVersion": "v1.36.1"' on cp1 kinit upgrade plan -o json
check "a version that is not here is refused" refuses "brings v1.36.1" on cp1 kinit upgrade apply v1.37.0 --yes
check "the difference is shown" says "image: \"kinit.local/kube-apiserver:v1.36.1\"" on cp1 kinit upgrade diff
watch_web > "$tmp/misses" &
watcher=$!
check "the control plane is upgraded" on cp1 kinit upgrade apply --yes
check "it says so" says "Server Version: v1.36.1" kubectl version
for host in w1 w2; do
  check "$host gets the next version" equip $host 1
  check "$host is upgraded" on $host kinit upgrade node
done
check "every kubelet is of the next version" within 60 equals "v1.36.1 v1.36.1 v1.36.1" kubelets
check "and every pod of the system" within 90 equals "12 v1.36.1" images
check "all of them run" within 60 system_runs
kill "$watcher"
check "the Deployment answered all the time" equals "" cat "$tmp/misses"
check "there is nothing more to do" equals "" on cp1 kinit upgrade diff

# A version whose scheduler never serves: its binary is the one of pause.
check "there is a version that is broken" version 2
cp "$tmp/2/pause" "$tmp/2/kube-scheduler"
check "cp1 gets it" equip cp1 2
printf 'apiVersion: kubeadm.k8s.io/v1beta4\nkind: UpgradeConfiguration\napply: {forceUpgrade: true}\ntimeouts: {upgradeManifests: 15s}\n' > "$tmp/impatient.yaml"
check "patience is short" $lab push cp1 "$tmp/impatient.yaml" /root/
check "the upgrade fails and takes all back" refuses "all runs again as before" on cp1 kinit upgrade apply --config /root/impatient.yaml
check "the scheduler is the one before" equals 1 on cp1 grep -c image:.*v1.36.1 /etc/kubernetes/manifests/kube-scheduler.yaml
check "and so is the API server" within 60 says "Server Version: v1.36.1" kubectl version
check "the cluster is well" within 60 on cp1 kinit status
check "Pods still get a node" kubectl rollout restart deployment/web
check "and run" kubectl rollout status deployment/web --timeout 120s
finish
