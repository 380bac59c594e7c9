#!/usr/bin/env bash
# Is the model ready? For the container's health check and Kubernetes' probes: bash alone, as TensorFlow
# Serving's image has no curl.
#
#   probe.sh available    a version of the model is AVAILABLE
#   probe.sh predict      ... and one request with an 8x8 photo is answered
#
# Environment: PROBE_PORT (REST, 8501), PROBE_MODEL (default), PROBE_CONCEPT (person), PROBE_SECONDS (5).
set -euo pipefail

port=${PROBE_PORT:-8501} model=${PROBE_MODEL:-default} seconds=${PROBE_SECONDS:-5}
photo=iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mNsaGhgwAaYGHCAwSkBADAXAZDUexXGAAAAAElFTkSuQmCC

# One request; succeeds when the answer is 200 and holds the words given.
ask() {
  local method=$1 path=$2 body=$3 words=$4 code
  { exec 3<> "/dev/tcp/127.0.0.1/$port"; } 2> /dev/null || return 1
  printf '%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n' \
    "$method" "$path" >&3
  printf 'Content-Length: %d\r\n\r\n%s' "${#body}" "$body" >&3
  read -r -t "$seconds" _ code _ <&3
  [ "$code" = 200 ] && timeout "$seconds" grep -q "$words" <&3
}

available() {
  ask GET "/v1/models/$model" '' '"state": *"AVAILABLE"'
}

predict() {
  ask POST "/v1/models/$model:predict" \
    '{"signature_name": "segment_encoded", "instances": [{"image_bytes": {"b64": "'"$photo"'"}, "concepts": ["'"${PROBE_CONCEPT:-person}"'"]}]}' \
    '"mask_png_bytes"'
}

case ${1:-} in
  available) available ;;
  predict) available && predict ;;
  *)
    echo "usage: probe.sh available|predict" >&2
    exit 2
    ;;
esac
