# shellcheck shell=bash
# What `make run-encryption` brings along, read by shared/scripts/sample: the codec server, for the
# pages of the Web UI. Where its port is taken, by `make codec-server` as likely as not, it gets another.

# shellcheck disable=SC2154
if [ "$verb" = run ]; then
    listen=127.0.0.1:8081
    ! listens 127.0.0.1 8081 || listen=127.0.0.1:0
    ui=${TEMPORAL_UI_URL:-http://localhost:8233}
    sidecar codec-server --listen "$listen" \
        --allow-origin "$ui" --allow-origin "${ui/localhost/127.0.0.1}"
fi
