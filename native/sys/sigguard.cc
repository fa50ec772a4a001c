#include "sys/sigguard.h"

#include <errno.h>

#ifdef __linux__

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>

#include "sys/proc.h"
#include "sys/result.h"
#include "sys/signals.h"
#include "sys/syscalls.h"

namespace {

// Bit n − 1 is signal n, as in /proc.
uint64_t BitOf(int signal) { return uint64_t{1} << (signal - 1); }

constexpr int kLastPlainSignal = 31;

// --- the new program: masks that are set leave the guarded signals blocked ----------------------------------------

std::atomic<uint64_t> guarded{0};

using SetMask = int (*)(int, const sigset_t*, sigset_t*);
SetMask next_pthread_sigmask = nullptr;
SetMask next_sigprocmask = nullptr;

// `set` as it may be applied under the guard.
const sigset_t* Guarded(int how, const sigset_t* set, sigset_t* changed) {
  uint64_t guard = guarded.load();
  if (guard == 0 || set == nullptr || how == SIG_BLOCK) return set;
  *changed = *set;
  for (int signal = 1; signal <= kLastPlainSignal; signal++) {
    if ((guard & BitOf(signal)) == 0) continue;
    if (how == SIG_UNBLOCK) {
      sigdelset(changed, signal);
    } else {
      sigaddset(changed, signal);
    }
  }
  return changed;
}

uint64_t ParseSignals(const char* list) {
  uint64_t signals = 0;
  for (const char* at = list; *at != '\0';) {
    char* end;
    long signal = strtol(at, &end, 10);
    if (end == at || signal < 1 || signal > kLastPlainSignal) return 0;
    signals |= BitOf(static_cast<int>(signal));
    at = *end == ',' ? end + 1 : end;
  }
  return signals;
}

sigset_t ToSet(uint64_t signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal = 1; signal <= kLastPlainSignal; signal++) {
    if (signals & BitOf(signal)) sigaddset(&set, signal);
  }
  return set;
}

__attribute__((constructor)) void Begin() {
  const char* list = getenv("PREFORK_SIGNAL_GUARD");
  if (list == nullptr) return;
  next_pthread_sigmask = reinterpret_cast<SetMask>(dlsym(RTLD_NEXT, "pthread_sigmask"));
  next_sigprocmask = reinterpret_cast<SetMask>(dlsym(RTLD_NEXT, "sigprocmask"));
  if (next_pthread_sigmask == nullptr || next_sigprocmask == nullptr) return;
  guarded.store(ParseSignals(list));
  sigset_t set = ToSet(guarded.load());
  next_pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int RawSetMask(int how, const sigset_t* set, sigset_t* former) {
  if (former != nullptr) sigemptyset(former);  // the kernel fills in its first bytes
  return static_cast<int>(
      syscall(SYS_rt_sigprocmask, how, set, former, prefork::sys::kKernelSigsetBytes));
}

}  // namespace

// In the place of the C library's for all that is loaded after this object. Without a preload nobody gets here but,
// on some systems, this object itself.
extern "C" {

__attribute__((visibility("default"))) int pthread_sigmask(int how, const sigset_t* set, sigset_t* former) {
  sigset_t changed;
  const sigset_t* applied = Guarded(how, set, &changed);
  if (next_pthread_sigmask != nullptr) return next_pthread_sigmask(how, applied, former);
  return RawSetMask(how, applied, former) < 0 ? errno : 0;
}

__attribute__((visibility("default"))) int sigprocmask(int how, const sigset_t* set, sigset_t* former) {
  sigset_t changed;
  const sigset_t* applied = Guarded(how, set, &changed);
  if (next_sigprocmask != nullptr) return next_sigprocmask(how, applied, former);
  return RawSetMask(how, applied, former);
}

// Found by name, since the object that was preloaded may be another version's than the one that is loaded later.
__attribute__((visibility("default"))) int prefork_release_signals_v1() {
  sigset_t set = ToSet(guarded.exchange(0));
  int count = 0;
  for (int signal = 1; signal <= kLastPlainSignal; signal++) count += sigismember(&set, signal);
  if (count > 0) next_pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  return count;
}

}  // extern "C"

namespace prefork::sys {

int ReleaseSignals() {
  auto release = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "prefork_release_signals_v1"));
  return release == nullptr ? 0 : release();
}

// --- the old program: every thread blocks them --------------------------------------------------------------------

namespace {

constexpr int kMaxThreads = 1024;
constexpr long kPauseNs = 200'000;

// Next to the one that holds threads for a fork (threads.cc).
int HelperSignal() { return SIGRTMIN + 18; }

std::atomic<uint64_t> to_block{0};

// In the thread that is to block them: the kernel takes its mask from the frame when the handler returns.
void OnHelperSignal(int, siginfo_t*, void* raw_context) {
  ucontext_t* context = static_cast<ucontext_t*>(raw_context);
  uint64_t signals = to_block.load();
  for (int signal = 1; signal <= kLastPlainSignal; signal++) {
    if (signals & BitOf(signal)) sigaddset(&context->uc_sigmask, signal);
  }
}

int InstallHelper() {
  if (HelperSignal() > SIGRTMAX) return -ENOTSUP;
  struct sigaction action;
  if (sigaction(HelperSignal(), nullptr, &action) < 0) return -errno;
  if ((action.sa_flags & SA_SIGINFO) && action.sa_sigaction == OnHelperSignal) return 0;
  // Somebody else's signal: not ours to take.
  if ((action.sa_flags & SA_SIGINFO) || action.sa_handler != SIG_DFL) return -EBUSY;
  memset(&action, 0, sizeof(action));
  action.sa_sigaction = OnHelperSignal;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&action.sa_mask);
  return Checked(sigaction(HelperSignal(), &action, nullptr));
}

// Whether a thread takes none of the signals any more, nor is in the midst of a handler that one of them started.
// 1, 0, or −errno (−ESRCH, −ENOENT: it has ended). Asks the thread to block them where it does not.
int BlocksThem(const ProcDirectory& tasks, pid_t tid, uint64_t signals) {
  ThreadStatus status;
  int error = ReadThreadStatus(tasks, tid, &status);
  if (error < 0) return error;
  if ((status.blocked & BitOf(HelperSignal())) == 0) {
    if ((status.blocked & signals) == signals) return 1;
    return syscall(SYS_tgkill, getpid(), tid, HelperSignal()) < 0 ? -errno : 0;
  }
  // One that blocks the helper as well either always does, or is in a handler of libuv's. Those never wait in a futex.
  ThreadActivity activity;
  error = ReadActivity(tasks, tid, &activity);
  if (error < 0) return error;
  return !activity.running && activity.number == SYS_futex && (status.blocked & signals) == signals;
}

// 1: all other threads block them; 0: not yet; or −errno.
int OthersBlockThem(uint64_t signals) {
  int tids[kMaxThreads];
  ProcDirectory tasks(kTasks);
  int count = tasks.List(tids, kMaxThreads);
  if (count < 0) return count;
  pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
  int all = 1;
  for (int i = 0; i < count; i++) {
    if (tids[i] == self) continue;
    int blocks = BlocksThem(tasks, tids[i], signals);
    if (blocks == -ESRCH || blocks == -ENOENT) continue;
    if (blocks < 0) return blocks;
    if (blocks == 0) all = 0;
  }
  return all;
}

}  // namespace

int HoldSignals(const std::vector<int>& signals, int timeout_ms) {
  uint64_t bits = 0;
  for (int signal : signals) {
    if (signal < 1 || signal > kLastPlainSignal || signal == SIGKILL || signal == SIGSTOP) return -EINVAL;
    bits |= BitOf(signal);
  }
  int error = InstallHelper();
  if (error < 0) return error;
  to_block.store(bits);
  std::vector<int> former, unused;
  error = ChangeSignalMask(MaskChange::kBlock, signals, &former);
  if (error < 0) return error;
  int done = 0;
  for (int64_t left_ns = int64_t{timeout_ms} * 1'000'000; done == 0 && left_ns > 0; left_ns -= kPauseNs) {
    done = OthersBlockThem(bits);
    struct timespec pause = {0, kPauseNs};
    if (done == 0) nanosleep(&pause, nullptr);
  }
  if (done == 1) return 0;
  ChangeSignalMask(MaskChange::kSet, former, &unused);
  return done == 0 ? -EAGAIN : done;
}

}  // namespace prefork::sys

#else  // macOS, untested

namespace prefork::sys {

int HoldSignals(const std::vector<int>&, int) { return -ENOTSUP; }
int ReleaseSignals() { return 0; }

}  // namespace prefork::sys

#endif
