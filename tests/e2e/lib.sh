# Sourced by each end-to-end test. A test is a file of `check` lines; each says what must hold and the command that shows it.
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
export PATH=$PWD/target/tools:$PATH KUBECONFIG=$PWD/target/lab/kubeconfig
lab=vagrant/lab
mkdir -p target/lab
passed=0 failed=0

# check NAME CMD...: CMD must exit 0.
check() {
  local name=$1 output status=0; shift
  output=$("$@" 2>&1) || status=$?
  if [ $status = 0 ]; then
    passed=$((passed + 1)); echo "ok      $name"
  else
    failed=$((failed + 1)); echo "FAILED  $name (exit $status): $*"; sed 's/^/        /' <<< "$output" | tail -n 25
  fi
}

# within SECONDS CMD...: CMD must exit 0 before SECONDS are over; it is asked again every 300 ms.
within() {
  local end=$((SECONDS + $1)) output; shift
  until output=$("$@" 2>&1); do
    [ $SECONDS -lt $end ] || { echo "$output"; return 1; }
    sleep 0.3
  done
  echo "$output"
}

# says TEXT CMD...: CMD must exit 0 and print TEXT.
says() {
  local text=$1 output; shift
  output=$("$@" 2>&1) || { echo "$output"; return 1; }
  grep -qF -- "$text" <<< "$output" || { echo "$output"; echo "(does not say: $text)"; return 1; }
}

# refuses TEXT CMD...: CMD must fail and say TEXT.
refuses() {
  local text=$1 output; shift
  if output=$("$@" 2>&1); then echo "$output"; echo "(exited 0, should have failed)"; return 1; fi
  grep -qiE -- "$text" <<< "$output" || { echo "$output"; echo "(does not say: $text)"; return 1; }
}

# equals VALUE CMD...: CMD must exit 0 and print exactly VALUE.
equals() {
  local value=$1 output; shift
  output=$("$@" 2>&1) || { echo "$output"; return 1; }
  [ "$output" = "$value" ] || { echo "got '$output', not '$value'"; return 1; }
}

not() { ! "$@"; }

# The test file ends with this: it prints the count and fails if any check failed.
finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}
