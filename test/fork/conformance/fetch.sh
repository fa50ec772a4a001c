#!/bin/sh
# fetch.sh DIRECTORY: Node's own tests, out of Debian's source packages (the tarball only), into DIRECTORY/<major version>.
# They are not ours to distribute: fetched when they are needed. Uses an apt configuration of its own.
set -eu
directory=$(mkdir -p "$1" && cd "$1" && pwd)
# The mirror of this machine, unless another is named.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | sed -n '/security/!p' | head -n 1)}
keyring=${DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
apt="$directory/apt"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
for suite in trixie sid; do
  echo "deb-src [signed-by=$keyring] $mirror $suite main"
done > "$apt/sources.list"
options="-o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=/dev/null
  -o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt/cache -o APT::Sandbox::User="
apt-get $options -q update
for version in $(apt-cache $options showsrc nodejs | sed -n 's/^Version: //p' | sort -u); do
  major=${version%%.*}
  mkdir -p "$apt/$version" "$directory/$major"
  # Some component of the source may be missing from a mirror; the main tarball is what counts.
  (cd "$apt/$version" && apt-get $options -q source --tar-only --download-only "nodejs=$version") || true
  tarball=$(ls "$apt/$version"/nodejs_*.orig.tar.* 2>/dev/null || true)
  [ -n "$tarball" ] || { echo "no tarball of $version" >&2; rmdir "$directory/$major"; continue; }
  tar -xf "$tarball" -C "$directory/$major" --strip-components=2 --wildcards \
    '*/test/parallel' '*/test/common' '*/test/fixtures'
  echo "$directory/$major"
done
