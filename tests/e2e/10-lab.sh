#!/bin/bash
# The lab itself: hosts start, are cut off, lose power and come back with their disks, and nothing of them stays behind.
. "$(dirname "$0")/lib.sh"

nothing_left() {
  ! ip link show kinit-lab 2> /dev/null || return 1
  ! grep -q 'target/lab/hosts' /proc/mounts || return 1
  [ -z "$(find /sys/fs/cgroup -type d -name kinit-lab)" ]
}
marked() { $lab ssh w1 cat /root/mark; }

check "hosts start" $lab up --control-planes 1 --workers 1
check "they are listed" says '{"name":"w1","address":"10.88.0.21","running":true}' $lab list -o json
check "a host boots systemd" within 20 says running $lab ssh w1 systemctl is-system-running
check "containerd runs in it" says active $lab ssh w1 systemctl is-active containerd
check "hosts reach each other by name" $lab ssh cp1 ping -c1 -W2 w1
check "a host can be cut off" $lab cut w1
check "nothing reaches it" not $lab ssh cp1 ping -c1 -W1 w1
check "it can be healed" $lab heal w1
check "it is reached again" within 10 $lab ssh cp1 ping -c1 -W1 w1
check "a file is written" $lab run w1 sh -c 'echo kept > /root/mark; sync'
check "power goes off" $lab kill w1
check "the host is off" says '"name":"w1","address":"10.88.0.21","running":false' $lab list -o json
check "power comes back" $lab start w1
check "the disk was kept" equals kept marked
check "an unknown host is refused" refuses "no host 'w7'" $lab ssh w7 true
check "an unknown option is refused" refuses "unknown option '--bogus'" $lab up --bogus
check "the lab ends" $lab down
check "nothing is left" nothing_left
finish
