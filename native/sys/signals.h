// Sending signals, and the calling thread's signal mask.
#ifndef PREFORK_SYS_SIGNALS_H_
#define PREFORK_SYS_SIGNALS_H_

#include <signal.h>
#include <sys/types.h>

#include <vector>

namespace prefork::sys {

int KillPid(pid_t pid, int signal);
// −ENOSYS where the kernel has no pidfds.
int PidfdOpen(pid_t pid);
int PidfdSendSignal(int pidfd, int signal);

enum class MaskChange { kBlock, kUnblock, kSet };
// Changes the mask of the calling thread; `former` gets what was blocked before.
int ChangeSignalMask(MaskChange change, const std::vector<int>& signals, std::vector<int>* former);

// Blocks every signal of the calling thread, the C library's own included, until it goes out of scope.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked();
  ~AllSignalsBlocked();
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
#ifdef __linux__
  unsigned char former_[8];
#else
  sigset_t former_;
#endif
};

// For the child between fork and exec: async-signal-safe. Every disposition becomes the default, ignored ones too.
void ResetDispositions();
// Likewise, for the program too: an exec keeps what is ignored.
void Ignore(int signal);
// Likewise: nothing is blocked any more.
void UnblockAll();

}  // namespace prefork::sys

#endif  // PREFORK_SYS_SIGNALS_H_
