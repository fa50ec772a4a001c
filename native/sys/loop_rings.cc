#include "sys/loop_rings.h"

#ifdef __linux__

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/proc.h"

namespace prefork::sys {

// The end of libuv's struct uv__iou, from what it maps on. libuv takes −1 for a ring that could not be had.
struct LoopRing {
  char* queues;
  char* completions;
  char* entries;
  size_t submission_bytes;
  size_t completion_bytes;
  size_t queue_bytes;
  size_t entry_bytes;
  int fd;
  uint32_t in_flight;
};

namespace {

// An io_uring descriptor, where it is mapped, and the loop's record of it.
struct KnownRing {
  int fd;
  ino_t inode;
  char* queues = nullptr;
  char* entries = nullptr;
  LoopRing* record = nullptr;  // null: it is no loop's
};

// Looked for once. A loop keeps its record for as long as its ring.
std::vector<KnownRing> known_rings;

constexpr uint64_t kEntriesOffset = 0x10000000;  // IORING_OFF_SQES
// glibc's arenas but the first begin at multiples of it.
constexpr uintptr_t kArenaBytes = 64 * 1024 * 1024;

KnownRing* FindKnown(int fd, ino_t inode) {
  for (KnownRing& ring : known_rings) {
    if (ring.fd == fd && ring.inode == inode) return &ring;
  }
  return nullptr;
}

template <typename F>
int ForEachMapping(F visit) {
  ProcLines lines("/proc/self/maps");
  while (const char* line = lines.Next()) {
    Mapping mapping;
    if (ParseMapping(line, &mapping)) visit(mapping);
  }
  return lines.error();
}

// Where new rings are mapped. One inode for several of them, as in older kernels, leaves more than one place: none is taken.
int FindMemory(std::vector<KnownRing>* rings) {
  std::vector<int> places(rings->size());
  int error = ForEachMapping([&](const Mapping& mapping) {
    if (strstr(mapping.name, "[io_uring]") == nullptr) return;
    for (size_t i = 0; i < rings->size(); i++) {
      KnownRing& ring = (*rings)[i];
      if (ring.inode != mapping.inode) continue;
      (mapping.offset == kEntriesOffset ? ring.entries : ring.queues) = reinterpret_cast<char*>(mapping.start);
      places[i]++;
    }
  });
  for (size_t i = 0; i < rings->size(); i++) {
    if (places[i] != 2) (*rings)[i].queues = (*rings)[i].entries = nullptr;
  }
  return error;
}

bool IsRecordOf(const LoopRing& record, const KnownRing& ring) {
  return record.queues == ring.queues && record.entries == ring.entries && record.fd == ring.fd &&
         record.completions > ring.queues && record.completions < ring.queues + record.queue_bytes &&
         record.entry_bytes % 64 == 0 && record.entry_bytes <= kEntriesOffset;
}

void SearchMapping(const Mapping& mapping, std::vector<KnownRing>* rings) {
  char* last = reinterpret_cast<char*>(mapping.end) - sizeof(LoopRing);
  for (char* at = reinterpret_cast<char*>(mapping.start); at <= last; at += sizeof(void*)) {
    LoopRing* record = reinterpret_cast<LoopRing*>(at);
    for (KnownRing& ring : *rings) {
      if (record->queues == ring.queues && ring.queues != nullptr && IsRecordOf(*record, ring)) ring.record = record;
    }
  }
}

// The records are in memory of malloc(3), which is in few mappings where it is glibc's.
int FindRecords(std::vector<KnownRing>* rings) {
  return ForEachMapping([&](const Mapping& mapping) {
    bool first_arena = strncmp(mapping.name, "[heap]", 6) == 0;
    bool other_arena = mapping.inode == 0 && mapping.start % kArenaBytes == 0;
    if (strcmp(mapping.permissions, "rw-p") == 0 && (first_arena || other_arena)) SearchMapping(mapping, rings);
  });
}

}  // namespace

int LoopRings::Plan(const std::vector<int>& fds) {
  std::vector<KnownRing> current;
  std::vector<KnownRing> fresh;
  for (int fd : fds) {
    struct stat about;
    if (fstat(fd, &about) < 0) return -errno;
    if (const KnownRing* known = FindKnown(fd, about.st_ino)) {
      current.push_back(*known);
    } else {
      fresh.push_back({fd, about.st_ino});
    }
  }
  if (!fresh.empty()) {
    int error = FindMemory(&fresh);
    if (error == 0) error = FindRecords(&fresh);
    if (error < 0) return error;
    current.insert(current.end(), fresh.begin(), fresh.end());
  }
  known_rings = current;
  for (const KnownRing& ring : current) {
    if (ring.record != nullptr) rings_.push_back(ring.record);
  }
  return 0;
}

void LoopRings::Drop() const {
  for (LoopRing* ring : rings_) {
    munmap(ring->queues, ring->queue_bytes);
    munmap(ring->entries, ring->entry_bytes);
    close(ring->fd);
    ring->fd = -1;
  }
  known_rings.clear();
}

}  // namespace prefork::sys

#endif  // __linux__
