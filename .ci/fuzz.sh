#!/usr/bin/env bash
# Runs the fuzzers of native/ with the address and undefined-behaviour sanitizers:  .ci/fuzz.sh SECONDS
# The codecs once as they are built for this processor, eight floats at a time and one by one, and once without its vector
# instructions, then the gRPC server, the HTTP server, the TLS of both, then the shared sessions of ONNX Runtime, then the
# stager of GPUs over a fake device, and what it has beneath it, CUDA and ONNX Runtime, over fakes of theirs.
# Each for SECONDS. Then their threads, and those beside JavaScript's, under the thread sanitizer. Finds are left in native/build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=$1
compiler=$(command -v clang++-14 || command -v clang++)

# fuzz NAME CORPUS SOURCE… -- COMPILER-FLAG… -- FUZZER-FLAG…
fuzz() {
  local work=native/build/fuzz-$1 corpus=native/fuzz/$2
  shift 2
  local parts=([0]='' [1]='' [2]='') part=0
  for argument in "$@"; do
    if [ "$argument" = -- ]; then part=$((part + 1)); else parts[part]+=" $argument"; fi
  done
  mkdir -p "$work/corpus"
  # shellcheck disable=SC2086
  "$compiler" -std=c++17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Inative/src \
    ${parts[0]} ${parts[1]} -o "$work/fuzz"
  # shellcheck disable=SC2086
  "$work/fuzz" -max_total_time="$seconds" -max_len=4096 ${parts[2]} -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="$work/" "$work/corpus" "$corpus"
}

codecs=(native/fuzz/codecs.cc native/src/{decode,elements,nested,predict,print,print_wide,read_wide,record_json,text}.cc)
fuzz vector corpus "${codecs[@]}" -- -- -dict=native/fuzz/json.dict
fuzz portable corpus "${codecs[@]}" -- -DSWITCHYARD_PORTABLE -- -dict=native/fuzz/json.dict
# nghttp2 and OpenSSL are node's own in the addon: here they come from the system, whole, since they are looked up by name.
fuzz grpc corpus-grpc native/fuzz/grpc.cc native/src/{grpc_answers,grpc_calls,grpc_conduct,grpc_connection,grpc_message,host,http2_rules}.cc -- \
  -Wl,--no-as-needed -lnghttp2 -ldl --
fuzz http corpus-http native/fuzz/http.cc native/src/http_{head,connection}.cc -- -- -dict=native/fuzz/http.dict
fuzz tls corpus-tls native/fuzz/tls.cc native/src/{openssl,tls}.cc -- -Wl,--no-as-needed -lssl -lcrypto -ldl --
# ONNX Runtime is a table of entries that count what they have given out and fail when the input says so.
ort=(native/src/ort_{options,runtime,session,sessions}.cc)
fuzz ort corpus-ort native/fuzz/ort.cc "${ort[@]}" -- \
  -fno-sanitize=function -pthread -ldl --
stage=(native/src/stage_{pipeline,worker}.cc)
fuzz stage corpus-stage native/fuzz/stage.cc "${stage[@]}" -- -pthread --
cuda=(native/src/{cuda_api,stage_cuda}.cc "${ort[@]}" "${stage[@]}")
fuzz cuda corpus-cuda native/fuzz/cuda.cc "${cuda[@]}" -- -fno-sanitize=function -pthread -ldl --
# The threads of these once more under the thread sanitizer, over what the fuzzers have found.
# It maps fixed addresses, which a kernel that randomises more of them may have given away; some containers forbid to ask.
fixed=()
if setarch "$(uname -m)" -R true 2>/dev/null; then fixed=(setarch "$(uname -m)" -R); fi
# threads NAME SOURCE…
threads() {
  local work=native/build/fuzz-$1 corpus=native/fuzz/corpus-$1 target=native/fuzz/$1.cc
  shift
  "$compiler" -std=c++17 -O1 -g -fsanitize=thread -Inative/src native/fuzz/replay.cc "$target" "$@" -pthread -ldl \
    -o "$work/threads"
  "${fixed[@]}" find "$work/corpus" "$corpus" -type f -exec env TSAN_OPTIONS=halt_on_error=1 "$work/threads" {} +
}
threads ort "${ort[@]}"
threads stage "${stage[@]}"
threads cuda "${cuda[@]}"
# The threads beside JavaScript's, in node. It is not instrumented: what is looked at is the addon's own memory.
aside() {
  local work=native/build/fuzz-aside headers library version
  mkdir -p "$work"
  headers=$(node -p "require('node-api-headers').include_dir")
  library=$PWD/node_modules/onnxruntime-node/bin/napi-v6/linux/$(node -p process.arch)/libonnxruntime.so.1
  version=$(node -p "require('onnxruntime-node/package.json').version")
  printf '%s\0' native/src/*.cc | xargs -0 -P 2 -I{} sh -c 'g++ -std=c++17 -O1 -g -fPIC -fsanitize=thread \
    -fvisibility=hidden -fno-exceptions -fno-rtti -DNAPI_VERSION=8 -I "$2" -c "$1" -o "$3/$(basename "$1").o"' - {} "$headers" "$work"
  g++ -shared -fsanitize=thread "$work"/*.o -o "$work/switchyard.node"
  "${fixed[@]}" env TSAN_OPTIONS="halt_on_error=1 ignore_noninstrumented_modules=1" \
    LD_PRELOAD="$(g++ -print-file-name=libtsan.so)" node native/fuzz/aside.cjs "$PWD/$work/switchyard.node" "$library" "$version"
}
aside
