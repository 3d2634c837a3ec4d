# shellcheck shell=bash
# What `make` brings along for this sample, read by shared/scripts/sample: the local server speaks no
# TLS, so a gateway in front of it does, ten ports above. Who names another server has none of this.

if [ -n "$local_server" ] && [[ " $*" != *" --address"* && " $*" != *" --profile"* ]]; then
    (binary certs) >/dev/null
    port=$((${local_server##*:} + 10))
    beside gateway --listen "127.0.0.1:$port" --target "$local_server"
    export TEMPORAL_CONFIG_FILE=$folder/temporal.toml TEMPORAL_PROFILE=local
    export TEMPORAL_ADDRESS=localhost:$port
fi
