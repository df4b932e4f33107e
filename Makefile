# rwsgi: `make help` lists what can be made. PYTHON=/path/to/python3 chooses the interpreter of the virtualenv.

PYTHON ?= python3
CARGO ?= cargo
PREFIX ?= /usr/local
UNITS ?= $(PREFIX)/lib/systemd/system
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
VENV := $(TARGET)/venv
RWSGI := $(TARGET)/release/rwsgi

# Debian keeps nginx and its like where an ordinary user's PATH does not look. Where it does, it stays as it is: cargo compiles
# some crates again when it changes.
ifeq ($(filter /usr/sbin,$(subst :, ,$(PATH))),)
export PATH := $(PATH):/usr/sbin:/sbin
endif
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: build debug quick wheel sdist deb run check test test-launch test-one test-install test-pythons deny advisories bench bench-quick bench-report bench-floor install clean help missing missing-to-run needs needs-to-run FORCE

# Both packages in the second step too: for one alone cargo would choose other features of the crates, and compile them again.
BOTH := -p rwsgi-engine -p rwsgi
build: ## the release binary, target/release/rwsgi: one file, the engine inside
	$(CARGO) build --release --locked -p rwsgi-engine
	RWSGI_ENGINE_FILE=$(TARGET)/release/librwsgi_engine.so $(CARGO) build --release --locked $(BOTH)

debug:
	$(CARGO) build --locked --workspace

# The wheel runs on every Linux with this glibc or a newer one. zig links against the symbols that it had.
GLIBC := 2.28
MACHINE ?= $(shell uname -m)
PROFILE ?= release
DIST := $(TARGET)/dist
PACKING := $(TARGET)/packing
BUILT := $(TARGET)/$(MACHINE)-unknown-linux-gnu/$(PROFILE)
ZIGBUILD := PATH="$(PACKING)/bin:$$PATH" $(CARGO) zigbuild --locked --profile $(PROFILE) --target $(MACHINE)-unknown-linux-gnu.$(GLIBC)

wheel: $(PACKING)/.filled ## target/dist/rwsgi-*.whl, for pip: the program and `python -m rwsgi`, for glibc 2.28 and newer
	$(ZIGBUILD) -p rwsgi-engine
	RWSGI_ENGINE_FILE=$(BUILT)/librwsgi_engine.so $(ZIGBUILD) $(BOTH)
	@rm -f $(DIST)/rwsgi-*_$(MACHINE).whl
	RWSGI_PROGRAM_FILE=$(BUILT)/rwsgi $(PACKING)/bin/hatchling build -t wheel -d $(DIST)
	@test -n "$$(find $(DIST) -name 'rwsgi-*-manylinux_2_1?_$(MACHINE).whl' -o -name 'rwsgi-*-manylinux_2_2[0-8]_$(MACHINE).whl')" || \
	    { echo "make wheel: expected a program for glibc $(GLIBC), found a tag for a newer one" >&2; exit 1; }

sdist: $(PACKING)/.filled ## target/dist/rwsgi-*.tar.gz, the sources, for pip and a machine with cargo
	$(PACKING)/bin/hatchling build -t sdist -d $(DIST)

quick: ## the same, target/quick/rwsgi, built without the optimisations that take minutes
	$(CARGO) build --profile quick --locked -p rwsgi-engine
	RWSGI_ENGINE_FILE=$(TARGET)/quick/librwsgi_engine.so $(CARGO) build --profile quick --locked $(BOTH)

BIND ?= 127.0.0.1:8000
SITE := $(TARGET)/site
run: needs-to-run quick $(SITE)/.filled ## build, and serve the polls of examples/django at BIND=127.0.0.1:8000 with 2 workers
	@DJANGO_DB=$(TARGET)/polls.sqlite3 $(SITE)/bin/python examples/django/manage.py migrate --verbosity 0
	@echo "The polls are at http://$(BIND)/polls/ (Ctrl-C ends the server)."
	@cd examples/django && DJANGO_DB=$(TARGET)/polls.sqlite3 exec $(TARGET)/quick/rwsgi --config app.toml --python $(SITE) -b $(BIND)

check: debug $(VENV)/.filled ## formatting, clippy, unit tests, and the tests that are data; under a minute once it has run
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked -p rwsgi --lib --bins
	$(ON_DEBUG) $(CARGO) test --locked -p rwsgi --test all -- $(DATA)

# Those that start no server, and the one that sends the cases of tests/smuggling/ to one.
DATA := docs:: from_gunicorn:: http:: settings:: smuggling::each_form supervisor:: tidy::
ON_DEBUG = RWSGI_LAUNCH=$(or $(LAUNCH),executable) RWSGI_TEST_PROGRAM=$(TARGET)/debug/rwsgi RWSGI_TEST_VENV=$(VENV)

test-one: debug $(VENV)/.filled ## one test or one file of them, with a debug build: T=threads::, LAUNCH=library for the other launch mode
	@test -n "$(T)" || { echo "make test-one: which tests: T=threads:: or T=part_of_a_name" >&2; exit 1; }
	$(ON_DEBUG) $(CARGO) test --locked -p rwsgi --test all -- --test-threads $(TEST_THREADS) $(T)

test: needs build $(VENV)/.filled ## every test there is, those of the running server twice: python executed, and libpython loaded
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@$(MAKE) deny
	$(VENV)/bin/python examples/django/manage.py test polls
	$(CARGO) test --locked -p rwsgi --lib --bins
	$(CARGO) test --locked -p rwsgi --doc
	@$(MAKE) test-launch LAUNCH=executable
	@$(MAKE) test-launch LAUNCH=library SKIP="$(LAUNCHLESS)"

# What the tests in tests/ are told: the program to drive, the virtualenv with Django and Flask, the launch mode. Most
# of them wait most of the time, so that many run side by side.
TEST_THREADS ?= 8
# Tests that start no server, or compare what does not depend on the launch mode: once is enough.
LAUNCHLESS := docs:: from_gunicorn:: gunicorn_side_by_side:: http:: settings:: smuggling:: supervisor:: tidy:: words::
test-launch:
	RWSGI_LAUNCH=$(LAUNCH) RWSGI_TEST_PROGRAM=$(RWSGI) RWSGI_TEST_VENV=$(VENV) \
	    $(CARGO) test --locked -p rwsgi --test all -- --test-threads $(TEST_THREADS) $(SKIP:%=--skip %)

deny: ## licenses and sources of the crates, and crates in two versions, by cargo-deny where it is installed
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check licenses bans sources; \
	else echo "make: cargo-deny is not installed, deny.toml is not checked: cargo install --locked cargo-deny" >&2; fi

advisories: ## known faults of the crates, by cargo-deny; its database comes over the network
	$(CARGO) deny --locked check advisories

deb: ## target/dist/rwsgi_*.deb, of the program that make wheel packed: with manual page, completions, units
	@test -x $(BUILT)/rwsgi || $(MAKE) wheel
	packaging/debian/build.sh $(BUILT)/rwsgi $(DIST)

test-install: wheel deb ## wheel and package under Debian 12, 13 and sid, in trees of its own: installed, upgraded, removed (root, debootstrap)
	tests/install.sh

test-pythons: build ## the binary under Python 3.13, 3.14 and 3.15, in trees of Debian 13 and sid (root, debootstrap)
	tests/pythons.sh

BENCHES = benches/run.py --rwsgi $(RWSGI) --floor $(TARGET)/floor.so

bench: build $(TARGET)/floor.so $(TARGET)/bench/venv/.filled ## rwsgi beside its peers, for hours; BENCH="hello flask" or BENCH=--resume for a part
	$(BENCHES) --python $(TARGET)/bench/venv --results $(TARGET)/bench/full --page docs/benchmarks.md $(BENCH)

bench-quick: build $(TARGET)/floor.so $(TARGET)/bench/venv/.filled ## a few rows of it, in two minutes, with a page in target/bench
	$(BENCHES) --python $(TARGET)/bench/venv --results $(TARGET)/bench/quick --page $(TARGET)/bench/quick/benchmarks.md \
	    --quick $(BENCH)

bench-report: ## docs/benchmarks.md again, from what make bench measured
	benches/run.py --results $(TARGET)/bench/full --page docs/benchmarks.md --report

bench-floor: build $(TARGET)/floor.so $(VENV)/.filled ## CPU per request of hello, beside a C loop that calls the same application
	$(BENCHES) --python $(VENV) --results $(TARGET)/bench/floor --servers floor,rwsgi hello $(BENCH)

install: $(RWSGI) ## copy the binary to $(PREFIX)/bin, pages and completions to $(PREFIX)/share, the units of systemd to $(PREFIX)/lib/systemd/system
	install -D -m 755 $(RWSGI) $(DESTDIR)$(PREFIX)/bin/rwsgi
	install -D -m 644 packaging/man/rwsgi.1 $(DESTDIR)$(PREFIX)/share/man/man1/rwsgi.1
	install -D -m 644 packaging/man/rwsgi.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/rwsgi.toml.5
	install -D -m 644 packaging/completions/rwsgi.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/rwsgi
	install -D -m 644 packaging/completions/_rwsgi $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rwsgi
	install -D -m 644 packaging/completions/rwsgi.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/rwsgi.fish
	install -d $(DESTDIR)$(UNITS)
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|g' packaging/systemd/rwsgi.service > $(DESTDIR)$(UNITS)/rwsgi.service
	install -m 644 packaging/systemd/rwsgi.socket $(DESTDIR)$(UNITS)/rwsgi.socket

clean: ## remove target/
	$(CARGO) clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

$(RWSGI):
	@$(MAKE) build

# The virtualenv is made anew when its interpreter or a list of packages changes.
$(VENV)/.filled: $(TARGET)/python tests/requirements.txt examples/django/requirements.txt examples/flask/requirements.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no ensurepip: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

$(SITE)/.filled: $(TARGET)/python examples/django/requirements.txt
	$(PYTHON) -m venv --clear $(SITE)
	$(SITE)/bin/pip install --quiet --disable-pip-version-check -r examples/django/requirements.txt
	@touch $@

$(PACKING)/.filled: $(TARGET)/python packaging/python/requirements.txt
	$(PYTHON) -m venv --clear $(PACKING)
	$(PACKING)/bin/pip install --quiet --disable-pip-version-check -r packaging/python/requirements.txt
	@touch $@

# The servers to measure beside, in a virtualenv of their own. Those built from source may fail to build: the others do.
$(TARGET)/bench/venv/.filled: $(TARGET)/python benches/requirements.txt benches/requirements-source.txt \
    examples/django/requirements.txt examples/flask/requirements.txt
	@mkdir -p $(TARGET)/bench
	$(PYTHON) -m venv --clear $(TARGET)/bench/venv
	$(TARGET)/bench/venv/bin/pip install --quiet --disable-pip-version-check wheel -r benches/requirements.txt
	@sed '/^#/d' benches/requirements-source.txt | while read package; do \
	    $(TARGET)/bench/venv/bin/pip install --quiet --disable-pip-version-check $$package > $(TARGET)/bench/pip.log 2>&1 || \
	        echo "make: $$package does not build and is left out ($(TARGET)/bench/pip.log)" >&2; done
	@touch $@

# Which interpreter this is; written only when it has changed.
$(TARGET)/python: FORCE
	@mkdir -p $(TARGET)
	@$(PYTHON) -c 'import sys; print(sys.executable, sys.base_prefix, sys.version)' > $@.now
	@cmp -s $@.now $@ && rm $@.now || mv $@.now $@

INCLUDE = $$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')
$(TARGET)/floor.so: benches/floor.c $(TARGET)/python
	@test -f "$(INCLUDE)/Python.h" || { echo "make: $(INCLUDE)/Python.h not found: apt-get install python3-dev" >&2; exit 1; }
	$(CC) -O2 -Wall -Wextra -std=gnu17 -shared -fPIC -isystem "$(INCLUDE)" -o $@ $<

# What `make test` needs, and the Debian package that has it; `missing` prints the packages that are not there.
NEEDED := cc:build-essential curl:curl openssl:openssl nginx:nginx-light apache2:apache2-bin haproxy:haproxy ab:apache2-utils \
    systemd-analyze:systemd systemd-socket-activate:systemd unshare:util-linux setpriv:util-linux \
    $(PYTHON):python3
LIBPYTHON := import ctypes, os, sysconfig as s; n, d = s.get_config_var("INSTSONAME"), s.get_config_var("LIBDIR"); \
    p = os.path.join(d, n); ctypes.CDLL(p if os.path.exists(p) else n)
missing:
	@for pair in $(NEEDED); do command -v "$${pair%:*}" >/dev/null || echo "$${pair##*:}"; done
	@test -e "$$(nginx -V 2>&1 | tr ' ' '\n' | sed -n 's/^--modules-path=//p')/ngx_stream_module.so" || echo libnginx-mod-stream
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || echo python3-venv
	@$(PYTHON) -c '$(LIBPYTHON)' 2>/dev/null || \
	    $(PYTHON) -c 'import sys; print("libpython%d.%d" % sys.version_info[:2])' 2>/dev/null || true

# What `make run` needs. Debian 12 has an older cargo than the sources: rustup has one.
missing-to-run:
	@command -v cc >/dev/null || echo build-essential
	@command -v $(CARGO) >/dev/null || echo cargo
	@command -v $(PYTHON) >/dev/null || echo python3
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || echo python3-venv

needs: PACKAGES = missing-to-run missing
needs needs-to-run: PACKAGES ?= missing-to-run
needs needs-to-run:
	@packaging/install-missing.sh $(MAKE) -s $(PACKAGES)
