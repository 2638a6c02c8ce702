#!/usr/bin/env bash
# Shared by every peer script; sourced, never run. Each script: SCRIPT setup | version | run
#   setup    downloads and configures into $LAB; version prints one word; run replaces itself with the broker (foreground).
# Env: LAB (where downloads, installs and data live), PORT (where to listen, on loopback), HEAP (java -Xmx, 4G)
# Every peer confirms a durable message only when it is synced, or as strongly as it can: the script says which.
set -euo pipefail
LAB=${LAB:?}; mkdir -p "$LAB"; LAB=$(cd "$LAB" && pwd)
PORT=${PORT:-0}; HEAP=${HEAP:-4G}; HOST=127.0.0.1

# fetch_mvn group:artifact:version:type:classifier prints the file, fetched with Maven when it is not there.
fetch_mvn() {
  local a v t c; IFS=: read -r _ a v t c <<<"$1"
  local f="$LAB/dl/$a-$v${c:+-$c}.$t"
  [ -s "$f" ] || mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
      -Dartifact="$1" -DoutputDirectory="$LAB/dl" -Dmdep.useBaseVersion=true >&2
  echo "$f"
}

# debian COMMAND PACKAGE: installs the package when the command is missing, without starting the service it may bring.
debian() {
  command -v "$1" >/dev/null && return
  export DEBIAN_FRONTEND=noninteractive
  local policy=/usr/sbin/policy-rc.d made=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made=1; }
  apt-get install -y -q --no-install-recommends "$2" >&2 ||
    { apt-get update -q >&2; apt-get install -y -q --no-install-recommends "$2" >&2; }
  [ -z "$made" ] || rm -f $policy
}
