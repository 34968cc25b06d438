#!/bin/bash
# The API server's own test again, with upstream's etcd below it.
etcd_binary=$PWD/target/tools/upstream-etcd
. "$(dirname "$0")/20-api.sh"
