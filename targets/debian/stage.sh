#!/bin/sh
# Lays out what the Debian package has beside the tool, in target/debian-files: completions, manual pages, headers, the CMake package.
#
#   targets/debian/stage.sh [TOOL]       TOOL: a built onnxc (default: target/release/onnxc)
set -eu
cd "$(dirname "$0")/../.."
tool=${1:-target/release/onnxc}
out=target/debian-files
rm -rf "$out"
mkdir -p "$out/man" "$out/completions" "$out/include" "$out/cmake"
"$tool" --print man -o "$out/man/"
"$tool" --print completions-bash > "$out/completions/onnxc"
"$tool" --print completions-zsh > "$out/completions/_onnxc"
"$tool" --print completions-fish > "$out/completions/onnxc.fish"
cp runtime/include/*.h "$out/include/"
for header in runtime/include/*.hpp; do
  [ ! -e "$header" ] || cp "$header" "$out/include/"
done
cp targets/cmake/* "$out/cmake/"
