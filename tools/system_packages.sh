#!/usr/bin/env bash
# Looks for what pip cannot install, and installs what is missing where that needs no password.
#
#     tools/system_packages.sh make | venv | opengl | chromium ...
#
# PYTHON names the interpreter to ask. Debian and Ubuntu install by apt-get; elsewhere a sentence says what to install.
set -euo pipefail

python=${PYTHON:-python3}

apt_install() {
    command -v apt-get >/dev/null || return 1
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes)
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        apt=(sudo -n "${apt[@]}")
    fi
    echo "Installing $* with apt-get"
    "${apt[@]}" install --no-install-recommends "$@" </dev/null >/dev/null 2>&1 && return
    # The lists of packages may be missing or old.
    "${apt[@]}" update </dev/null >/dev/null && "${apt[@]}" install --no-install-recommends "$@" </dev/null >/dev/null
}

need_make() {
    command -v make >/dev/null || apt_install make || fail "make is missing: install it with the system's package manager."
}

need_venv() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv ||
        fail "$python cannot make virtual environments: install its venv module, python3-venv on Debian and Ubuntu."
}

need_opengl() {
    finds_opengl || { apt_install libegl1 libgl1 && finds_opengl; } ||
        fail "No OpenGL library is found to draw pictures with: install libegl1 on Debian and Ubuntu, mesa-libEGL on Fedora."
}

finds_opengl() {
    "$python" -c 'from tensorview.stage.gl import require_opengl; require_opengl()' 2>/dev/null
}

need_chromium() {
    command -v chromium >/dev/null && return
    if is_debian && apt_install chromium; then return; fi
    # As somebody else it would ask for a password.
    if [ "$(uname)" = Linux ] && [ "$(id -u)" -eq 0 ]; then "$python" -m playwright install-deps chromium </dev/null; fi
    "$python" -m playwright install chromium </dev/null ||
        fail "Chromium cannot be installed: install it, so that the command chromium is found."
}

# Ubuntu's package of that name installs a snap, which runs in no container.
is_debian() {
    [ -r /etc/os-release ] && grep -q '^ID=debian' /etc/os-release
}

fail() {
    echo "$1" >&2
    exit 1
}

for thing in "$@"; do
    "need_$thing"
done
