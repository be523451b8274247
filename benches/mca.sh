#!/bin/sh
# Cycles of the inner loops of NEON strips by llvm-mca, as a share of the multiply-add limit.
# Usage: [NUMBERS=floats|words|bytes|matrices|narrow|tiles] benches/mca.sh [MxN ...]. Needs llvm-mca and aarch64-linux-gnu-objdump. NUMBERS: what is
# multiplied; words by SMLAL, bytes by SDOT, matrices by SMMLA, narrow is floats by bytes; tiles: depthwise convolutions and Winograd's transforms (see below).
# A row: tile, order of instructions, CPU, multiply-adds of an iteration, its cycles, and what share of them the same
# multiply-adds take alone in the same model of the CPU; instructions a cycle, of which A53 and A55 issue two at most.
# LLVM_MCA names another llvm-mca: models before LLVM 15 know Neoverse N1 as a Cortex-A57. On Cortex-A53 the simulator lets a
# load behind a multiply-add wait until that has written its result, 10 cycles, so there only the number of separate runs of
# loads counts, and none that mixes the two looks good. Neither has been compared with a board.
set -eu
cd "$(dirname "$0")/.."
case "${PROFILE:-debug}" in release) flag=--release ;; *) flag= ;; esac
cargo build -q $flag -p onnxc-targets --example strip_code --example tile_code
examples="${CARGO_TARGET_DIR:-target}/${PROFILE:-debug}/examples"
bin="$examples/strip_code"
numbers="${NUMBERS:-floats}"
case "$numbers" in words) op='s(ml|mu)(al|ll)2?' ;; bytes) op=sdot ;; matrices) op=smmla ;; *) op=fmla ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Cycles of the instructions in a file, over and over.
cycles() {
  "${LLVM_MCA:-llvm-mca}" -mtriple=aarch64-linux-gnu -mcpu=$cpu -mattr=+dotprod,+i8mm -iterations=100 "$1" 2>"$work/err" |
    awk '/^Total Cycles:/ { print $3 / 100 }'
}
# Cycles of a block of channels: 3x3 windows over bytes by products of bytes, of words and of floats (units: results), transforms of a tile of integer
# Winograd F(4x4) (units: channels).
if [ "$numbers" = tiles ]; then
  printf '%-8s %-9s %-14s %8s %6s %8s %5s\n' tile order cpu cycles units each ipc
  for what in long words dots floats in out in-floats out-floats; do
    for order in written scheduled; do
      "$examples/tile_code" "$what" "$order" > "$work/code.bin" 2> "$work/size"
      aarch64-linux-gnu-objdump -D -b binary -m aarch64 "$work/code.bin" > "$work/text"
      # The longest way without a branch.
      awk -F'\t' '
        /^ *[0-9a-f]+:\t/ {
          line[++n] = $3 " " $4; sub(/ *\/\/.*/, "", line[n])
          if ($3 ~ /^(b|cb|ret)/) { if (n - start > last - first) { first = start; last = n }; start = n }
        }
        END { for (i = first + 1; i < last; i++) print line[i] }
      ' "$work/text" | grep -v '^ldr *q[0-9]*, 0x' > "$work/block.s"
      for cpu in ${CPUS:-cortex-a53 cortex-a55 cortex-a72 cortex-a76 neoverse-n1}; do
        echo "$what $order $cpu $(cycles "$work/block.s") $(cat "$work/size") $(wc -l < "$work/block.s")" |
          awk '{ printf "%-8s %-9s %-14s %8.1f %6d %8.2f %5.2f\n", $1, $2, $3, $4, $5, $4 / $5, $6 / $4 }'
      done
    done
  done
  exit
fi
[ $# -gt 0 ] || set -- 8x8 6x12 4x16 9x8 3x24 12x4
printf '%-6s %-9s %-14s %6s %8s %6s %5s\n' tile order cpu fmla cycles share ipc
for tile in "$@"; do
  for order in written scheduled; do
    "$bin" "${tile%x*}" "${tile#*x}" "$order" "$numbers" > "$work/code.bin"
    aarch64-linux-gnu-objdump -D -b binary -m aarch64 "$work/code.bin" > "$work/text"
    # The longest loop without another branch inside.
    awk -F'\t' '
      /^ *[0-9a-f]+:\t/ {
        at = $1; gsub(/[ :]/, "", at); n++; place[at] = n
        line[n] = $3 " " $4; sub(/ *\/\/.*/, "", line[n])
        if ($3 ~ /^(b|cb|ret)/) {
          to = $4; sub(/^0x/, "", to); sub(/ .*/, "", to)
          if ($3 ~ /^b\./ && place[to] > branch && n - place[to] > last - first) { first = place[to]; last = n }
          branch = n
        }
      }
      END { for (i = first; i < last; i++) print line[i]; sub(/ .*/, " .", line[last]); print line[last] }
    ' "$work/text" > "$work/loop.s"
    grep -E "^$op" "$work/loop.s" > "$work/limit.s"
    all=$(wc -l < "$work/loop.s")
    fmla=$(grep -cE "^$op" "$work/loop.s")
    # Those of the base have no products of bytes.
    case "$numbers" in
      bytes) cpus="cortex-a55 cortex-a76 neoverse-n1 neoverse-v1" ;;
      matrices) cpus="cortex-a510 neoverse-n2 neoverse-v1 neoverse-v2" ;;
      *) cpus="cortex-a53 cortex-a55 cortex-a72 cortex-a76 neoverse-n1" ;;
    esac
    for cpu in ${CPUS:-$cpus}; do
      took=$(cycles "$work/loop.s") alone=$(cycles "$work/limit.s")
      echo "$tile $order $cpu $fmla $took $alone $all" |
        awk '{ printf "%-6s %-9s %-14s %6d %8.1f %5.1f%% %5.2f\n", $1, $2, $3, $4, $5, 100 * $6 / $5, $7 / $5 }'
    done
  done
done
