# Sourced by quickstart, test and check: makes .venv beside the project and installs Riskline into it.
# PYTHON names another interpreter, RISKLINE_VENV another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${RISKLINE_VENV:-.venv}
python=${PYTHON:-python3}
export ORT_DISABLE_TELEMETRY=1 # the wheels of ONNX Runtime report their use otherwise

# gpu where an NVIDIA driver is found, else cpu: the two ONNX Runtimes overwrite each other, so it is one of them.
runtime() {
  if "$venv/bin/python" -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null; then echo gpu; else echo cpu; fi
}

make_environment() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $python is $("$python" -V 2>&1); riskline needs Python 3.11 or later" >&2
    echo "hint: PYTHON=python3.12 $0" >&2
    exit 2
  }
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
}

# install EXTRAS: this checkout, editable, with the runtime that fits this machine.
install() {
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$(runtime)${1:+,$1}]"
}
