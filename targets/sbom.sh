#!/bin/sh
# The list of all parts of the tool (SBOM, CycloneDX as JSON), by cargo-cyclonedx from Cargo.lock. It names no folder, and is the same each time.
#
#   targets/sbom.sh FILE       FILE: where it goes
set -eu
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
# It writes one list beside the Cargo.toml of each package; all but the tool's go.
name=sbom-$$
trap 'find . -path ./target -prune -o -name "$name.json" -exec rm -f {} +; rm -f "$out.new"' EXIT
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0} cargo cyclonedx -q --manifest-path compiler/cli/Cargo.toml \
  --format json --spec-version 1.5 --target all --override-filename "$name"
sed "s#path+file://$PWD/#path+file:///#g" "compiler/cli/$name.json" > "$out.new"
mv "$out.new" "$out"
