#!/bin/bash
# Installs wheel and package under Debian 12, 13 and sid, serves the polls, upgrades and removes them. For `make test-install`.
#
# Makes the trees by debootstrap once and keeps them in target/install (about 1 GB); each run works on a layer above
# its tree, in namespaces of its own, of which nothing is left. Trees and namespaces are those of tests/pythons.sh.
#
#   MIRROR=...   the Debian mirror; otherwise the one this machine's apt uses
#   WHEEL=...    the wheel; otherwise the one in target/dist; DEB=... the package
#   ONLY=trixie  one suite only
#
# A line for each: `debian trixie python 3.13.5 wheel ok: first page 1.4 s after pip install`. Exit code 1 if one fails.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/pythons.sh"

self=$here/tests/install.sh
trees=$here/target/install
suites='bookworm trixie sid'

main() {
    local suite failed=0 wheel=${WHEEL:-$(echo "$here"/target/dist/rwsgi-*_"$(uname -m)".whl)}
    program=/bin/true check_needs
    local deb=${DEB:-$(echo "$here"/target/dist/rwsgi_*_"$(dpkg --print-architecture)".deb)}
    [ -e "$wheel" ] || die "expected a wheel at $wheel, found none" 'make wheel'
    [ -e "$deb" ] || die "expected a package at $deb, found none" 'make deb'
    mkdir -p "$trees"
    exec 9>"$trees/lock"
    flock 9
    fill_packages
    for suite in ${ONLY:-$suites}; do
        make_tree "$suite" python
        "$self" try "$suite" wheel "$wheel" 9>&- || failed=1
        "$self" try "$suite" deb "$deb" 9>&- || failed=1
    done
    return "$failed"
}

# What the polls need, from PyPI: the trees themselves install without a network.
fill_packages() {
    [ -e "$trees/packages/.filled" ] && return
    python3 -m pip download --quiet --disable-pip-version-check --only-binary :all: --python-version 3.11 \
        --dest "$trees/packages" -r "$here/examples/django/requirements.txt"
    touch "$trees/packages/.filled"
}

# Called by make_tree: a suite with its python3, and nothing else.
python() {
    debootstrap --variant=minbase --include=python3,python3-venv "$1" "$2" "$(mirror)"
}

# One way to install in one suite: `install_wheel` or `install_deb`, with the file.
try() {
    local suite=$1 way=$2 file=$3 log=$trees/$1-$2.log found
    if found=$(unshare --mount --pid --fork --kill-child -- bash -c '. "$1"; in_layer "$2" "install_$3" "$4" "$5"' \
        bash "$self" "$suite" "$way" "$file" "$log" </dev/null 2>"$log.err"); then
        echo "debian $suite $found"
    else
        echo "debian $suite $way FAILED: $found"
        cat "$log.err" "$log" | tail -n 40 | sed 's/^/    /'
        return 1
    fi
}

# Calls a function with a tree of its own above the one of a suite, in memory; it ends with the namespace.
in_layer() {
    local suite=$1 layer=$trees/layer
    shift
    mkdir -p "$layer"
    mount -t tmpfs tmpfs "$layer"
    mkdir "$layer/upper" "$layer/work" "$layer/tree"
    mount -t overlay -o "lowerdir=$trees/$suite,upperdir=$layer/upper,workdir=$layer/work" overlay "$layer/tree"
    tree=$layer/tree
    mount -t proc proc "$tree/proc"
    mount --rbind /dev "$tree/dev"
    "$@"
}

# The start of a command line that gets nothing of this script's environment.
clean=(env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8)

# A command in the layer; pip takes what is in /srv/packages.
inside() {
    "${clean[@]}" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/packages \
        PIP_ROOT_USER_ACTION=ignore chroot "$tree" "$@"
}

# Everything that a user does with the wheel; prints what was found.
install_wheel() {
    local wheel=$1 before started
    log=$2
    make_site venv
    cp "$wheel" "$tree/srv/packages"
    before=$(files)
    started=$(now)
    inside /srv/venv/bin/pip install --quiet rwsgi
    serve /srv/venv/bin/rwsgi
    page
    started=$(($(now) - started))
    inside /srv/venv/bin/pip install --quiet --force-reinstall --no-deps "/srv/packages/$(basename "$wheel")"
    reload
    page
    stop
    serve /srv/venv/bin/python -m rwsgi
    page
    stop
    inside /srv/venv/bin/pip uninstall --quiet --yes rwsgi
    nothing_is_left "$before"
    echo "python $version wheel ok: first page $((started / 1000)).$(printf '%03d' $((started % 1000))) s after pip install"
}

# Everything that a user does with the package; the site's virtualenv is `.venv` beside it.
install_deb() {
    local deb=$1 before
    log=$2
    make_site site/.venv
    before=$(files)
    cp "$deb" "$tree/srv/rwsgi.deb"
    inside dpkg --install /srv/rwsgi.deb >&2
    serve /usr/bin/rwsgi
    page
    inside dpkg --install /srv/rwsgi.deb >&2
    reload
    page
    stop
    inside dpkg --purge rwsgi >&2
    nothing_is_left "$before"
    echo "python $version deb ok"
}

# The polls in /srv/site, and a virtualenv with Django in /srv.
make_site() {
    : >"$log"
    mkdir "$tree/srv/packages"
    cp "$trees/packages"/*.whl "$tree/srv/packages"
    cp -r "$here/examples/django" "$tree/srv/site"
    inside python3 -m venv "/srv/$1"
    inside "/srv/$1/bin/pip" install --quiet django
    inside "/srv/$1/bin/python" /srv/site/manage.py migrate --verbosity 0
    version=$(inside "/srv/$1/bin/python" -c 'import platform; print(platform.python_version())')
}

# Starts a command as the README does: no virtualenv is activated, and none is named.
serve() {
    port=$(free_port)
    # No function: the process id is to be the server's own.
    "${clean[@]}" chroot "$tree" sh -c 'cd /srv/site; exec "$@"' sh "$@" -b "127.0.0.1:$port" mysite.wsgi >>"$log" 2>&1 &
    pid=$!
    within_20_seconds listens_or_gone "$port" "$pid" || true
}

# After an upgrade under the running server.
reload() {
    kill -HUP "$pid"
    within_20_seconds grep -q 'reload done' "$log" || fail 'expected a reload after the upgrade, found none'
}

page() {
    local found
    found=$(curl -sS --fail --noproxy '*' --max-time 30 "http://127.0.0.1:$port/polls/" 2>&1) || true
    [[ $found == *'<title>'* ]] || fail "expected the polls, found $found"
}

stop() {
    local code=0
    kill -TERM "$pid"
    within_20_seconds gone "$pid" || kill -KILL "$pid"
    wait "$pid" || code=$?
    [ "$code" = 0 ] || fail "expected exit code 0 after TERM, found $code"
}

nothing_is_left() {
    local found
    found=$(diff <(echo "$1") <(files)) || fail "expected nothing to be left, found $found"
}

files() {
    find "$tree/srv" "$tree/root" "$tree/tmp" "$tree/etc" "$tree/usr" -not -path '*/srv/rwsgi.deb' -not -name '*.pyc' -not -name __pycache__ | sort
}

now() {
    echo $(($(date +%s%N) / 1000000))
}

fail() {
    echo "$1"
    exit 1
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    "${@:-main}"
fi
