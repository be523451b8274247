#!/bin/sh
# The root file system of a scratch image, without a container engine: one program, and the libraries that it needs, if any.
#
#   targets/containers/rootfs.sh PROGRAM FOLDER [NAME]     NAME: what it is called there (default: the program's own name)
set -eu
program=$1 folder=$2 name=${3:-$(basename "$1")}
mkdir -p "$folder/weights"
cp "$program" "$folder/$name"
# A static program has none; ldd says so by failing.
if ldd "$program" >/dev/null 2>&1; then
  ldd "$program" | grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$folder$(dirname "$library")"
    cp -L "$library" "$folder$library"
  done
fi
