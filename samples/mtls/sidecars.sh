# shellcheck shell=bash
# shared/scripts/sample reads this file. It starts a TLS gateway in front of a local server that does not
# support TLS. The gateway's port is that of the server plus ten. If flags or a profile choose the server,
# there is no gateway.

# shellcheck disable=SC2154
if [ -n "$local_server" ] && ! names_server "$@"; then
    (binary certs) >/dev/null
    gateway=$((port + 10))
    sidecar gateway --listen "127.0.0.1:$gateway" --target "$local_server"
    export TEMPORAL_CONFIG_FILE=$folder/temporal.toml TEMPORAL_PROFILE=local
    export TEMPORAL_ADDRESS=localhost:$gateway
fi
