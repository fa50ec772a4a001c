// The pages that a forked worker needs before it serves, learnt from the first one, so that the next ones get them in a
// few system calls instead of a fault each.
#ifndef PREFORK_SYS_HOT_PAGES_H_
#define PREFORK_SYS_HOT_PAGES_H_

#include <stddef.h>
#include <stdint.h>

namespace prefork::sys {

// Lives in memory that forkserver and workers share.
class HotPages {
 public:
  // Null where there is no memory for it, or the kernel lacks MADV_POPULATE_WRITE (Linux 5.14). Never unmapped: the whole process is forked from.
  static HotPages* Create();

  // In the forkserver: what a child that is forked from now on is asked to learn.
  void Arm();
  // In the forkserver, after the first child: waits until it has learnt, has gone, or `timeout_ms` are over.
  void Await(int timeout_ms);

  // In a child, once it has come to where it serves. Count of pages, or −errno; 0 for all but the first.
  int Learn();
  // In a child, before it does anything: maps what was learnt.
  void Populate() const;

 private:
  struct Range {
    uint64_t start;
    uint32_t pages;
    uint32_t advice;
  };
  static constexpr size_t kMaxRanges = 8192;

  HotPages() = default;
  int Scan();
  int ScanMapping(int pagemap, uint64_t start, uint64_t end, bool writable);
  void Add(uint64_t start, uint64_t pages, int advice, uint64_t gap);

  uint32_t state_;  // a futex, see hot_pages.cc
  uint32_t count_;
  Range ranges_[kMaxRanges];
};

}  // namespace prefork::sys

#endif  // PREFORK_SYS_HOT_PAGES_H_
