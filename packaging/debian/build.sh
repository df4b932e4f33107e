#!/bin/sh
# Packs the program as a Debian package, for `make deb`. It is installed without being started or enabled.
#
#     packaging/debian/build.sh PROGRAM DIRECTORY
#
# DEBFULLNAME and DEBEMAIL name its maintainer; otherwise git's configuration does.
set -eu

program=$1 output=$2
here=$(cd "$(dirname "$0")/../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml" | head -n 1)
name=${DEBFULLNAME:-$(git -C "$here" config user.name)}
email=${DEBEMAIL:-$(git -C "$here" config user.email)}
case $(od -An -t u2 -j 18 -N 2 "$program" | tr -d ' ') in
62) architecture=amd64 ;;
183) architecture=arm64 ;;
*) echo "make deb: expected a program for amd64 or arm64, found another one: $program" >&2; exit 1 ;;
esac
# The engine is in the program's file, so that its symbols are found there too.
glibc=$(grep -aoE 'GLIBC_2\.[0-9]+' "$program" | sed s/GLIBC_// | sort -Vu | tail -n 1)

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
umask 022

put() {
    install -D -m "${3:-644}" "$1" "$stage/$2"
}
packed() {
    mkdir -p "$(dirname "$stage/$2")"
    gzip -9n <"$1" >"$stage/$2"
}

put "$program" usr/bin/rwsgi 755
for unit in rwsgi.service rwsgi.socket; do
    put "$here/packaging/systemd/$unit" usr/lib/systemd/system/$unit
done
sed -i 's|/usr/local/bin/|/usr/bin/|' "$stage/usr/lib/systemd/system/rwsgi.service"
put "$here/packaging/debian/rwsgi.logrotate" etc/logrotate.d/rwsgi
mkdir -p "$stage/etc/rwsgi"
put "$here/packaging/systemd/rwsgi.toml" usr/share/doc/rwsgi/examples/rwsgi.toml
put "$here/packaging/debian/copyright" usr/share/doc/rwsgi/copyright
packed "$here/CHANGELOG.md" usr/share/doc/rwsgi/CHANGELOG.md.gz
printf 'rwsgi (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- %s <%s>  %s\n' \
    "$version" "$name" "$email" "$(date -R -r "$here/CHANGELOG.md")" | gzip -9n >"$stage/usr/share/doc/rwsgi/changelog.gz"
packed "$here/packaging/man/rwsgi.1" usr/share/man/man1/rwsgi.1.gz
packed "$here/packaging/man/rwsgi.toml.5" usr/share/man/man5/rwsgi.toml.5.gz
put "$here/packaging/completions/rwsgi.bash" usr/share/bash-completion/completions/rwsgi
put "$here/packaging/completions/_rwsgi" usr/share/zsh/vendor-completions/_rwsgi
put "$here/packaging/completions/rwsgi.fish" usr/share/fish/vendor_completions.d/rwsgi.fish

for script in postinst prerm postrm; do
    put "$here/packaging/debian/$script" DEBIAN/$script 755
done
echo /etc/logrotate.d/rwsgi >"$stage/DEBIAN/conffiles"
(cd "$stage" && find usr etc -type f -exec md5sum {} + >DEBIAN/md5sums)
cat >"$stage/DEBIAN/control" <<CONTROL
Package: rwsgi
Version: $version
Architecture: $architecture
Maintainer: $name <$email>
Section: httpd
Priority: optional
Depends: libc6 (>= $glibc)
Recommends: python3 (>= 3.11), logrotate
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f 1)
Description: WSGI application server for Django, Flask and others
 rwsgi serves Python web applications by processes that run the Python of
 their own virtualenv, in any version from 3.11 on. Its settings have the
 names of gunicorn's.
 .
 The units of systemd that come with it are neither enabled nor started.
CONTROL

mkdir -p "$output"
dpkg-deb --root-owner-group -Zxz --build "$stage" "$output/rwsgi_${version}_$architecture.deb"
