#!/usr/bin/env bash
# Make the environment from the lock file: exact versions and hashes, no resolver. Usage: install.sh PYTHON VENV LOCK
set -euo pipefail
python=$1 venv=$2 lock=$3
command -v "$python" >/dev/null 2>&1 || python=python3
"$python" - <<'PY' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY
# The stamp holds the lock's hash, so that a lock file that only got a new date does not install again.
stamp=$venv/.installed
vision=$(dirname "$0")/vision.txt
hash=$(cat "$lock" "$vision" "$0" | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$hash" ]; then
  touch "$stamp"
  exit 0
fi
echo "Installing into $venv from $lock (some minutes the first time)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input --require-hashes --no-deps "$@"; }
# Entries of the lock file, with the lines of hashes that follow each: those of the named packages, or all others.
entries() { awk -v want="$1" -v names="^($2)==" '/^[A-Za-z]/ { on = ($0 ~ names) == want } /^#/ { on = 0 } on' "$lock"; }
# torch first: the others' own wishes are not followed, which would draw in CUDA builds, and deepspeed, which comes as source,
# imports torch in its set-up.
for part in "1 torch" "0 torch|deepspeed" "1 deepspeed"; do
  entries $part >"$venv/lock.txt"
  case $part in
    "1 torch") pip -r "$venv/lock.txt" || { echo "torch's CPU build is needed: set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds" >&2; exit 1; } ;;
    "1 deepspeed") pip --no-build-isolation -r "$venv/lock.txt" ;;
    *) pip -r "$venv/lock.txt" ;;
  esac
done
# Beside torch's CPU build torchvision lacks two operators, whose names it needs to be imported; image models of vLLM use neither.
# Only they need it: where it cannot be had, everything else works.
rm -rf "$venv/vision"
if pip --target "$venv/vision" -r "$vision"; then
  main=$venv/vision/torchvision/__init__.py
  cat - "$main" >"$main.new" <<'PY'
import torch as _torch

if not hasattr(_torch.ops.torchvision, "nms"):
    _names = _torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _names.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
PY
  mv "$main.new" "$main"
else
  rm -rf "$venv/vision"
  echo "WARNING: no torchvision: model.vision.kind=vlm does not run here, and its test is skipped" >&2
fi
echo "$hash" >"$stamp"
