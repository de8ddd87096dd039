#!/bin/sh
# Writes run.txt (the gateway and its build backend), dev.txt (that and the test tools), fuzz.txt (what `make fuzz` is
# better for) and peers.txt (servers that load tests put beside it) from pyproject.toml: one lock for every Python and platform, hashes of all files, no registry addresses. Versions stay as they are where they still
# fit, unless --upgrade is given. The resolver gets an environment of its own, because the locks cannot hold it.
set -eu

if [ ! -x .venv/lock/bin/uv ]; then
    .venv/bin/python -m venv .venv/lock
    .venv/lock/bin/python -m pip --disable-pip-version-check --quiet install uv
fi

compile() {
    .venv/lock/bin/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' "$@" >/dev/null
}

compile --group build --output-file requirements/run.txt "$@" pyproject.toml
compile --group build --group dev --extra otel --constraints requirements/run.txt --output-file requirements/dev.txt "$@" pyproject.toml
compile --group fuzz --output-file requirements/fuzz.txt "$@"
compile --group peers --constraints requirements/dev.txt --output-file requirements/peers.txt "$@"
