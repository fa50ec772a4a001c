#include "sys/watcher.h"

#ifdef __linux__

#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "sys/proc.h"
#include "sys/result.h"

namespace prefork::sys {

namespace {

constexpr size_t kDescriptorWords = 512;  // more than glibc's struct pthread has

// Where glibc's thread descriptor has what pthread_create was given. Measured, since it differs by version.
struct Layout {
  size_t start_word = 0;
  size_t tid_word = 0;  // of ints
  bool known = false;
};

void* Measure(void* argument) {
  Layout* layout = static_cast<Layout*>(argument);
  void* words[kDescriptorWords];
  struct iovec local = {words, sizeof(words)};
  struct iovec remote = {reinterpret_cast<void*>(pthread_self()), sizeof(words)};
  // Not memcpy: the descriptor may end before, and with it the mapping.
  ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  if (got <= 0) {
    remote.iov_len = 2400;
    got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  }
  size_t count = got > 0 ? static_cast<size_t>(got) / sizeof(void*) : 0;
  pid_t tid = gettid();
  const int* ints = reinterpret_cast<const int*>(words);
  for (size_t i = 0; i + 1 < count; i++) {
    if (words[i] == reinterpret_cast<void*>(Measure) && words[i + 1] == argument) {
      layout->start_word = i;
      for (size_t k = 0; k < 2 * count; k++) {
        if (ints[k] == tid) {
          layout->tid_word = k;
          layout->known = true;
          break;
        }
      }
      break;
    }
  }
  return nullptr;
}

Layout descriptor_layout;

struct ObjectQuery {
  std::vector<uint64_t> addresses;
  bool together;
};

int InOneObject(struct dl_phdr_info* object, size_t, void* argument) {
  ObjectQuery* query = static_cast<ObjectQuery*>(argument);
  auto in_object = [&](uint64_t address) {
    for (int i = 0; i < object->dlpi_phnum; i++) {
      const ElfW(Phdr)& segment = object->dlpi_phdr[i];
      uint64_t start = object->dlpi_addr + segment.p_vaddr;
      if (segment.p_type == PT_LOAD && address >= start && address < start + segment.p_memsz) return true;
    }
    return false;
  };
  query->together = std::all_of(query->addresses.begin(), query->addresses.end(), in_object);
  return query->together ? 1 : 0;
}

bool SameObject(std::vector<uint64_t> addresses) {
  ObjectQuery query = {std::move(addresses), false};
  dl_iterate_phdr(InOneObject, &query);
  return query.together;
}

// The end of the mapping that an address is in; 0: none.
uint64_t MappingEnd(uint64_t address) {
  ProcLines lines("/proc/self/maps");
  while (const char* line = lines.Next()) {
    Mapping mapping;
    if (ParseMapping(line, &mapping) && address >= mapping.start && address < mapping.end) return mapping.end;
  }
  return 0;
}

}  // namespace

bool CanFindRestartable() {
  if (descriptor_layout.known) return true;
  pthread_t thread;
  if (pthread_create(&thread, nullptr, Measure, &descriptor_layout) == 0) pthread_join(thread, nullptr);
  return descriptor_layout.known;
}

int FindRestartable(pid_t tid, uint64_t stack_pointer, uint64_t waits_on, const void* host_code,
                    Restartable* thread) {
  // What a thread was started with does not change, and one that sleeps in the same place is the same one.
  static struct {
    pid_t tid = 0;
    uint64_t stack_pointer, waits_on;
    Restartable thread;
  } last;
  if (last.tid == tid && last.stack_pointer == stack_pointer && last.waits_on == waits_on) {
    *thread = last.thread;
    return 0;
  }
  const Layout& layout = descriptor_layout;
  uint64_t end = MappingEnd(stack_pointer);
  if (!layout.known || end == 0) return -ENOTSUP;
  // The descriptor is above the stack, aligned to 64 bytes, with at most some static TLS below it. What the mapping
  // has beyond may be something else: the kernel merges neighbours.
  constexpr uint64_t kReach = 16 * 1024 * 1024;
  const uint64_t bytes = std::max((layout.start_word + 2) * sizeof(void*), (layout.tid_word + 1) * sizeof(int));
  const uint64_t highest = std::min(end, stack_pointer + kReach);
  for (uint64_t at = (stack_pointer + 63) & ~uint64_t{63}; at + bytes <= highest; at += 64) {
    if (reinterpret_cast<const int*>(at)[layout.tid_word] != tid) continue;
    void* const* words = reinterpret_cast<void* const*>(at);
    void* start = words[layout.start_word];
    if (!SameObject({reinterpret_cast<uint64_t>(start), waits_on, reinterpret_cast<uint64_t>(host_code)})) continue;
    memcpy(&thread->start, &start, sizeof(start));
    thread->argument = words[layout.start_word + 1];
    last = {tid, stack_pointer, waits_on, *thread};
    return 0;
  }
  return -ENOTSUP;
}

int Restart(const Restartable& thread) {
  sigset_t all, former;
  sigfillset(&all);
  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error != 0) return -error;
  constexpr size_t kStackBytes = 256 * 1024;
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_SETMASK, &all, &former);
  pthread_t id;
  error = pthread_create(&id, &attributes, thread.start, thread.argument);
  pthread_sigmask(SIG_SETMASK, &former, nullptr);
  pthread_attr_destroy(&attributes);
  return -error;
}

}  // namespace prefork::sys

#endif  // __linux__
