#!/bin/bash
# A cluster whose CAs' keys are elsewhere: keys are made on the host, requests are signed outside, and nothing inside can sign.
. "$(dirname "$0")/lib.sh"
ca=$(mktemp -d)
trap 'rm -rf "$ca"' EXIT

on() { $lab ssh "$@"; }
equip() {
  on "$1" mkdir -p /usr/local/lib/kinit && $lab push "$1" "${KINIT_DIST:-target/dist}"/* /usr/local/lib/kinit/ &&
    on "$1" ln -sf /usr/local/lib/kinit/kinit /usr/local/bin/kinit
}
ready() { equals True kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$2" -keyout "$ca/$1.key" -out "$ca/$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign 2> /dev/null
}
# signed REQUEST AUTHORITY: the certificate.
signed() { openssl x509 -req -in "$1" -CA "$ca/$2.crt" -CAkey "$ca/$2.key" -CAcreateserial -days 20 -copy_extensions copy 2> /dev/null; }
sign_all() {
  local request name
  for request in "$ca"/made/pki/*.csr "$ca"/made/pki/etcd/*.csr; do
    name=${request#"$ca"/made/pki/}; name=${name%.csr}
    case $name in
      etcd/* | apiserver-etcd-client) signed "$request" etcd-ca ;;
      front-proxy-client) signed "$request" front-proxy-ca ;;
      *) signed "$request" ca ;;
    esac > "$ca/made/pki/$name.crt" || return 1
  done
  for request in "$ca"/made/*.conf.csr; do
    signed "$request" ca > "$ca/user.crt" || return 1
    name=$(KUBECONFIG=${request%.csr} kubectl config view -o 'jsonpath={.users[0].name}') &&
      KUBECONFIG=${request%.csr} kubectl config set-credentials "$name" --client-certificate "$ca/user.crt" --embed-certs > /dev/null || return 1
  done
  rm "$ca"/made/*.csr "$ca"/made/pki/*.csr "$ca"/made/pki/etcd/*.csr
}

check "the lab of the tests before is ended" $lab down
check "a host starts" $lab up --control-planes 1 --workers 0
check "it gets the binaries" equip cp1
for one in "ca kubernetes" "etcd-ca etcd-ca" "front-proxy-ca front-proxy-ca"; do check "CA ${one% *} is made elsewhere" authority $one; done
on cp1 mkdir -p /etc/kubernetes/pki/etcd
for one in "ca ca" "etcd-ca etcd/ca" "front-proxy-ca front-proxy-ca"; do
  check "${one% *}'s certificate is brought to the host" bash -c "$lab ssh cp1 'cat > /etc/kubernetes/pki/${one#* }.crt' < $ca/${one% *}.crt"
done
check "without the leaves there is no control plane" refuses "ca.key is not there either" on cp1 kinit init phase certs all --apiserver-advertise-address 10.88.0.11
check "keys and requests are made" on cp1 'mkdir -p /root/made && cp -a /etc/kubernetes/pki /root/made/ &&' kinit certs generate-csr --cert-dir /root/made/pki --kubeconfig-dir /root/made
mkdir "$ca/made"
check "the requests go to where the CAs are" bash -c "$lab ssh cp1 'tar -C /root -cf - made' | tar -C $ca -xf -"
check "they are signed there" sign_all
check "and come back" bash -c "tar -C $ca/made -cf - . | $lab ssh cp1 'tar -C /etc/kubernetes -xf -'"
check "a control plane is made of them" on cp1 kinit init --apiserver-advertise-address 10.88.0.11
on cp1 cat /etc/kubernetes/admin.conf > "$KUBECONFIG"
check "its node becomes ready" within 60 ready cp1
check "no key of a CA is on it" on cp1 '! find / -xdev -name "*ca.key*" -path "*pki*" | grep .'
check "what is signed elsewhere is told" says '"externallyManaged": true' on cp1 kinit certs check-expiration -o json
check "nothing here renews it" refuses "ca.key" on cp1 kinit certs renew apiserver
check "nobody signs what is asked for" not grep -q cluster-signing <(on cp1 cat /etc/kubernetes/manifests/kube-controller-manager.yaml)
check "and the cluster is well" within 30 on cp1 kinit status
finish
