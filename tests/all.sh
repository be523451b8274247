#!/usr/bin/env bash
# Every test, on a machine that may be new: installs what the tests need (Debian packages, Python packages in a virtual
# environment of their own), then runs them. Needs Rust (cargo) and, for installing packages, root or sudo.
#
#   bash tests/all.sh            all tests
#   ONNXC_SHARED=DIR             where the real models and data are; default: ../shared, left out if absent
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
say() { printf '\n== %s\n' "$*"; }

say "tools"
need=()
command -v qemu-aarch64-static >/dev/null || need+=(qemu-user-static)
command -v qemu-system-aarch64 >/dev/null || need+=(qemu-system-arm)
command -v aarch64-linux-gnu-gcc >/dev/null || need+=(gcc-aarch64-linux-gnu)
command -v aarch64-linux-gnu-objdump >/dev/null || need+=(binutils-aarch64-linux-gnu)
command -v g++ >/dev/null || need+=(g++)
command -v gcc >/dev/null || need+=(gcc)
command -v aarch64-linux-gnu-g++ >/dev/null || need+=(g++-aarch64-linux-gnu)
command -v cmake >/dev/null || need+=(cmake)
command -v make >/dev/null || need+=(make)
command -v ninja >/dev/null || need+=(ninja-build)
command -v meson >/dev/null || need+=(meson)
command -v pkg-config >/dev/null || need+=(pkg-config)
browser=()
command -v chromium >/dev/null || command -v google-chrome >/dev/null || browser=(chromium)
if [ ${#need[@]} -gt 0 ] || [ ${#browser[@]} -gt 0 ]; then
  if command -v apt-get >/dev/null; then
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    export DEBIAN_FRONTEND=noninteractive
    [ ${#need[@]} = 0 ] || $sudo apt-get install -y -qq "${need[@]}" >/dev/null
    # Not every kin of Debian has it as a package.
    [ ${#browser[@]} = 0 ] || $sudo apt-get install -y -qq "${browser[@]}" >/dev/null || echo "no Chromium: pages are not looked at"
  else
    echo "these are missing, and the tests that need them will say so: ${need[*]} ${browser[*]}"
  fi
fi
# Programs with models are built for another machine too.
if command -v rustup >/dev/null && [ ! -d "$(rustc --print target-libdir --target aarch64-unknown-linux-gnu)" ]; then
  rustup target add aarch64-unknown-linux-gnu || echo "no std for AArch64: no Rust program is built for it"
fi
# What makes the book, the Debian package and the list of parts. Built once, without optimization; three minutes on two cores.
export PATH="$root/target/tools/bin:$PATH"
tool() { # NAME VERSION [FLAGS]
  local name=$1 version=$2
  shift 2
  command -v "$name" >/dev/null ||
    cargo install -q --locked --debug --root "$root/target/tools" --target-dir "$root/target/tools/build" "$name@$version" "$@" ||
    echo "no $name: the tests that need it will say so"
}
tool mdbook 0.5.4 --no-default-features
tool cargo-deb 3.8.0 --no-default-features
tool cargo-cyclonedx 0.5.9
venv=$root/target/venv
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import onnx, numpy, onnxruntime, maturin, oelint_adv' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q 'onnx==1.22.0' numpy onnxruntime maturin oelint-adv
fi
# The official operator tests lie inside the onnx package.
ONNXC_ONNX_TESTS=$("$venv/bin/python" -c 'import os, onnx.backend.test as t; print(os.path.join(os.path.dirname(t.__file__), "data"))')
export ONNXC_ONNX_TESTS
export ONNXC_PYTHON=$venv/bin/python
export ONNXC_SHARED=${ONNXC_SHARED:-$root/../shared}

# What the example that is a package of its own needs.
cargo fetch --locked --manifest-path examples/service/Cargo.toml

say "format and lints"
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings

# The libraries and the tool are for this Rust and later ones; everything else here is by the machine's own.
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
say "Rust $oldest"
if command -v rustup >/dev/null && rustup toolchain install "$oldest" --profile minimal >/dev/null 2>&1; then
  cargo "+$oldest" check -q --locked -p onnxc -p onnxc-build -p onnxc-runtime -p onnxc-sim --target-dir target/oldest
else
  echo "rustup brings no Rust $oldest: not checked"
fi

say "tests"
cargo build --workspace --locked --bins
cargo test --workspace --locked 2>&1 | tee target/tests.log
say "all tests"
awk '/^test result:/ { passed += $4; failed += $6 } END { print passed " passed, " failed " failed" }' target/tests.log
