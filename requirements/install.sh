#!/usr/bin/env bash
# Make the environment from the lock file: exact versions, no resolver. Usage: install.sh PYTHON VENV LOCK
set -euo pipefail
python=$1 venv=$2 lock=$3
command -v "$python" >/dev/null 2>&1 || python=python3
"$python" - <<'PY' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY
# The stamp holds the lock's hash, so that a lock file that only got a new date does not install again.
stamp=$venv/.installed
hash=$(cat "$lock" "$0" | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$hash" ]; then
  touch "$stamp"
  exit 0
fi
echo "Installing into $venv from $lock (some minutes the first time)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input "$@"; }
# pip first looks for torch's CPU build; the other packages are installed without their own wishes, which would draw in CUDA builds.
grep -E '^torch==' "$lock" | xargs "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input --no-deps
grep -vE '^(torch|deepspeed)==|^ *(#|$)' "$lock" >"$venv/lock.txt"
pip --no-deps -r "$venv/lock.txt"
# deepspeed comes as source and its set-up imports torch: after torch, and in this environment.
grep -E '^deepspeed==' "$lock" | xargs "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input --no-deps --no-build-isolation
echo "$hash" >"$stamp"
