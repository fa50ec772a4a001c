// Collecting the status of children, without ever taking an exit that somebody else waits for.
#ifndef PREFORK_SYS_REAP_H_
#define PREFORK_SYS_REAP_H_

#include <sys/resource.h>
#include <sys/types.h>

namespace prefork::sys {

struct WaitResult {
  pid_t pid;
  int status;  // the raw wait status
  struct rusage usage;
};

// 1: `result` is filled; 0: it has not ended yet; −ECHILD: no such child; else −errno.
// By pidfd where one is given and the kernel can, else by pid, which must be > 0.
int WaitPid(pid_t pid, int pidfd, bool no_hang, WaitResult* result);

// Any child of this addon's own. Same values; −ECHILD when it has none.
int WaitOwn(bool no_hang, WaitResult* result);

// wait4(-1): any child of the process, also those that others wait for.
int WaitAny(bool no_hang, WaitResult* result);

struct StopResult {
  pid_t pid;
  int signal;
  bool stopped;  // false: continued
};

// A child that stopped or went on since it was last asked about. Takes no exit. Values as above.
int WaitStopped(StopResult* result);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_REAP_H_
