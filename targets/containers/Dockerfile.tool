# syntax=docker/dockerfile:1
# The compiler alone, statically linked, for the machine of the platform that is asked for. From the root of the repository:
#
#   docker buildx build --platform linux/amd64,linux/arm64 -f targets/containers/Dockerfile.tool -t onnxc .
#   docker run --rm --user "$(id -u)" -v "$PWD:/model" onnxc digits.onnx -o digits.o
FROM --platform=$BUILDPLATFORM rust:1.94-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
# The musl target links by the linker that comes with Rust, for either machine; nothing is installed from elsewhere.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    case "$TARGETARCH" in amd64) arch=x86_64 ;; arm64) arch=aarch64 ;; *) exit 1 ;; esac \
 && target=$arch-unknown-linux-musl \
 && rustup target add $target \
 && export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
 && cargo build --release --locked -p onnxc --target $target --config profile.release.strip=true \
 && cp target/$target/release/onnxc /onnxc

FROM scratch
COPY --from=build /onnxc /onnxc
WORKDIR /model
USER 65532:65532
ENTRYPOINT ["/onnxc"]
