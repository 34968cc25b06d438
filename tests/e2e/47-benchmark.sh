#!/bin/bash
# What CIS's benchmark asks of a control plane's files and flags, measured on the cluster that is up: the rows of docs/security.md.
. "$(dirname "$0")/lib.sh"
trap 'kubectl delete secret benchmark > /dev/null 2>&1' EXIT

on() { $lab ssh cp1 "$@"; }
# loose WHERE...: the files that others than root may read or write.
loose() { on "find $* -type f \\( -perm /177 -o ! -user root -o ! -group root \\)"; }
flags() { on "tr '\\0' '\\n' < /proc/\$(pgrep -xo ${1:0:15})/cmdline"; }       # the kernel keeps 15 characters of a name
# has PROGRAM FLAG...: it runs with each of the flags, which may be patterns.
has() {
  local all flag; all=$(flags "$1") || return 1; shift
  for flag; do grep -qxE -- "--$flag" <<< "$all" || { echo "no --$flag in: $all"; return 1; }; done
}
lacks() { local all; all=$(flags "$1") && ! grep -E -- "$2" <<< "$all"; }
answer() { curl -sk -o /dev/null -w '%{http_code}' "https://10.88.0.11:$1"; }
listens() { on "ss -ltnH 'sport = :$1'" | awk '{ print $4 }' | sort -u | paste -sd ' '; }
shakes() { openssl s_client -connect 10.88.0.11:6443 "$@" < /dev/null 2> /dev/null | grep -q '^New, TLS'; }
secret_shows() { on 'kinit etcd snapshot save /root/benchmark.db && grep -c plainly-seen /root/benchmark.db; rm -f /root/benchmark.db' | tail -n 1; }

check "1.1.1-1.1.8 manifests are root's alone" equals "" loose /etc/kubernetes/manifests
check "1.1.9, 1.1.10 so are CNI files" equals "" loose /etc/cni/net.d/10-kinit.conflist
check "1.1.11, 1.1.12 etcd's data" equals "700 root" on stat -c '%a\ %U' /var/lib/etcd
check "1.1.13-1.1.18 kubeconfigs" equals "" loose "/etc/kubernetes -maxdepth 1 -name '*.conf'"
check "1.1.20, 1.1.21 keys" equals "" loose "/etc/kubernetes/pki \\( -name '*.key' -o -name encryption.yaml \\)"
check "1.1.19 and nothing of the PKI is another's" equals "" on "find /etc/kubernetes/pki ! -user root"
check "1.2.1 strangers see health" equals 200 answer 6443/livez
check "1.2.1 and cluster-info" equals 200 answer 6443/api/v1/namespaces/kube-public/configmaps/cluster-info
for path in /api /version /metrics /api/v1/namespaces/kube-system/secrets; do check "1.2.1 but not $path" equals 401 answer "6443$path"; done
check "1.2.2, 1.2.10 no token file, and not everything is admitted" lacks kube-apiserver 'token-auth-file|AlwaysAdmit|AlwaysAllow'
check "1.2.4 kubelets are shown a certificate" has kube-apiserver 'kubelet-client-certificate=.+' 'kubelet-client-key=.+'
check "1.2.6-1.2.8 Node and RBAC" has kube-apiserver authorization-mode=Node,RBAC
check "1.2.14 NodeRestriction" has kube-apiserver 'enable-admission-plugins=.*NodeRestriction.*'
check "1.2.16-1.2.19 an audit log" has kube-apiserver 'audit-log-path=/.+' audit-log-maxage=30 audit-log-maxbackup=10 audit-log-maxsize=100
check "3.2.1 with a policy, written to" on 'test -s /etc/kubernetes/apiserver/audit-policy.yaml -a -s /var/log/kinit/audit/audit.log'
check "1.2.22-1.2.26 keys and CAs" has kube-apiserver 'service-account-key-file=.+' 'etcd-c(a|ert)file=.+' 'etcd-keyfile=.+' 'tls-cert-file=.+' 'client-ca-file=.+'
check "1.2.27 encryption is on" has kube-apiserver 'encryption-provider-config=.+'
check "a Secret is made" kubectl create secret generic benchmark --from-literal a=plainly-seen
check "1.2.28 and cannot be read in what is stored" equals 0 secret_shows
check "1.2.29 TLS 1.3 is spoken" shakes -tls1_3
check "1.2.29 and 1.2" shakes -tls1_2
check "1.2.29 but not 1.1" not shakes -tls1_1
check "1.2.29 nor ciphers without forward secrecy" not shakes -tls1_2 -cipher AES128-SHA256:AES256-GCM-SHA384
check "1.3.3-1.3.5 controllers have accounts of their own" has kube-controller-manager use-service-account-credentials=true 'service-account-private-key-file=.+' 'root-ca-file=.+'
check "1.3.7 and listen to this host alone" equals 127.0.0.1:10257 listens 10257
check "1.4.2 as the scheduler does" equals 127.0.0.1:10259 listens 10259
check "2.1-2.6 etcd asks for certificates" has etcd client-cert-auth=true 'cert-file=.+' peer-client-cert-auth=true 'peer-cert-file=.+'
check "2.3, 2.6 and makes none" lacks etcd 'auto-tls'
check "2.2 who has none is not answered" refuses "" answer 2379/health
check "2.7 its CA is its own" not on cmp /etc/kubernetes/pki/ca.crt /etc/kubernetes/pki/etcd/ca.crt
check "4.1 the kubelet's files are root's alone" equals "" loose /var/lib/kubelet/config.yaml /etc/kubernetes/kubelet.conf
check "4.2.1, 4.2.2 it answers no strangers" equals 401 answer 10250/pods
check "4.2.4 and has no read-only port" equals "" listens 10255
finish
