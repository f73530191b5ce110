// Runs a libFuzzer target over files, without libFuzzer: its counters are races to the thread sanitizer.
//   replay FILE…
#include <cstdint>
#include <cstdio>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);

int main(int count, char** files) {
  for (int i = 1; i < count; i++) {
    FILE* const file = std::fopen(files[i], "rb");
    if (file == nullptr) return 1;
    std::vector<uint8_t> bytes(65536);
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
    std::fclose(file);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  return 0;
}
