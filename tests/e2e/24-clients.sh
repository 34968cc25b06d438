#!/bin/bash
# The Python client against our kube-apiserver alone, on loopback: what it does by itself with built-in and custom objects.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"

python=target/tools/python
install() {                 # the client, in an environment of its own, at the version that speaks v1.36 or newer
  [ -x $python/bin/python ] || python3 -m venv $python || return
  $python/bin/python -c 'import kubernetes' 2> /dev/null || $python/bin/pip --disable-pip-version-check -q install 'kubernetes==37.0.2'
}
client() { API=$api CA=$pki/ca.crt CERT=$tmp/admin.crt KEY=$tmp/admin.key $python/bin/python tests/e2e/clients/python.py "$@"; }

check "the Python client is there" install
start_control_plane
for deed in typed paged watched patched applied custom discovered escaped refused; do
  check "the Python client: $deed" within 20 client $deed
done

finish
