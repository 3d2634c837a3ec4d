#!/bin/sh
# Creates the server's two databases, or updates them to the schema of this image's version. Databases that are up
# to date stay as they are. The SQL_* variables say where they are.
set -eu

# `schema DATABASE DIRECTORY`: creates or updates one database.
schema() {
    temporal-sql-tool --db "$1" create
    temporal-sql-tool --db "$1" setup-schema -v 0.0
    temporal-sql-tool --db "$1" update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

schema temporal temporal
schema temporal_visibility visibility
