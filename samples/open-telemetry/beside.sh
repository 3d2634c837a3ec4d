# shellcheck shell=bash
# What `make run-open-telemetry` and `make worker-open-telemetry` bring along, read by shared/scripts/sample: a
# collector that prints the traces, unless there is one.

if [ -z "${OTEL_EXPORTER_OTLP_ENDPOINT:-}" ] && ! listens 127.0.0.1 4317; then
    beside collector
fi
