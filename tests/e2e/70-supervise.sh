#!/bin/bash
# A cluster on hosts without systemd: kinit's own supervisor keeps the kubelet running.
. "$(dirname "$0")/lib.sh"

on() { $lab ssh "$@"; }
equip() {
  on "$1" mkdir -p /usr/local/lib/kinit && $lab push "$1" "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/ &&
    on "$1" ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
}
process() { on "$1" pgrep -xo "$2"; }
another_kubelet() { local now; now=$(process "$1" kubelet) && [ "$now" != "$2" ]; }
ready() { equals True kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
snapshots() { on cp1 'ls /var/backups/kinit 2> /dev/null | wc -l'; }
newest() { on cp1 'ls /var/backups/kinit | sort | tail -n 1'; }
another_snapshot() { [ "$(newest)" != "$1" ]; }
restart_containerd() { local old; old=$(process "$1" containerd); on "$1" kill "$old"; within 20 on "$1" "test \$(pgrep -xo containerd) != $old && ctr version"; }

check "the lab of the tests before is ended" $lab down
check "hosts without systemd start" $lab up --control-planes 1 --workers 1 --without-systemd
check "systemd does not run there" on cp1 'test ! -e /run/systemd/system'
check "cp1 gets the binaries" equip cp1
check "who must restart containerd is told so" refuses "restart containerd and run this again" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
check "containerd is restarted" restart_containerd cp1
check "kinit init goes on from there" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "cp1 becomes ready" within 60 ready cp1
check "a join says so too" refuses "restart containerd and run this again" on cp1 kinit join --ssh root@w1 --accept-new-host-keys
check "w1's is restarted" restart_containerd w1
check "the join goes on from there" on cp1 kinit join --ssh root@w1 --accept-new-host-keys
check "w1 becomes ready" within 60 ready w1
kubelet=$(process w1 kubelet)
check "a killed kubelet" on w1 kill -9 "$kubelet"
check "is started again" within 20 another_kubelet w1 "$kubelet"
check "and its node is ready" within 60 ready w1
for host in w1 cp1; do
  check "$host is reset" on $host kinit reset -f
  check "no kubelet and no supervisor is left on $host" refuses "" on $host pgrep -f '^([^ ]*/)?(kubelet|kinit supervise)'
done
check "reset gave containerd its own configuration back" refuses "restart containerd" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
check "so it is restarted again" restart_containerd cp1
check "a second cluster is made" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "and cp1 becomes ready" within 60 ready cp1
check "snapshots are saved by the agent" on cp1 kinit etcd snapshot schedule --every 2s --keep 2
check "the newest two stay" within 60 equals 2 snapshots
kept=$(newest)
check "more come" within 60 another_snapshot "$kept"
check "and no more than two stay" within 10 equals 2 snapshots
check "they end" on cp1 kinit etcd snapshot schedule --off
check "they can be read" on cp1 kinit etcd snapshot status "/var/backups/kinit/$(newest)"
finish
