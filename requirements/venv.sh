#!/bin/sh
# Makes .venv with the interpreter named, else with the first one at hand that is new enough. Leaves a .venv alone that
# still runs and is of the version named, so that calling it on every make costs next to nothing.
set -eu

version='import sys; print(sys.version)'
usable='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'

if [ -f .venv/made ] && have=$(.venv/bin/python -c "$version" 2>/dev/null); then
    if [ $# -eq 0 ] || [ "$have" = "$("$1" -c "$version" 2>/dev/null)" ]; then
        exit 0
    fi
fi

for python in "${@:-python3}" python3.13 python3.12 python3.11 python3.14; do
    if "$python" -c "$usable" 2>/dev/null; then
        echo "making .venv with $python ($("$python" -c 'import platform; print(platform.python_version())'))"
        rm -rf .venv
        "$python" -m venv .venv
        touch .venv/made
        exit 0
    fi
    if [ $# -gt 0 ]; then
        break
    fi
done

if [ $# -gt 0 ]; then
    echo "$1 is no Python 3.11 or newer with the venv module (Debian: apt-get install python3-venv)." >&2
else
    echo "h2gate needs Python 3.11 or newer with the venv module, and found none (Debian: apt-get install python3-venv)." >&2
    echo "Name one: make PYTHON=/path/to/python3" >&2
fi
exit 1
