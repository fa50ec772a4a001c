#include "sys/math_random.h"

#ifdef __linux__

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

namespace prefork::sys {

namespace {

constexpr uint64_t kWord = 8;
constexpr uint64_t kArrayLength = 64;
constexpr uint64_t kStateBytes = 16;

bool IsPointer(uint64_t tagged) { return (tagged & 3) == 1; }
uint64_t Untagged(uint64_t tagged) { return tagged - 1; }
bool IsSmi(uint64_t word) { return (word & 0xffffffff) == 0; }
uint64_t SmiValue(uint64_t word) { return word >> 32; }

// Through the kernel, which says so where there is nothing to read. The count of words read.
uint64_t Read(uint64_t address, uint64_t* words, uint64_t count) {
  constexpr uint64_t kPage = 4096;
  uint64_t done = 0;
  while (done < count) {
    uint64_t at = address + done * kWord;
    uint64_t bytes = (count - done) * kWord;
    uint64_t in_page = kPage - at % kPage;
    if (bytes > in_page) bytes = in_page;
    struct iovec local = {words + done, bytes};
    struct iovec remote = {reinterpret_cast<void*>(at), bytes};
    if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != static_cast<ssize_t>(bytes)) break;
    done += bytes / kWord;
  }
  return done;
}

// A map word, then the length, as a small integer or plain.
bool HasLength(uint64_t object, uint64_t length) {
  uint64_t header[2];
  if (Read(Untagged(object), header, 2) != 2 || !IsPointer(header[0])) return false;
  return header[1] == length << 32 || header[1] == length;
}

}  // namespace

bool MathRandom::Matches(uint64_t index, uint64_t array, uint64_t state, double drawn) const {
  if (!IsSmi(index) || SmiValue(index) >= kArrayLength || !IsPointer(array) || !IsPointer(state)) return false;
  if (!HasLength(array, kArrayLength) || !HasLength(state, kStateBytes)) return false;
  uint64_t bits;
  if (Read(Untagged(array) + (2 + SmiValue(index)) * kWord, &bits, 1) != 1) return false;
  double number;
  memcpy(&number, &bits, sizeof(number));
  return number == drawn;
}

bool MathRandom::FindIn(uint64_t context, double drawn) {
  constexpr uint64_t kMaxWords = 1024;
  uint64_t words[kMaxWords];
  uint64_t count = Read(Untagged(context), words, kMaxWords);
  for (uint64_t i = 2; i + 2 < count; i++) {
    // The index comes first or last, and the two objects in either order.
    const struct {
      uint64_t index, array, state;
    } orders[] = {{i, i + 1, i + 2}, {i, i + 2, i + 1}, {i + 2, i, i + 1}, {i + 2, i + 1, i}};
    for (const auto& order : orders) {
      if (!Matches(words[order.index], words[order.array], words[order.state], drawn)) continue;
      index_ = reinterpret_cast<volatile uint64_t*>(Untagged(context) + order.index * kWord);
      state_ = reinterpret_cast<volatile uint64_t*>(Untagged(words[order.state]) + 2 * kWord);
      return true;
    }
  }
  return false;
}

bool MathRandom::Find(const void* handle, double drawn) {
  constexpr uint64_t kFunctionWords = 10;
  uint64_t function, words[kFunctionWords];
  if (Read(reinterpret_cast<uint64_t>(handle), &function, 1) != 1 || !IsPointer(function)) return false;
  uint64_t count = Read(Untagged(function), words, kFunctionWords);
  for (uint64_t i = 1; i < count; i++) {
    if (IsPointer(words[i]) && FindIn(words[i], drawn)) return true;
  }
  return false;
}

void MathRandom::Reseed(const uint64_t state[2]) {
  state_[0] = state[0];
  state_[1] = state[1];
  *index_ = 0;
}

void MathRandom::State(uint64_t state[2]) const {
  state[0] = state_[0];
  state[1] = state_[1];
}

}  // namespace prefork::sys

#endif  // __linux__
