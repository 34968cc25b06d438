#!/bin/bash
# Three network namespaces on one bridge, for members that are measured as if on hosts of their own: `network.sh up` prints
# what the benchmark is told of them (`cargo bench -p kinit-etcd -- three $(benches/network.sh up)`), `network.sh down` ends it.
set -euo pipefail
bridge=kinit-bench
case ${1:-} in
  up)
    ip link add "$bridge" type bridge
    ip addr add 10.87.0.1/24 dev "$bridge"
    ip link set "$bridge" up
    for n in 1 2 3; do
      ip netns add "$bridge-$n"
      ip link add "kbench$n" master "$bridge" type veth peer name eth0 netns "$bridge-$n"
      ip link set "kbench$n" up
      ip -n "$bridge-$n" addr add "10.87.0.1$n/24" dev eth0
      ip -n "$bridge-$n" link set eth0 up
      ip -n "$bridge-$n" link set lo up
      echo "--host $bridge-$n=10.87.0.1$n"
    done ;;
  down)
    for n in 1 2 3; do ip netns del "$bridge-$n" || true; done
    ip link del "$bridge" ;;
  *) echo "Usage: $0 up|down" >&2; exit 2 ;;
esac
