#!/usr/bin/env bash
# One concept's mask of a photo over REST, with curl and jq; works against TensorFlow Serving and `cmask serve`.
#
#   serving/examples/rest.sh photo.jpg dress dress.png [http://127.0.0.1:8501] [default]
#
# The mask is a PNG of the photo's size whose 0-255 is the probability. The stored pixels of the photo count:
# turn one with an EXIF orientation first (`mogrify -auto-orient photo.jpg`).
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: rest.sh PHOTO CONCEPT MASK.png [SERVER] [MODEL]" >&2
  exit 2
fi
photo=$1 concept=$2 mask=$3 server=${4:-http://127.0.0.1:8501} model=${5:-default}

# Through pipes, not arguments: a photo in base64 is longer than a command line may be.
answer=$(
  base64 < "$photo" | tr -d '\n' |
    jq -Rs --arg concept "$concept" \
      '{signature_name: "segment_encoded", instances: [{image_bytes: {b64: .}, concepts: [$concept]}]}' |
    curl -sS --max-time 60 -H 'Content-Type: application/json' --data-binary @- \
      "$server/v1/models/$model:predict"
)

error=$(jq -r '.error // empty' <<< "$answer")
if [ -n "$error" ]; then
  echo "rest.sh: error: $error" >&2
  exit 2
fi
if ! jq -e '.predictions[0].known[0]' <<< "$answer" > /dev/null; then
  echo "rest.sh: error: concept '$concept': not in the served model's vocabulary" >&2
  exit 2
fi

jq -r '.predictions[0].mask_png_bytes[0].b64' <<< "$answer" | base64 -d > "$mask.partial"
mv "$mask.partial" "$mask"
jq -r '.predictions[0] | if .present[0] then "found" else "not found" end + " (score \(.score[0]))"' <<< "$answer"
