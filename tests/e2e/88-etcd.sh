#!/bin/bash
# Three members of etcd as plain units on three hosts, under load that checks what it is told: any of them is killed, cut
# off, replaced and restarted, and nothing that was acknowledged is lost or read as it was before.
. "$(dirname "$0")/lib.sh"

on() { $lab ssh "$@"; }
url() { echo "http://10.88.0.1${1#cp}:2379"; }
ctl() { local at; at=$(url "$1"); shift; ETCDCTL_API=3 etcdctl --endpoints "$at" --command-timeout "${patience:-3s}" "$@"; }
healthy() { ctl "$1" endpoint health; }
voters() { ctl "$1" member list | awk -F', ' '$2 == "started" && $6 == "false" { print $3 }' | sort | xargs; }
id_of() { ctl "$1" member list | awk -F', ' -v name="$2" '$3 == name { print $1 }'; }
leader() { local h; for h in cp1 cp2 cp3; do ctl "$h" endpoint status 2>/dev/null | awk -F', ' -v h="$h" '$5 == "true" { print h }'; done | head -n 1; }
all_healthy() { local h; for h in cp1 cp2 cp3; do healthy "$h" || return; done; }

# unit HOST STATE CLUSTER: a member that systemd keeps running.
unit() {
  local address=10.88.0.1${1#cp}
  on "$1" "mkdir -p /usr/local/bin /var/lib/etcd && cat > /etc/systemd/system/etcd.service && systemctl daemon-reload && systemctl enable etcd" <<T
[Unit]
Description=etcd
After=network.target
[Service]
ExecStart=/usr/local/bin/etcd --name $1 --data-dir /var/lib/etcd/data --listen-client-urls http://$address:2379 \
  --advertise-client-urls http://$address:2379 --listen-peer-urls http://$address:2380 \
  --initial-advertise-peer-urls http://$address:2380 --initial-cluster-state $2 --initial-cluster $3
Restart=always
RestartSec=200ms
[Install]
WantedBy=multi-user.target
T
}
equip() { $lab push "$1" "${KINIT_DIST:-target/dist}/etcd" /usr/local/bin; }
whole=cp1=http://10.88.0.11:2380,cp2=http://10.88.0.12:2380,cp3=http://10.88.0.13:2380
make() { equip "$1" && unit "$1" new "$whole" && on "$1" systemctl start --no-block etcd; }
# A change of members waits until connections have stood for a while, and so is given what etcdctl gives it by default.
replace() {
  local patience=5s
  ctl cp2 member remove "$(id_of cp2 "$1")" && on "$1" "systemctl stop etcd; rm -rf /var/lib/etcd/data" &&
    ctl cp2 member add "$1" --peer-urls "http://10.88.0.1${1#cp}:2380" && unit "$1" existing "$whole" && on "$1" systemctl start --no-block etcd
}

# The load runs beside all that follows, until its input ends. KINIT_STEADY names its program if that is built already.
begin() {
  local steady=${KINIT_STEADY:-${CARGO_TARGET_DIR:-target}/debug/examples/steady}
  [ -n "${KINIT_STEADY:-}" ] || cargo build -q -p kinit-etcd --example steady || return
  report=$(mktemp)
  mkfifo "$report.end"
  "$steady" "$(url cp1)" "$(url cp2)" "$(url cp3)" < "$report.end" > "$report" &
  load=$!
  exec 7> "$report.end"
}
verdict() { cat "$report"; return "$1"; }

check "the lab of the tests before is ended" $lab down
check "three hosts start" $lab up --control-planes 3 --workers 0
for host in cp1 cp2 cp3; do check "$host gets its member" make "$host"; done
check "all three are healthy" within 20 all_healthy
begin || { echo "FAILED  the load does not build"; failed=$((failed + 1)); finish; exit 1; }

first=$(leader)
check "the leader is powered off" $lab kill "$first"
others=$(echo cp1 cp2 cp3 | xargs -n 1 | grep -v "$first")
for host in $others; do check "$host goes on" within 10 healthy "$host"; done
# What it starts must not hold the load's input open.
check "it is powered on again" $lab start "$first" 7>&-
check "and catches up" within 30 healthy "$first"

second=$(leader)
check "the new leader is cut off" $lab cut "$second"
others=$(echo cp1 cp2 cp3 | xargs -n 1 | grep -v "$second")
for host in $others; do check "$host goes on without it" within 10 healthy "$host"; done
check "it is plugged in" $lab heal "$second"
check "and catches up too" within 30 healthy "$second"

third=$(leader)
check "the leader stands still" on "$third" systemctl kill -s STOP etcd
others=$(echo cp1 cp2 cp3 | xargs -n 1 | grep -v "$third")
for host in $others; do check "$host goes on meanwhile" within 10 healthy "$host"; done
check "it goes on where it stood" on "$third" systemctl kill -s CONT etcd
check "and leads nobody" within 30 healthy "$third"

check "cp3 is replaced by a member with an empty disk" replace cp3
check "which becomes one that votes" within 30 equals "cp1 cp2 cp3" voters cp1
check "and has everything" within 30 healthy cp3

for host in cp1 cp2 cp3; do
  check "$host is restarted" on "$host" systemctl restart etcd
  check "and serves again" within 20 healthy "$host"
done
exec 7>&-
wait "$load"
check "nothing that was acknowledged was lost, and no read went back" verdict $?
tail -n 1 "$report"
rm -f "$report" "$report.end"
finish
