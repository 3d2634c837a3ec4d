# shellcheck shell=bash
# Starts the codec server for `make run-encryption`, so that the Web UI can decrypt. shared/scripts/sample
# reads this file. If the port is in use, most likely by `make codec-server`, it gets a free one.

# shellcheck disable=SC2154
if [ "$verb" = run ]; then
    listen=127.0.0.1:8081
    ! listens 127.0.0.1 8081 || listen=127.0.0.1:0
    ui=${TEMPORAL_UI_URL:-http://localhost:8233}
    sidecar codec-server --listen "$listen" \
        --allow-origin "$ui" --allow-origin "${ui/localhost/127.0.0.1}"
fi
