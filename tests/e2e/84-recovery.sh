#!/bin/bash
# What was interrupted goes on, what was lost is restored: init and join killed at each phase, a host mended by preflight,
# a control plane whose disk is gone.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

on() { $lab ssh "$@"; }
equip() {
  on "$1" mkdir -p /usr/local/lib/kinit && $lab push "$1" "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/ &&
    on "$1" ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
}
# killed_at_each HOST COMMAND...: runs it again and again, killed when its first phase begins, then its second, ... to the end.
killed_at_each() {
  local host=$1; shift
  on "$host" "bash -s -- $*" <<'T'
    for ((n = 1; n < 60; n++)); do
      "$@" > /tmp/log 2>&1 & pid=$!
      while [ "$(grep -c ' begins$' /tmp/log)" -lt $n ] && kill -0 $pid 2> /dev/null; do sleep 0.01; done
      if ! kill -9 $pid 2> /dev/null; then
        wait $pid; status=$?
        tail -n 5 /tmp/log; echo "killed $((n - 1)) times"
        exit $status
      fi
      wait $pid 2> /dev/null
      # Killed when all was done, and only the last words were not said yet.
      tail -n 1 /var/lib/kinit/record.jsonl | grep -q '"finished"' && { echo "killed $n times"; exit 0; }
    done
    exit 1
T
}
ready() { equals True kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
objects() { kubectl get configmaps,secrets,deployments,services,serviceaccounts -A -o name | sort; }
count() { kubectl get configmaps -l kept=yes -o name | wc -l; }
snapshots() { on cp1 'ls /var/backups/kinit 2> /dev/null | wc -l'; }

check "the lab of the tests before is ended" $lab down
check "two hosts start" $lab up --control-planes 1 --workers 1
check "cp1 gets the binaries" equip cp1
check "w1 gets the binaries" equip w1

# What preflight mends.
on w1 'sysctl -qw net.ipv4.ip_forward=0; systemctl disable -q --now containerd; echo "/swapfile none swap sw 0 0" >> /etc/fstab
  printf "Filename Type Size Used Priority\n/swapfile file 1048572 0 -2\n" > /root/swaps; mount --bind /root/swaps /proc/swaps
  printf "#!/bin/sh\numount /proc/swaps\n" > /usr/local/sbin/swapoff; chmod 755 /usr/local/sbin/swapoff'     # a host that is a container has none
check "a host that is not ready is told so" refuses Swap on w1 kinit preflight --join
check "nothing is mended without a yes" refuses "add --yes" on w1 kinit preflight --join --fix
asked() { on w1 "printf $1 | TERM=xterm script -qec 'kinit preflight --join --fix' /root/asked"; }
check "on a terminal it asks, and a no changes nothing" refuses "nothing was changed" asked n
check "what would be done stands in the question" on w1 "grep -q 'switch swap off' /root/asked && grep -q 'Go on?' /root/asked"
check "swap stays on" on w1 grep -q swapfile /proc/swaps
check "a yes mends it" asked y
check "packets are forwarded then" equals 1 on w1 cat /proc/sys/net/ipv4/ip_forward
on w1 'sysctl -qw net.ipv4.ip_forward=0'
check "--yes mends without a question" on w1 'kinit preflight --join --fix --yes < /dev/null'
check "packets are forwarded" equals 1 on w1 cat /proc/sys/net/ipv4/ip_forward
check "at each boot" on w1 "grep -q 'ip_forward = 1' /etc/sysctl.d/99-kinit.conf"
check "containerd runs" equals active on w1 systemctl is-active containerd
check "swap stays off at boot" on w1 "grep -q '^# /swapfile none swap' /etc/fstab"
check "all is well then" on w1 kinit preflight --join

# Killed at each phase.
check "init comes to its end though it is killed at each phase" says "times" killed_at_each cp1 kinit init -v --apiserver-advertise-address 10.88.0.11
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "cp1 becomes ready" within 60 ready cp1
join=$(on cp1 kinit token create --print-join-command)
check "so does join" says "times" killed_at_each w1 "$join -v"
check "w1 becomes ready" within 60 ready w1
check "the cluster is well" within 60 on cp1 kinit status

# Snapshots.
check "snapshots are saved by a timer" on cp1 kinit etcd snapshot schedule --every 2s --keep 2
check "the newest two stay" within 30 equals 2 snapshots
check "more come" within 30 on cp1 "[ \$(journalctl -u kinit-etcd-snapshot --no-pager | grep -c Finished) -gt 3 ]"
check "and no more than two stay" within 10 equals 2 snapshots
check "they end" on cp1 kinit etcd snapshot schedule --off

# The disk is lost; what is left is a snapshot, and the keys beside it.
for i in $(seq 20); do kubectl create configmap "kept-$i" --from-literal n="$i" > /dev/null && kubectl label configmap "kept-$i" kept=yes > /dev/null; done
check "a snapshot is saved" on cp1 kinit etcd snapshot save /root/etcd.db
check "its checksum is right" on cp1 kinit etcd snapshot status /root/etcd.db
objects > "$tmp/before"
check "snapshot and keys are kept elsewhere" bash -c "$lab ssh cp1 'tar -C / -cf - root/etcd.db etc/kubernetes/pki' > $tmp/kept.tar"
check "cp1 loses its power" $lab kill cp1
rm -rf "${KINIT_LAB:-target/lab}/hosts/cp1"
check "and gets a new disk" $lab up --control-planes 1 --workers 1
check "nothing is on it" on cp1 'test ! -e /etc/kubernetes -a ! -e /root/etcd.db'
check "it gets the binaries" equip cp1
check "and what was kept" bash -c "$lab ssh cp1 'tar -C / -xf -' < $tmp/kept.tar"
check "a damaged snapshot is refused" refuses "damaged|hash|integrity|checksum" on cp1 'head -c 100000 /root/etcd.db > /root/torn.db; kinit etcd snapshot restore /root/torn.db --yes'
check "the snapshot is restored" on cp1 kinit etcd snapshot restore /root/etcd.db --yes
check "a control plane is made over it" on cp1 kinit init --apiserver-advertise-address 10.88.0.11 --ignore-preflight-errors DirAvailable--var-lib-etcd
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "all objects are back" equals 20 count
objects > "$tmp/after"
check "none is missing" equals "" bash -c "comm -23 $tmp/before $tmp/after | grep -v bootstrap-token; true"
check "w1 is ready, untouched" within 60 ready w1
check "so is cp1" within 60 ready cp1
finish
