# shellcheck shell=bash
# What `make run-open-telemetry` and `make worker-open-telemetry` bring along, read by shared/scripts/sample: a
# collector that prints the traces, unless there is one.

case "${OTEL_SDK_DISABLED:-},${OTEL_TRACES_EXPORTER:-}" in
    [Tt][Rr][Uu][Ee],* | *,none) ;;
    *)
        if [ -z "${OTEL_EXPORTER_OTLP_ENDPOINT:-}${OTEL_EXPORTER_OTLP_TRACES_ENDPOINT:-}" ] &&
            ! listens 127.0.0.1 4317; then
            sidecar collector
        fi
        ;;
esac
