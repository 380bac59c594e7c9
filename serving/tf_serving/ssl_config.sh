#!/usr/bin/env bash
# Prints what --ssl_config_file wants: the PEM texts themselves, not the names of files.
#
#   ./ssl_config.sh server.key server.pem [clients-ca.pem] > ssl.config
#
# With the third file the server asks every client for a certificate of that authority.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: ssl_config.sh SERVER.key SERVER.pem [CLIENTS-CA.pem]" >&2
  exit 2
fi

field() {
  printf '%s: "' "$1"
  awk '{ printf "%s\\n", $0 }' "$2"
  printf '"\n'
}

umask 077
field server_key "$1"
field server_cert "$2"
if [ $# -gt 2 ]; then
  field custom_ca "$3"
  echo "client_verify: true"
else
  echo "client_verify: false"
fi
