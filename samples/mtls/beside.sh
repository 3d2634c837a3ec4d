# shellcheck shell=bash
# What `make` brings along for this sample, read by shared/scripts/sample: a local server that speaks no
# TLS gets a gateway in front of it that does, ten ports above. A server that is named otherwise gets none.

# shellcheck disable=SC2154
if [ -n "$local_server" ] && ! names_server "$@"; then
    (binary certs) >/dev/null
    gateway=$((port + 10))
    beside gateway --listen "127.0.0.1:$gateway" --target "$local_server"
    export TEMPORAL_CONFIG_FILE=$folder/temporal.toml TEMPORAL_PROFILE=local
    export TEMPORAL_ADDRESS=localhost:$gateway
fi
