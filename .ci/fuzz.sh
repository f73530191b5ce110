#!/usr/bin/env bash
# Runs the fuzzer of native/ with the address and undefined-behaviour sanitizers:  .ci/fuzz.sh SECONDS
# Once as it is built for this processor and once without its vector instructions. Finds are left in native/build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=$1
compiler=$(command -v clang++-14 || command -v clang++)
for variant in vector portable; do
  work=native/build/fuzz-$variant
  mkdir -p "$work/corpus"
  flags=()
  [ "$variant" = portable ] && flags+=(-DSWITCHYARD_PORTABLE)
  "$compiler" -std=c++17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all "${flags[@]}" -Inative/src \
    native/fuzz/codecs.cc native/src/{decode,elements,print,text}.cc -o "$work/fuzz"
  "$work/fuzz" -max_total_time=$((seconds / 2)) -max_len=4096 -dict=native/fuzz/json.dict -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="$work/" "$work/corpus" native/fuzz/corpus
done
