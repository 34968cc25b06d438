#!/bin/bash
# Bad input to kinit on a control plane that runs: each mistake is refused, and neither the host nor the cluster is changed by any.
. "$(dirname "$0")/lib.sh"

on_cp1() { $lab ssh cp1 "$@"; }
files() {
  on_cp1 "find /etc/kubernetes /etc/cni /etc/containerd /etc/systemd/system /usr/bin/kubelet /usr/local/bin /usr/local/lib/kinit \
    /var/lib/kinit /var/lib/kubelet -maxdepth 3 '(' -type f -o -type l ')' | grep -v cpu_manager | sort | xargs sha256sum"
}
objects() {
  kubectl get secrets,configmaps,serviceaccounts,clusterroles,clusterrolebindings,roles,rolebindings -A --no-headers \
    -o custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name,V:.metadata.resourceVersion | grep -v ' cluster-info '
  cluster_info      # signed with the token that `join --ssh` makes and deletes again, so its version may be another
  kubectl get deployments,daemonsets,services -A --no-headers -o custom-columns=K:.kind,N:.metadata.name,G:.metadata.generation
}
cluster_info() { kubectl -n kube-public get configmap cluster-info -o "jsonpath={.data}" | grep -o "jws-kubeconfig-[a-z0-9]*"; }
state() { files && objects; }
same() { diff <(echo "$before") <(state); }
rolled_out() { kubectl -n kube-system rollout status "$1" --timeout 60s; }
pods() { on_cp1 'ctr -n k8s.io tasks list -q | sort'; }

check "the lab of the tests before is ended" $lab down
check "a host starts" $lab up --control-planes 1 --workers 0
check "it gets the binaries" on_cp1 mkdir -p /usr/local/lib/kinit
check "all of them" $lab push cp1 "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/
check "kinit is in PATH" on_cp1 ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
check "init, with what it prints as JSON" says caCertHash on_cp1 kinit init --apiserver-advertise-address 10.88.0.11 -o json
on_cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "DNS runs" rolled_out deployment/cluster-dns
check "kube-proxy runs" rolled_out daemonset/kube-proxy
check "a snapshot is saved" on_cp1 kinit etcd snapshot save /root/good.db
on_cp1 'head -c 40000 /root/good.db > /root/cut.db; cp /root/good.db /root/wrong.db; printf wrong | dd of=/root/wrong.db bs=1 seek=9000 conv=notrunc status=none
  mkdir /root/patches; echo "not: [a patch" > /root/patches/kube-apiserver+strategic.yaml; echo nonsense > /root/nonsense.conf
  printf "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 10.1.0.0/16}\n" > /root/other.yaml'
check "a token is made" on_cp1 kinit token create abcdef.0123456789abcdef
check "which signs what the cluster says of itself" within 20 says jws-kubeconfig-abcdef cluster_info
before=$(state)
running=$(pods)

# What is typed wrong, and what the error says.
while IFS='|' read -r wanted line <&3; do
  check "kinit $line" refuses "$wanted" on_cp1 "kinit $line < /dev/null"
done 3<<'T'
Port-6443|init
Port-6443|init --config /root/other.yaml
ca.crt|init phase kubeconfig admin --cert-dir /root/patches
no phase|init --skip-phases etcd/remote
kubelet.conf already exists|join 10.88.0.11:6443 --token abcdef.0123456789abcdef --discovery-token-unsafe-skip-ca-verification
does not know token|join 10.88.0.11:6443 --token fedcba.0123456789abcdef --discovery-token-unsafe-skip-ca-verification --ignore-preflight-errors all
not one of those given|join 10.88.0.11:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:0000000000000000000000000000000000000000000000000000000000000000 --ignore-preflight-errors all
certificate key|join 10.88.0.11:6443 --control-plane --certificate-key 0123 --token abcdef.0123456789abcdef --discovery-token-unsafe-skip-ca-verification
0 of 1 hosts joined|join --ssh root@nowhere.invalid --accept-new-host-keys
add --yes|reset
there already|token create abcdef.0123456789abcdef
no token zzzzzz|token delete zzzzzz
nonsense.conf|token list --kubeconfig /root/nonsense.conf
no certificate|certs renew nonsense
there already|certs generate-csr
nowhere|kubeconfig user --client-name a --cert-dir /nowhere
not in /nowhere|config images pull --bin-dir /nowhere
kube-apiserver.strategic.yaml|upgrade apply --yes --patches /root/patches
kube-apiserver.strategic.yaml|upgrade node --patches /root/patches
v1.20.0|upgrade apply v1.20.0 --yes
add --yes|upgrade apply --force=false
nonsense.conf|status --kubeconfig /root/nonsense.conf
no interface of this host has|readdress --address 192.0.2.9 --yes
cut.db|etcd snapshot status /root/cut.db
cut.db|etcd snapshot restore /root/cut.db --yes
wrong.db|etcd snapshot restore /root/wrong.db --yes
good.db|etcd snapshot save /root/good.db/x
sometimes|etcd snapshot schedule --every sometimes
T
check "neither the host nor the cluster was changed" same
check "no container was ended or started" equals "$running" pods
check "the good snapshot can still be read" says REVISION on_cp1 kinit etcd snapshot status /root/good.db
check "reset ends it" on_cp1 kinit reset -f
finish
