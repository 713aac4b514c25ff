#!/usr/bin/env bash
# Run the tests that need only the packages of base.txt, by any Python of 3.11 to 3.13.
# Usage: test_python.sh PYTHON VENV [PYTEST ARGUMENTS]
set -euo pipefail
python=$1 venv=$2
shift 2
if ! command -v "$python" >/dev/null 2>&1; then
  echo "SKIPPED: there is no $python here; name another one with: make test-python PYTHON=/path/to/python3.13" >&2
  exit 0
fi
lock=$(dirname "$0")/base.txt
hash=$(sha256sum <"$lock")
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$hash" ]; then
  echo "Installing into $venv from $lock"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input --require-hashes --no-deps -r "$lock"
  echo "$hash" >"$venv/.installed"
fi
ROUTENATOR_TEST_BASE=1 exec "$venv/bin/python" -m pytest -m "not slow and not cluster" "$@"
