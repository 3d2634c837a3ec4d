#!/bin/sh
# Makes the server's two databases, or brings them up to the schema of this image's version. What is
# up to date is left alone. SQL_* say where.
set -eu

# `schema DATABASE DIRECTORY`
schema() {
    temporal-sql-tool --db "$1" create
    temporal-sql-tool --db "$1" setup-schema -v 0.0
    temporal-sql-tool --db "$1" update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

schema temporal temporal
schema temporal_visibility visibility
