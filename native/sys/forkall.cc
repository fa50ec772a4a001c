#include "sys/forkall.h"

#ifdef __linux__

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/children.h"
#include "sys/fd.h"
#include "sys/fork.h"
#include "sys/private_fds.h"
#include "sys/proc.h"
#include "sys/result.h"
#include "sys/signals.h"
#include "sys/threads.h"
#include "sys/watcher.h"

#endif

namespace prefork::sys {

const char* ForkallStepName(ForkallStep step) {
  switch (step) {
    case ForkallStep::kNone:
      return "";
    case ForkallStep::kMemory:
      return "madvise";
    case ForkallStep::kThreads:
      return "threads";
    case ForkallStep::kPlan:
      return "plan";
    case ForkallStep::kClone:
      return "clone";
    case ForkallStep::kDescriptors:
      return "descriptors";
    case ForkallStep::kLoop:
      return "loop";
    case ForkallStep::kRevive:
      return "revive";
    case ForkallStep::kWatcher:
      return "watcher";
    case ForkallStep::kReport:
      return "report";
  }
  return "";
}

#ifdef __linux__

namespace {

// V8 marks its heap MADV_DONTFORK, to make forks that exec cheaper.
int MakeMemoryInheritable() {
  ProcLines lines("/proc/self/maps");
  uint64_t run_start = 0, run_end = 0;
  auto flush = [&] {
    // Holes in the range are skipped, and reported as ENOMEM at the end.
    if (run_end > run_start) madvise(reinterpret_cast<void*>(run_start), run_end - run_start, MADV_DOFORK);
    run_start = run_end = 0;
  };
  while (const char* line = lines.Next()) {
    Mapping mapping;
    if (!ParseMapping(line, &mapping)) continue;
    // Shared memory was kept from children on purpose; the kernel's own mappings refuse.
    if (mapping.permissions[3] != 'p' || strncmp(mapping.name, "[v", 2) == 0) {
      flush();
      continue;
    }
    if (run_end == 0) run_start = mapping.start;
    run_end = mapping.end;
  }
  flush();
  return lines.error();
}

// The main thread as the kernel knows it, which a raw clone(2) does not pass on.
struct MainThread {
  int* tid_address = nullptr;
  void* robust_head = nullptr;
  size_t robust_bytes = 0;
};

int ReadMainThread(MainThread* main) {
  if (syscall(SYS_get_robust_list, 0, &main->robust_head, &main->robust_bytes) < 0) return -errno;
  pid_t tid = getpid();
  constexpr int kGetTidAddress = 40;  // PR_GET_TID_ADDRESS
  if (prctl(kGetTidAddress, &main->tid_address) == 0 && main->tid_address != nullptr && *main->tid_address == tid) {
    return 0;
  }
  // A kernel without CONFIG_CHECKPOINT_RESTORE: it is in glibc's thread descriptor.
  int* word = reinterpret_cast<int*>(pthread_self());
  for (int i = 0; i < 512; i++) {
    if (word[i] != tid) continue;
    main->tid_address = word + i;
    return 0;
  }
  return -ENOTSUP;
}

// glibc's fork() would run handlers that undo what is wanted here: reclaim the stacks of the other threads, reset its
// allocator, have libuv forget its thread pool.
pid_t RawFork(const MainThread& main, bool as_sibling) {
  unsigned long flags = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD | (as_sibling ? CLONE_PARENT : 0);
#if defined(__aarch64__)
  return static_cast<pid_t>(Checked(syscall(SYS_clone, flags, nullptr, nullptr, nullptr, main.tid_address)));
#else
  return static_cast<pid_t>(Checked(syscall(SYS_clone, flags, nullptr, nullptr, main.tid_address, nullptr)));
#endif
}

// What the child writes when it fails; it closes the pipe without a word when it stands.
struct StandReport {
  ForkallStep step;
  int error;
};

[[noreturn]] void FailChild(int pipe, ForkallStep step, int error) {
  StandReport report = {step, error};
  (void)!Uninterrupted([&] { return write(pipe, &report, sizeof(report)); });
  for (;;) ExitNow(127);
}

// How many times as long a child may take to stand as threads may to come to rest: it may have to wait for a processor.
constexpr int kStandTimeouts = 30;

// One fork, from its preparation to both its ends.
class Fork {
 public:
  Fork(const ForkallOptions& options, ForkallFailure* failure) : options_(options), failure_(failure) {}
  pid_t Run();

 private:
  int Prepare();
  int FindWatchers();
  void DieWithParent();
  void StandUp(int pipe);
  pid_t AwaitChild(pid_t pid, int pipe);
  int Fail(ForkallStep step, int error) {
    failure_->step = step;
    return error;
  }

  const ForkallOptions& options_;
  ForkallFailure* failure_;
  pid_t parent_ = 0;  // the child's
  MainThread main_;
  HeldThreads threads_;
  PrivateFds fds_;
  std::vector<Restartable> watchers_;
};

int Fork::FindWatchers() {
  for (int i = 0; i < threads_.count(); i++) {
    const SleepingThread& thread = threads_.at(i);
    if (!thread.blocks_every_signal) continue;
    Restartable watcher;
    int error = -ENOTSUP;
    if (options_.host_code != nullptr && thread.sleep == Sleep::kFutex) {
      error = FindRestartable(thread.tid, thread.stack_pointer, thread.argument, options_.host_code, &watcher);
    }
    if (error < 0) {
      failure_->tid = thread.tid;
      memcpy(failure_->name, thread.name, sizeof(failure_->name));
      return error;
    }
    watchers_.push_back(watcher);
  }
  return 0;
}

int Fork::Prepare() {
  // Not while the others are held: it makes a thread the first time.
  if (options_.host_code != nullptr) CanFindRestartable();
  int error = ReadMainThread(&main_);
  if (error < 0) return Fail(ForkallStep::kClone, error);
  ThreadTrouble trouble;
  error = threads_.Hold(options_.timeout_ms, options_.any_sleep, &trouble);
  if (error < 0) {
    failure_->tid = trouble.tid;
    memcpy(failure_->name, trouble.name, sizeof(failure_->name));
    failure_->syscall = trouble.syscall;
    return Fail(ForkallStep::kThreads, error);
  }
  error = FindWatchers();
  if (error < 0) return Fail(ForkallStep::kThreads, error);
  // Only now: until they rest, V8's threads map new memory.
  error = MakeMemoryInheritable();
  if (error < 0) return Fail(ForkallStep::kMemory, error);
  error = fds_.Plan(options_.loop_fd, options_.private_pipes);
  if (error < 0) return Fail(ForkallStep::kPlan, error);
  return 0;
}

void Fork::DieWithParent() {
  if (options_.death_signal == 0) return;
  prctl(PR_SET_PDEATHSIG, options_.death_signal);
  // It may have ended before that.
  if (getppid() != parent_) ExitNow(127);
}

// In the child. Every thread is asleep in its parent's copy, so that no lock of the C library is held.
void Fork::StandUp(int pipe) {
  DieWithParent();
  if (main_.robust_head != nullptr) syscall(SYS_set_robust_list, main_.robust_head, main_.robust_bytes);
  if (options_.hot_pages != nullptr) options_.hot_pages->Populate();
  ForgetAllChildren();
  int error = fds_.Replace();
  if (error < 0) FailChild(pipe, ForkallStep::kDescriptors, error);
  error = options_.in_child == nullptr ? 0 : options_.in_child(options_.argument);
  if (error < 0) FailChild(pipe, ForkallStep::kLoop, error);
  error = threads_.Revive();
  if (error < 0) FailChild(pipe, ForkallStep::kRevive, error);
  for (const Restartable& watcher : watchers_) {
    error = Restart(watcher);
    if (error < 0) FailChild(pipe, ForkallStep::kWatcher, error);
  }
}

// The child's pid once it stands, or −errno once it is gone.
pid_t Fork::AwaitChild(pid_t pid, int pipe) {
  StandReport report = {ForkallStep::kReport, -ETIMEDOUT};
  struct pollfd wait = {pipe, POLLIN, 0};
  int ready = static_cast<int>(Uninterrupted([&] { return poll(&wait, 1, kStandTimeouts * options_.timeout_ms); }));
  if (ready > 0) {
    ssize_t got = Uninterrupted([&] { return read(pipe, &report, sizeof(report)); });
    // Its end without a word: it stands, or was killed, which its parent sees in the usual way.
    if (got == 0) return pid;
  } else {
    kill(pid, SIGKILL);
  }
  failure_->step = report.step;
  if (options_.as_sibling) {
    failure_->pid = pid;
  } else {
    Uninterrupted([&] { return waitpid(pid, nullptr, 0); });
  }
  return report.error;
}

pid_t Fork::Run() {
  Fd read_end, write_end;
  int error = MakePipe(&read_end, &write_end);
  parent_ = options_.as_sibling ? getppid() : getpid();
  if (error < 0) return Fail(ForkallStep::kClone, error);
  pid_t pid;
  {
    AllSignalsBlocked blocked;
    error = Prepare();
    if (error < 0) return error;
    pid = RawFork(main_, options_.as_sibling);
    if (pid == 0) {
      read_end.Reset(-1);
      StandUp(write_end.get());
      return 0;
    }
    if (pid < 0) return Fail(ForkallStep::kClone, pid);
    threads_.Release();
  }
  if (!options_.as_sibling) RegisterChild(pid);
  write_end.Reset(-1);
  pid_t outcome = AwaitChild(pid, read_end.get());
  if (outcome < 0 && !options_.as_sibling) ForgetChild(pid);
  return outcome;
}

}  // namespace

pid_t Forkall(const ForkallOptions& options, ForkallFailure* failure) {
  if (syscall(SYS_gettid) != getpid()) {
    failure->step = ForkallStep::kThreads;
    return -EPERM;
  }
  Fork fork(options, failure);
  return fork.Run();
}

const char* ForkallRefusal() {
  const char* refusal = ReviveRefusal();
  if (refusal != nullptr) return refusal;
  if (access("/proc/self/maps", R_OK) < 0 || access("/proc/self/fdinfo", R_OK | X_OK) < 0) {
    return "/proc/self cannot be read";
  }
  if (!CanFindRestartable()) return "the C library keeps its threads otherwise than known";
  return nullptr;
}

#else  // __linux__

pid_t Forkall(const ForkallOptions&, ForkallFailure* failure) {
  failure->step = ForkallStep::kClone;
  return -ENOSYS;
}

const char* ForkallRefusal() { return "not Linux"; }

#endif  // __linux__

}  // namespace prefork::sys
