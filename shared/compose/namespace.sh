#!/bin/sh
# Creates the namespace TEMPORAL_NAMESPACE, unless it exists, as soon as the server at TEMPORAL_ADDRESS answers.
# Unlike the development server, the full server starts without a namespace.
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
