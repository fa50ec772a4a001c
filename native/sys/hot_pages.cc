#include "sys/hot_pages.h"

#ifdef __linux__

#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "sys/fd.h"
#include "sys/proc.h"
#include "sys/result.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace prefork::sys {

namespace {

enum State : uint32_t { kUnasked, kAsked, kLearning, kLearnt };

// Entries of /proc/self/pagemap.
constexpr uint64_t kPresent = 1ull << 63;
constexpr uint64_t kFileOrShared = 1ull << 61;
constexpr uint64_t kExclusive = 1ull << 56;

uint64_t PageBytes() {
  static const uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

uint32_t Load(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

// Not private: the word is in shared memory.
void Publish(uint32_t* word, uint32_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
  syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

int64_t NowNs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

HotPages* HotPages::Create() {
  void* area = mmap(nullptr, sizeof(HotPages), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) return nullptr;
  if (madvise(area, PageBytes(), MADV_POPULATE_WRITE) == 0) return static_cast<HotPages*>(area);
  munmap(area, sizeof(HotPages));
  return nullptr;
}

void HotPages::Arm() {
  uint32_t unasked = kUnasked;
  __atomic_compare_exchange_n(&state_, &unasked, kAsked, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

void HotPages::Await(int timeout_ms) {
  const int64_t deadline = NowNs() + timeout_ms * 1'000'000LL;
  for (;;) {
    uint32_t state = Load(&state_);
    int64_t left = deadline - NowNs();
    if ((state != kAsked && state != kLearning) || left <= 0) break;
    struct timespec timeout = {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
    syscall(SYS_futex, &state_, FUTEX_WAIT, state, &timeout, nullptr, 0);
  }
  // It is too late for that child, or it is gone: the next one may learn.
  uint32_t asked = kAsked;
  __atomic_compare_exchange_n(&state_, &asked, kUnasked, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

// Neighbours that are at most `gap` pages apart become one range.
void HotPages::Add(uint64_t start, uint64_t pages, int advice, uint64_t gap) {
  if (count_ > 0) {
    Range& last = ranges_[count_ - 1];
    uint64_t last_end = last.start + last.pages * PageBytes();
    if (last.advice == static_cast<uint32_t>(advice) && start >= last_end && start - last_end <= gap * PageBytes()) {
      last.pages = static_cast<uint32_t>((start - last.start) / PageBytes() + pages);
      return;
    }
  }
  if (count_ == kMaxRanges) return;
  ranges_[count_++] = {start, static_cast<uint32_t>(pages), static_cast<uint32_t>(advice)};
}

int HotPages::ScanMapping(int pagemap, uint64_t start, uint64_t end, bool writable) {
  // Around a page of a file the kernel maps 16 at once; the rest of such a block costs next to nothing.
  constexpr uint64_t kFileGap = 16;
  constexpr size_t kBatch = 4096;
  std::vector<uint64_t> entries(kBatch);
  const uint64_t page = PageBytes();
  int found = 0;
  for (uint64_t at = start; at < end;) {
    size_t wanted = static_cast<size_t>(std::min<uint64_t>(kBatch, (end - at) / page));
    ssize_t got = pread(pagemap, entries.data(), wanted * sizeof(uint64_t), static_cast<off_t>(at / page * sizeof(uint64_t)));
    if (got < 0) return -errno;
    size_t count = static_cast<size_t>(got) / sizeof(uint64_t);
    if (count == 0) break;
    for (size_t i = 0; i < count; i++) {
      uint64_t entry = entries[i];
      if ((entry & kPresent) == 0) continue;
      // Pages of files are not copied into a child: each that is there was needed. Of others, those that it has alone.
      bool file = (entry & kFileOrShared) != 0;
      if (!file && ((entry & kExclusive) == 0 || !writable)) continue;
      Add(at + i * page, 1, file ? MADV_POPULATE_READ : MADV_POPULATE_WRITE, file ? kFileGap : 0);
      found++;
    }
    at += count * page;
  }
  return found;
}

int HotPages::Scan() {
  Fd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.ok()) return -errno;
  ProcLines lines("/proc/self/maps");
  int found = 0;
  while (const char* line = lines.Next()) {
    Mapping mapping;
    if (!ParseMapping(line, &mapping)) continue;
    if (mapping.permissions[0] != 'r' || mapping.permissions[3] != 'p') continue;
    int pages = ScanMapping(pagemap.get(), mapping.start, mapping.end, mapping.permissions[1] == 'w');
    // The kernel's own mappings cannot be asked about.
    if (pages > 0) found += pages;
  }
  return lines.error() < 0 ? lines.error() : found;
}

int HotPages::Learn() {
  uint32_t asked = kAsked;
  if (!__atomic_compare_exchange_n(&state_, &asked, kLearning, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return 0;
  count_ = 0;
  int found = Scan();
  Publish(&state_, kLearnt);
  return found;
}

void HotPages::Populate() const {
  if (Load(&state_) != kLearnt) return;
  for (uint32_t i = 0; i < count_; i++) {
    const Range& range = ranges_[i];
    // An error is about that range alone: the process that learnt had mapped it, or made it writable, by itself.
    madvise(reinterpret_cast<void*>(range.start), range.pages * PageBytes(), static_cast<int>(range.advice));
  }
}

}  // namespace prefork::sys

#else  // __linux__

namespace prefork::sys {

HotPages* HotPages::Create() { return nullptr; }
void HotPages::Arm() {}
void HotPages::Await(int) {}
int HotPages::Learn() { return 0; }
void HotPages::Populate() const {}

}  // namespace prefork::sys

#endif  // __linux__
