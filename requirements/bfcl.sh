#!/usr/bin/env bash
# Make the environment of the Berkeley leaderboard's package. Usage: bfcl.sh PYTHON FOLDER
set -euo pipefail
python=$1 folder=$2
lock=$(dirname "$0")/bfcl.txt
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9 # tests ask for it at the same time
hash=$(cat "$lock" "$0" | sha256sum | cut -d' ' -f1)
if [ -f "$folder/.installed" ] && [ "$(cat "$folder/.installed")" = "$hash" ]; then
  exit 0
fi
rm -rf "$folder"
"$python" -m venv --without-pip "$folder"
"$python" -m pip --python "$folder/bin/python" install -qq --disable-pip-version-check --no-input --no-deps --require-hashes -r "$lock"
echo "$hash" >"$folder/.installed"
