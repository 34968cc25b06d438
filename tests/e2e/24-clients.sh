#!/bin/bash
# The Python client and kube-rs against our kube-apiserver alone, on loopback: what they do by themselves with built-in and custom
# objects.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"

python=target/tools/python
install() {                 # the client, in an environment of its own, at the version that speaks v1.36 or newer
  [ -x $python/bin/python ] || python3 -m venv $python || return
  $python/bin/python -c 'import kubernetes' 2> /dev/null || $python/bin/pip --disable-pip-version-check -q install 'kubernetes==37.0.2'
}
client() { API=$api CA=$pki/ca.crt CERT=$tmp/admin.crt KEY=$tmp/admin.key $python/bin/python tests/e2e/clients/python.py "$@"; }

kube_rs() { KUBECONFIG=$tmp/kubeconfig "${CARGO_TARGET_DIR:-target}/debug/examples/kube_client" "$@"; }
kubeconfig() {
  command kubectl config --kubeconfig "$tmp/kubeconfig" set-cluster c --server $api --certificate-authority "$pki/ca.crt" &&
    command kubectl config --kubeconfig "$tmp/kubeconfig" set-credentials u --client-certificate "$tmp/admin.crt" --client-key "$tmp/admin.key" &&
    command kubectl config --kubeconfig "$tmp/kubeconfig" set-context x --cluster c --user u &&
    command kubectl config --kubeconfig "$tmp/kubeconfig" use-context x
}

check "the Python client is there" install
check "the deeds of kube-rs are built" cargo test -q --workspace --locked --no-run --example kube_client
start_control_plane
for deed in typed paged watched patched applied custom discovered escaped refused; do
  check "the Python client: $deed" within 20 client $deed
done
check "a kubeconfig is written" kubeconfig
for deed in typed paged watched streamed applied custom discovered refused; do
  check "kube-rs: $deed" within 20 kube_rs $deed
done

finish
