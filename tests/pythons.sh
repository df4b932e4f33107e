#!/bin/bash
# Runs the built program under the Pythons of Debian 13 and sid, each with and without its libpython. For `make test-pythons`.
#
# Makes the trees by debootstrap once and keeps them in target/pythons (about 2 GB), then starts
# the program in each by chroot, in namespaces of its own, fetches a page of a plain WSGI app and one of a Flask app,
# and stops it. Knows nothing of the program but its command line.
#
#   MIRROR=...   the Debian mirror; otherwise the one this machine's apt uses
#   PROGRAM=...  the program; otherwise target/release/rwsgi. An engine file beside it is taken along.
#   ONLY=3.14    one version only
#   FRESH=1      new trees, from what Debian has today
#
# A line for each: `python 3.13.5 library ok (trixie)`. Exit code 1 if one fails, or a version below is nowhere to be had.
set -euo pipefail

required='3.13 3.14 3.15'
suites='trixie sid'
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
trees=$here/target/pythons
self=$here/tests/pythons.sh
program=${PROGRAM:-$here/target/release/rwsgi}

main() {
    check_needs
    mkdir -p "$trees"
    exec 9>"$trees/lock"
    flock 9
    local suite version tried=' ' failed=0
    for suite in $suites; do
        make_tree "$suite" debian
        make_tree "$suite-libpython" libpython
        for version in $(cat "$trees/$suite/versions"); do
            [ -z "${ONLY:-}" ] || [ "$ONLY" = "$version" ] || continue
            tried+="$version "
            "$self" try "$suite" "$version" executable 9>&- || failed=1
            "$self" try "$suite-libpython" "$version" library 9>&- || failed=1
        done
    done
    for version in ${ONLY:-$required}; do
        [[ $tried == *" $version "* ]] && continue
        echo "python $version MISSING: expected it in one of $suites, found it in none"
        failed=1
    done
    return "$failed"
}

check_needs() {
    local need
    for need in debootstrap:debootstrap unshare:util-linux flock:util-linux curl:curl; do
        [ -n "$(PATH=$PATH:/usr/sbin:/sbin type -P "${need%:*}")" ] || die "expected ${need%:*}, found none" "apt install ${need#*:}"
    done
    [ "$(id -u)" = 0 ] || die 'expected to be root, for chroot and debootstrap' 'sudo make test-pythons'
    [ -x "$program" ] || die "expected the program at $program, found none" 'cargo build --release'
}

die() {
    printf 'test-pythons: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

# The first repository of Debian itself; updates and security have no whole distribution.
mirror() {
    if [ -n "${MIRROR:-}" ]; then
        echo "$MIRROR"
        return
    fi
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 2>/dev/null | grep -v security | head -n 1 || true)
    [ -n "$found" ] || die "expected a mirror in apt's configuration, found none" 'name one: MIRROR=...'
    echo "$found"
}

# Tree NAME, filled by a function of this file. It gets its name when it is whole, so that a broken run leaves none
# that looks like one. What it says goes into a file.
make_tree() {
    local tree=$trees/$1
    if [ -z "${FRESH:-}" ] && [ -d "$tree" ]; then
        return
    fi
    echo "making ${tree#"$here"/} (minutes; what it says is in ${tree#"$here"/}.log)"
    rm -rf "$tree" "$tree.new"
    # A process of its own: errexit sleeps on the left of ||.
    "$self" "$2" "$1" "$tree.new" >"$tree.log" 2>&1 ||
        die "expected the tree $1, found: $(tail -n 1 "$tree.log")" "read $tree.log"
    mv "$tree.new" "$tree"
}

# Every Python that the suite has, and no libpython.
debian() {
    local suite=$1 tree=$2
    debootstrap --variant=minbase "$suite" "$tree" "$(mirror)"
    within "$tree" sh -c 'apt-cache pkgnames python3. | grep -Ex "python3\.[0-9]+" | sort -V >/pythons'
    within "$tree" sh -c 'apt-get install -y --no-install-recommends python3-flask $(cat /pythons)'
    sed 's/^python//' "$tree/pythons" >"$tree/versions"
    if compgen -G "$tree/usr/lib/*/libpython3.[0-9]*.so*"; then
        echo 'expected no libpython yet, found those above'
        return 1
    fi
}

# A copy of the suite's tree, with the libpython of every Python in it.
libpython() {
    cp -a --reflink=auto "$trees/${1%-libpython}" "$2"
    within "$2" sh -c 'apt-get install -y --no-install-recommends $(sed s/^/lib/ /pythons)'
}

# Runs a command in a tree, root there, in mount and process namespaces of its own: nothing stays mounted, nothing
# stays alive.
within() {
    DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        unshare --mount --pid --fork --kill-child -- sh -ec "$mounts"' exec chroot "$@"' sh "$@" </dev/null
}

mounts='mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev";'

# One combination: tree, version, the launch mode that is expected.
try() {
    local tree=$trees/$1 version=$2 mode=$3 log=$trees/$1-$2.log found
    prepare "$tree" "$version"
    if found=$(unshare --mount --pid --fork --kill-child -- bash -c "$mounts"' . "$2"; serve "$1" "$3" "$4" "$5"' \
        bash "$tree" "$self" "$version" "$mode" "$log" </dev/null 2>&1); then
        echo "python $found $mode ok (${1%-libpython})"
    else
        echo "python $version $mode FAILED (${1%-libpython}): $found"
        sed 's/^/    /' "$log"
        return 1
    fi
}

prepare() {
    local tree=$1 version=$2 engine
    rm -rf "$tree/opt/rwsgi" "$tree/srv"
    mkdir -p "$tree/opt/rwsgi" "$tree/srv"
    install -m 755 "$program" "$tree/opt/rwsgi/rwsgi"
    for engine in "$(dirname "$program")"/lib*_engine.so; do
        [ ! -e "$engine" ] || install -m 644 "$engine" "$tree/opt/rwsgi/"
    done
    within "$tree" "python$version" -m venv --without-pip --system-site-packages /srv/venv
    # Only in the virtualenv, so that a page that says it was found shows that its site-packages are on sys.path.
    echo 'found = "yes"' >"$tree/srv/venv/lib/python$version/site-packages/only_in_virtualenv.py"
    cat >"$tree/srv/facts.py" <<'PYTHON'
import sys
import only_in_virtualenv
facts = "\n".join([sys.version, sys.prefix, sys.base_prefix, sys.executable, only_in_virtualenv.found, ""])
PYTHON
    cat >"$tree/srv/app.py" <<'PYTHON'
import ctypes, json, sqlite3, sys, threading
import facts

def app(environ, start_response):
    said = []
    thread = threading.Thread(target=lambda: said.append("a thread"))
    thread.start()
    thread.join()
    mode = "library" if sys.modules["_rwsgi"].__spec__.origin == "built-in" else "executable"
    body = (facts.facts + "\n".join([environ["REQUEST_METHOD"], *said, mode, ""])).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
PYTHON
    cat >"$tree/srv/flask_app.py" <<'PYTHON'
import flask
import facts

app = flask.Flask(__name__)

@app.get("/<name>")
def hello(name):
    return facts.facts + flask.render_template_string("hello {{ name }}\n", name=name)
PYTHON
}

# In the namespaces of `try`: serves both apps one after the other and compares what they say with what the
# virtualenv's own python says. Prints the version, or what went wrong.
serve() {
    local tree=$1 version=$2 mode=$3 log=$4 facts
    : >"$log"
    facts=$(chroot "$tree" /srv/venv/bin/python -c 'import sys; sys.path.insert(0, "/srv"); import facts; print(facts.facts, end="")')
    fetch "$tree" "$log" app:app / "$facts"$'\n'"GET"$'\n'"a thread"$'\n'"$mode"
    fetch "$tree" "$log" flask_app:app /you "$facts"$'\n'"hello you"
    echo "${facts%% *}"
}

fetch() {
    local tree=$1 log=$2 app=$3 path=$4 expected=$5 port pid found code=0
    port=$(free_port)
    # PYTHON* and VIRTUAL_ENV of whoever runs this belong to no tree.
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        chroot "$tree" sh -c 'cd /srv; exec /opt/rwsgi/rwsgi -b "$1" -w 2 --python /srv/venv "$2"' \
        sh "127.0.0.1:$port" "$app" >>"$log" 2>&1 &
    pid=$!
    within_20_seconds listens_or_gone "$port" "$pid" || true
    found=$(curl -sS --fail --noproxy '*' --max-time 30 "http://127.0.0.1:$port$path" 2>&1) || true
    kill -TERM "$pid" 2>/dev/null || true
    within_20_seconds gone "$pid" || kill -KILL "$pid"
    wait "$pid" || code=$?
    [ "$found" = "$expected" ] || { printf '%s: expected\n%s\nfound\n%s\n' "$app" "$expected" "$found"; exit 1; }
    [ "$code" = 0 ] || { echo "$app: expected exit code 0 after TERM, found $code"; exit 1; }
}

# Waits until a command succeeds.
within_20_seconds() {
    local round nothing
    exec 8<> <(:)
    for round in {1..200}; do
        if "$@"; then
            return
        fi
        read -r -t 0.1 -u 8 nothing || true
    done
    return 1
}

gone() {
    ! kill -0 "$1" 2>/dev/null
}

listens_or_gone() {
    listens "$1" || gone "$2"
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); listens "$port"; do :; done
    echo "$port"
}

listens() {
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# `try` reads this file for its functions; otherwise its words name one of them.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    "${@:-main}"
fi
