# shellcheck shell=bash
# shared/scripts/sample reads this file. It starts a collector that prints the traces, unless a variable names
# another collector, something listens on the standard port, or a variable turns tracing off.

case "${OTEL_SDK_DISABLED:-},${OTEL_TRACES_EXPORTER:-}" in
    [Tt][Rr][Uu][Ee],* | *,none) ;;
    *)
        if [ -z "${OTEL_EXPORTER_OTLP_ENDPOINT:-}${OTEL_EXPORTER_OTLP_TRACES_ENDPOINT:-}" ] &&
            ! listens 127.0.0.1 4317; then
            sidecar collector
        fi
        ;;
esac
