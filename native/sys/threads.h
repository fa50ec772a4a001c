// Holding still every other thread of the process, and making them anew in a forked child, where the kernel has only
// the one that called fork.
#ifndef PREFORK_SYS_THREADS_H_
#define PREFORK_SYS_THREADS_H_

#ifdef __linux__

#include <stdint.h>
#include <sys/types.h>

namespace prefork::sys {

constexpr int kMaxThreads = 512;

// A thread that is in the way of a fork.
struct ThreadTrouble {
  pid_t tid = 0;
  char name[16] = "";
  long syscall = -1;  // what it sleeps in; −1: it is running
};

enum class Sleep { kFutex, kEpoll, kOther };

struct SleepingThread {
  pid_t tid;
  char name[16];
  Sleep sleep;
  uint64_t argument;         // the futex' address, or the epoll descriptor
  uint64_t stack_pointer;
  bool blocks_every_signal;  // it cannot be held: it stays as it is, and is not in a child
};

// The other threads of this process, held. There is one holder at a time: the thread that forks.
//
// Each one sleeps in a futex or epoll wait when it is held, so that it has no lock of the C library: the holder may
// allocate. It is held in a signal handler, whose frame on its stack is all of its state.
class HeldThreads {
 public:
  HeldThreads() = default;
  ~HeldThreads() { Release(); }
  HeldThreads(const HeldThreads&) = delete;
  HeldThreads& operator=(const HeldThreads&) = delete;

  // Waits at most `timeout_ms` for every other thread to be asleep in a futex or epoll wait, and holds it there.
  // any_sleep: whatever system call it sleeps in. 0; −EAGAIN: `trouble` did not come to rest, or sleeps in something
  // else; −EOVERFLOW: more than kMaxThreads; else −errno.
  int Hold(int timeout_ms, bool any_sleep, ThreadTrouble* trouble);

  // In the parent: they go on. Without effect when none is held.
  void Release();

  // In the child of a fork: makes each of the held threads, which goes on from where it was. 0 or −errno.
  int Revive();

  int count() const { return count_; }
  const SleepingThread& at(int index) const;

 private:
  int Survey(bool any_sleep, ThreadTrouble* trouble);
  int Park(int64_t deadline_ns, ThreadTrouble* trouble);
  bool Undisturbed();
  int InstallHandler();

  int count_ = 0;
  bool held_ = false;
};

// Why threads cannot be made anew here, in one line; null where they can.
const char* ReviveRefusal();

}  // namespace prefork::sys

#endif  // __linux__

#endif  // PREFORK_SYS_THREADS_H_
