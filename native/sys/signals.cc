#include "sys/signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "sys/result.h"
#include "sys/syscalls.h"

namespace prefork::sys {

int KillPid(pid_t pid, int signal) { return Checked(kill(pid, signal)); }

int PidfdOpen(pid_t pid) {
#ifdef __linux__
  return static_cast<int>(Checked(RawPidfdOpen(pid)));
#else
  (void)pid;
  return -ENOSYS;
#endif
}

int PidfdSendSignal(int pidfd, int signal) {
#ifdef __linux__
  return static_cast<int>(Checked(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0)));
#else
  (void)pidfd, (void)signal;
  return -ENOSYS;
#endif
}

int ChangeSignalMask(MaskChange change, const std::vector<int>& signals, std::vector<int>* former) {
  sigset_t set, old;
  sigemptyset(&set);
  for (int signal : signals) {
    if (sigaddset(&set, signal) < 0) return -errno;
  }
  int how = change == MaskChange::kBlock     ? SIG_BLOCK
            : change == MaskChange::kUnblock ? SIG_UNBLOCK
                                             : SIG_SETMASK;
  int error = pthread_sigmask(how, &set, &old);
  if (error != 0) return -error;
  former->clear();
  for (int signal = 1; signal < NSIG; signal++) {
    if (sigismember(&old, signal) == 1) former->push_back(signal);
  }
  return 0;
}

#ifdef __linux__

AllSignalsBlocked::AllSignalsBlocked() {
  static_assert(sizeof(former_) == kKernelSigsetBytes);
  unsigned char all[kKernelSigsetBytes];
  memset(all, 0xff, sizeof(all));
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, former_, kKernelSigsetBytes);
}

AllSignalsBlocked::~AllSignalsBlocked() {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, former_, nullptr, kKernelSigsetBytes);
}

void ResetDispositions() {
  // The kernel's struct sigaction all zero is SIG_DFL without flags or mask. The raw call, since the C
  // library's refuses its own signals and keeps books in memory that the child may share with its parent.
  static const unsigned char kDefault[64] = {0};
  for (int signal = 1; signal <= static_cast<int>(kKernelSigsetBytes * 8); signal++) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    syscall(SYS_rt_sigaction, signal, kDefault, nullptr, kKernelSigsetBytes);
  }
}

void Ignore(int signal) {
  // The handler comes first in the kernel's struct sigaction.
  unsigned char action[64] = {0};
  const uintptr_t ignore = 1;  // SIG_IGN
  memcpy(action, &ignore, sizeof(ignore));
  syscall(SYS_rt_sigaction, signal, action, nullptr, kKernelSigsetBytes);
}

void UnblockAll() {
  static const unsigned char kNone[kKernelSigsetBytes] = {0};
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, kNone, nullptr, kKernelSigsetBytes);
}

#else

AllSignalsBlocked::AllSignalsBlocked() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &former_);
}

AllSignalsBlocked::~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &former_, nullptr); }

void ResetDispositions() {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; signal++) {
    if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &action, nullptr);
  }
}

void Ignore(int signal) {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_handler = SIG_IGN;
  sigaction(signal, &action, nullptr);
}

void UnblockAll() {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

#endif

}  // namespace prefork::sys
