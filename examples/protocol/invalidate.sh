#!/bin/bash
# Invalidates keys of a nearcache namespace from outside Go: docs/protocol.md.
#   invalidate.sh NAMESPACE KEY...        options for redis-cli: REDIS_CLI_OPTS
set -euo pipefail
export LC_ALL=C # ${#key} counts bytes
ns=$1; shift
scripts=${NEARCACHE_SCRIPTS:-$(dirname "$0")/../../l2/scripts}
redis() { redis-cli -e --raw ${REDIS_CLI_OPTS:-} "$@"; }

shards=$(redis GET "{$ns}:shards")
[[ $shards ]] || { echo "no namespace $ns in this Redis" >&2; exit 1; }
source=$(mktemp) && trap 'rm "$source"' EXIT
cat "$scripts/record.lua" "$scripts/change.lua" >"$source" # the text that is known by its SHA-1
sha=$(sha1sum "$source" | cut -d' ' -f1)

for key; do
	tag="{$ns}"
	if ((shards > 1)); then # gzip ends with the CRC-32 and the length, little endian
		crc=$(printf %s "$key" | gzip -c | tail -c8 | od -An -tu4 -N4 --endian=little)
		tag=$(printf '{%s:%02d}' "$ns" $((crc % shards)))
	fi
	epoch=$(od -An -tx8 -N8 /dev/urandom | tr -d ' ')
	call=(3 "$tag:seq" "$tag:log" "$tag:v:$key" "$epoch" "$tag:ch" 10000 i "${#key}:$key,")
	redis EVALSHA "$sha" "${call[@]}" 2>/dev/null || redis -X SOURCE EVAL SOURCE "${call[@]}" <"$source"
done
