#!/bin/sh
# Install what the tests of this directory need beside Python packages: node-smpp by its lock file; Kannel and tshark from Debian.
set -eu
cd "$(dirname "$0")"

say() { echo "make interop: $*" >&2; }

missing=""
for pair in node:nodejs npm:npm tshark:tshark bearerbox:kannel smsbox:kannel; do
	PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
# shellcheck disable=SC2086 # a list of words is meant
missing=$(printf '%s\n' $missing | sort -u | paste -sd ' ' -)

if [ -n "$missing" ]; then
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		say "these Debian packages are missing: $missing"
		say "install them as root (apt-get install --no-install-recommends $missing), or run this target as root on Debian"
		exit 1
	fi
	# The packages' own services must not come up: the tests start what they need, on the loopback.
	DEBIAN_FRONTEND=noninteractive
	RUNLEVEL=1
	export DEBIAN_FRONTEND RUNLEVEL
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words is meant
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

npm ci --prefix node --ignore-scripts --no-audit --no-fund --loglevel=error
