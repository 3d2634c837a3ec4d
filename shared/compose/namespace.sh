#!/bin/sh
# Makes TEMPORAL_NAMESPACE, unless it is there, as soon as the server at TEMPORAL_ADDRESS answers; the
# server proper, unlike the development server, begins without any.
set -eu

namespace() {
    temporal operator namespace "$1" --namespace "$TEMPORAL_NAMESPACE" --command-timeout 5s
}

tries=0
until namespace describe >/dev/null 2>&1 || error=$(namespace create 2>&1); do
    tries=$((tries + 1))
    if [ "$tries" -ge "${TRIES:-60}" ]; then
        echo "$error" >&2
        exit 1
    fi
    sleep 1
done
