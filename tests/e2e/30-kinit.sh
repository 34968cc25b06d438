#!/bin/bash
# kinit on a host of its own: what it writes, and how it refuses. Bad input changes nothing.
. "$(dirname "$0")/lib.sh"

on_cp1() { $lab ssh cp1 "$@"; }
untouched() { ! on_cp1 test -e /etc/kubernetes/admin.conf -o -e /etc/kubernetes/pki/ca.crt; }

check "a host starts" $lab up --control-planes 1 --workers 0
check "the binaries are copied" on_cp1 mkdir -p /usr/local/lib/kinit
check "to where kinit looks for them" $lab push cp1 "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/
check "kinit is in PATH" on_cp1 ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
check "the version is Kubernetes'" says v1.36 on_cp1 kinit version
check "a component says it as kubeadm reads it" equals "Kubernetes v1.36.0" on_cp1 /usr/local/lib/kinit/kubelet --version
check "an unknown flag is refused" refuses "unexpected argument '--bogus'" on_cp1 kinit init --bogus
check "a broken config is refused" refuses "bad.yaml" on_cp1 'printf "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nnonsense: 1\n" > /root/bad.yaml; kinit init --config /root/bad.yaml'
check "a taken port is named" refuses "6443" on_cp1 'python3 -c "" 2> /dev/null; socat TCP-LISTEN:6443,reuseaddr,fork SYSTEM:true & pid=$!; sleep 0.3; kinit init; status=$?; kill $pid; exit $status'
check "no runtime is named" refuses "containerd" on_cp1 'systemctl stop containerd; kinit init; status=$?; systemctl start containerd; exit $status'
check "swap is named" refuses "swap" on_cp1 'printf "Filename Type Size Used Priority\n/swapfile file 1048572 0 -2\n" > /root/swaps; mount --bind /root/swaps /proc/swaps; kinit init; status=$?; umount /proc/swaps; exit $status'
check "a user who is not root is refused" refuses "root" on_cp1 setpriv --reuid=65534 --regid=65534 --clear-groups kinit init
check "joining others before there is a cluster is refused" refuses "admin.conf is not there" on_cp1 kinit join --ssh root@w1 --accept-new-host-keys
check "a check is explained" says failSwapOn on_cp1 kinit explain Swap
check "an older config is migrated" says v1beta4 on_cp1 'printf "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nclusterName: x\n" > /root/old.yaml; kinit config migrate --old-config /root/old.yaml'
check "a dry run shows the manifests" says initial-advertise-peer-urls on_cp1 kinit init --dry-run
# A terminal of 24 columns.
check "a narrow terminal shows it too" on_cp1 'TERM=xterm script -qec "stty cols 24 rows 10; kinit init --dry-run" /root/terminal > /dev/null && grep -q addon/kube-proxy /root/terminal'
check "in colors" on_cp1 "grep -qP '\x1b\[3[0-9]m' /root/terminal"
check "but not under NO_COLOR" on_cp1 "TERM=xterm NO_COLOR=1 script -qec 'kinit init --dry-run' /root/terminal > /dev/null && ! grep -qP '\\x1b\\[[0-9;]*m' /root/terminal"
check "and a pipe gets plain lines" on_cp1 "kinit init --dry-run 2>&1 | cat > /root/piped; grep -q '^\\[addon/kube-proxy\\]' /root/piped && ! grep -qP '\\x1b' /root/piped"
check "a reader that leaves early is no error" on_cp1 'set -o pipefail; kinit init --dry-run 2> /dev/null | head -n 1'
check "a phase takes more flags" says '+    - "--v=7"' on_cp1 kinit init phase control-plane scheduler --scheduler-extra-args v=7 --dry-run
first_file() { on_cp1 kinit "$@" --dry-run -o json 2> /dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["files"][0]["path"])'; }
check "and as data" equals /etc/kubernetes/manifests/kube-scheduler.yaml first_file init phase control-plane scheduler
check "an add-on's manifest is printed" says 'kind: DaemonSet' on_cp1 kinit init phase addon kube-proxy --print-manifest
check "by kubeadm's name too" says 'name: kube-dns' on_cp1 kinit init phase addon coredns --print-manifest
check "another root can be named" says cluster-dns on_cp1 kinit --rootfs / config images list
check "nothing was written by any of these" untouched
check "certificates are made" on_cp1 kinit init phase certs all --apiserver-advertise-address 10.88.0.11
check "the CA's key is its owner's alone" equals 600 on_cp1 stat -c %a /etc/kubernetes/pki/ca.key
check "they are kubeadm's" equals 'apiserver-etcd-client.crt apiserver-etcd-client.key apiserver-kubelet-client.crt apiserver-kubelet-client.key apiserver.crt apiserver.key ca.crt ca.key etcd front-proxy-ca.crt front-proxy-ca.key front-proxy-client.crt front-proxy-client.key sa.key sa.pub' \
  on_cp1 'cd /etc/kubernetes/pki; echo *'
check "kubeconfigs are written where they are wanted" on_cp1 kinit init phase kubeconfig all --kubeconfig-dir /root/kubeconfigs --apiserver-advertise-address 10.88.0.11
check "all of them" equals 'admin.conf controller-manager.conf kubelet.conf scheduler.conf super-admin.conf' on_cp1 'cd /root/kubeconfigs; echo *'
check "and nowhere else" on_cp1 test ! -e /etc/kubernetes/admin.conf
check "a second run changes nothing" on_cp1 'sha256sum /etc/kubernetes/pki/*.crt > /root/before; kinit init phase certs all --apiserver-advertise-address 10.88.0.11; sha256sum -c --quiet /root/before'
check "reset removes them" on_cp1 kinit reset -f
check "they are gone" untouched
finish
