#!/bin/bash
# kinit reset leaves a host as it was before, and a second cluster can be made on it. On the cluster of 40-cluster.
. "$(dirname "$0")/lib.sh"

on() { $lab ssh "$@"; }
# What a cluster leaves on a host: one line for each thing, nothing when it is clean.
left_on() {
  on "$1" 'ls -A /etc/kubernetes /var/lib/etcd /var/lib/kubelet /etc/cni/net.d 2> /dev/null | grep -v ":$" | grep . || true
    ps -eo args | grep -E "^([^ ]*/)?(kubelet|kube-[a-z-]+|etcd|cluster-dns|kinit-network|pause)( |$)" || true
    ip -o link | grep -E "cni0|veth" || true
    ip route show proto 77
    nft list tables | grep -E "kube|kinit" || true
    grep -E " /var/lib/kubelet/| /run/netns/cni" /proc/mounts || true
    ctr -n k8s.io containers list -q
    find /sys/fs/cgroup -maxdepth 3 -name "kubepods*"'
}
equip() {
  on "$1" mkdir -p /usr/local/lib/kinit && $lab push "$1" "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/ &&
    on "$1" ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
}
clean() { equals "" left_on "$1"; }
node_is() { equals "$2" kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }

for host in w2 w1 cp1; do
  check "$host is reset" on $host kinit reset -f
  check "$host is as it was" clean $host
done
check "a second reset has nothing to do" on cp1 kinit reset -f
check "a second cluster is made" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "its node becomes ready" within 60 node_is cp1 True
check "its status is told" within 60 on cp1 kinit status
check "its etcd is saved" on cp1 kinit etcd snapshot save /root/etcd.db
check "an upgrade to the same build would change nothing" equals "" on cp1 kinit upgrade diff
check "w1 joins it" on cp1 kinit join --ssh root@w1 --accept-new-host-keys
check "and becomes ready" within 60 node_is w1 True
check "w2 gets the binaries" equip w2
check "w2 joins by token" bash -c "$lab ssh w2 \"\$($lab ssh cp1 kinit token create --print-join-command)\""
check "and becomes ready too" within 60 node_is w2 True
check "w1 is reset" on w1 kinit reset -f
check "w1 gets the binaries" equip w1
check "a wrong token is refused" refuses token on w1 'kinit join 10.88.0.11:6443 --token aaaaaa.bbbbbbbbbbbbbbbb --discovery-token-unsafe-skip-ca-verification'
check "a wrong hash is refused" refuses hash bash -c "join=\$($lab ssh cp1 kinit token create --print-join-command); $lab ssh w1 \"\${join%sha256:*}sha256:$(printf '0%.0s' $(seq 64))\""
check "a host that is not there is named" refuses 10.88.0.99 on cp1 kinit join --ssh root@10.88.0.99 --accept-new-host-keys
check "a changed host key is refused" refuses "host key" on cp1 'cp .ssh/known_hosts known; echo "w1 $(cut -d" " -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" > .ssh/known_hosts; kinit join --ssh root@w1 --accept-new-host-keys; status=$?; mv known .ssh/known_hosts; exit $status'
check "nothing was written by these" on w1 'test ! -e /etc/kubernetes/kubelet.conf -a ! -e /etc/kubernetes/bootstrap-kubelet.conf'
check "its Node went with it" refuses NotFound kubectl get node w1
check "w1 joins over SSH from its own side" on w1 kinit join ssh://root@cp1 --accept-new-host-keys
check "and becomes ready" within 60 node_is w1 True
finish
