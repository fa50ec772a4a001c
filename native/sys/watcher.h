// A thread that blocks every signal cannot be held. Node has one, which waits for SIGUSR1 to start the inspector: it
// has no state but its semaphore, and is started again from its beginning.
#ifndef PREFORK_SYS_WATCHER_H_
#define PREFORK_SYS_WATCHER_H_

#ifdef __linux__

#include <stdint.h>
#include <sys/types.h>

namespace prefork::sys {

struct Restartable {
  void* (*start)(void*) = nullptr;
  void* argument = nullptr;
};

// Whether glibc's thread descriptors can be read. The first call makes a thread, so it is for before others are held.
bool CanFindRestartable();

// What the thread `tid` was started with, read from its descriptor in the C library. 0; −ENOTSUP: not found, or its
// code and `waits_on` are not both in the loaded object that `host_code` is in.
int FindRestartable(pid_t tid, uint64_t stack_pointer, uint64_t waits_on, const void* host_code, Restartable* thread);

// Starts it, detached, with every signal blocked. 0 or −errno.
int Restart(const Restartable& thread);

}  // namespace prefork::sys

#endif  // __linux__

#endif  // PREFORK_SYS_WATCHER_H_
