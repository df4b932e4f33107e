#!/bin/sh
# Installs the Debian packages that a command prints, one a line, after saying so. Prints nothing if there is none.
#
#     packaging/install-missing.sh make -s missing
set -eu

fail() {
    printf 'make: expected these packages, found none of them: %s\nhint: %s\n' "$packages" "$1" >&2
    exit 1
}

# `make --dry-run` runs lines that call make.
flags=${MAKEFLAGS:-}
case ${flags%% *} in
-*|*=*) ;;
*n*) exit 0 ;;
esac

# Twice: which libpython belongs to an interpreter is known once the interpreter is there.
for round in 1 2 3; do
    packages=$("$@" | sort -u | tr '\n' ' ')
    [ -n "$packages" ] || exit 0
    command -v apt-get >/dev/null || fail 'install what has these programs on this system'
    [ "$round" != 3 ] || fail 'what provides them is not on PATH'
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "apt-get install $packages, as root"
        as_root=sudo
    fi
    echo "make: installs what is missing: ${as_root:+$as_root }apt-get install $packages" >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
    # shellcheck disable=SC2086 # one word a package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages >&2
done
