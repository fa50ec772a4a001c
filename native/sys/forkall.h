// fork(2) for a process with threads: the child has all of them, and all of the parent's memory.
#ifndef PREFORK_SYS_FORKALL_H_
#define PREFORK_SYS_FORKALL_H_

#include <sys/types.h>

#include <vector>

#include "sys/hot_pages.h"

namespace prefork::sys {

// Where a fork failed.
enum class ForkallStep {
  kNone,
  kMemory,   // making the private memory inheritable
  kThreads,  // holding the other threads; `tid`, `name` and `syscall` tell which
  kPlan,     // finding out about descriptors
  kClone,
  kDescriptors,  // from here on in the child
  kLoop,
  kRevive,
  kWatcher,
  kReport,  // the child did not say in time that it stands
};
const char* ForkallStepName(ForkallStep step);

struct ForkallFailure {
  ForkallStep step = ForkallStep::kNone;
  // kThreads: the thread in the way, and the system call that it sleeps in (−1: it is running).
  pid_t tid = 0;
  char name[16] = "";
  long syscall = -1;
  // The child that failed, where there was one: not yet reaped with `as_sibling`, else 0.
  pid_t pid = 0;
};

struct ForkallOptions {
  // The child becomes a child of this process' parent (CLONE_PARENT), not its own.
  bool as_sibling = false;
  // Threads may sleep in any system call; else in futex and epoll waits alone.
  bool any_sleep = false;
  // For threads to come to rest, ten times as long where they had to wait for a processor; thirty times as long for the child
  // to stand.
  int timeout_ms = 2'000;
  // Sent to the child when its parent's main thread ends (PR_SET_PDEATHSIG); 0: none.
  int death_signal = 0;
  // An epoll descriptor that `in_child` makes anew, or −1.
  int loop_fd = -1;
  // Pipes (read end, write end, …) that become the child's own, with what is in them.
  std::vector<int> private_pipes;
  // Maps in the child at once what children were learnt to need. Null: none is known.
  const HotPages* hot_pages = nullptr;
  // A function of the program that runs Node's own threads: a thread of it that blocks every signal and waits in
  // the program's static memory (its SIGUSR1 watcher) is started again from its beginning. Null: none is.
  const void* host_code = nullptr;
  // Runs in the child, with every thread still held: 0 or −errno.
  int (*in_child)(void* argument) = nullptr;
  void* argument = nullptr;
};

// 0 in the child, its pid in the parent, −errno on failure, after which no child is left (with as_sibling: none that
// runs). Must be called by the main thread. The child has stood up when the parent returns.
pid_t Forkall(const ForkallOptions& options, ForkallFailure* failure);

// Why Forkall cannot work here, in one line; null where it can.
const char* ForkallRefusal();

}  // namespace prefork::sys

#endif  // PREFORK_SYS_FORKALL_H_
