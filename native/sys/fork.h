// Making the child process for spawn and daemon: clone(2) with a pidfd where the kernel can, else fork(2).
#ifndef PREFORK_SYS_FORK_H_
#define PREFORK_SYS_FORK_H_

#include <sys/types.h>

#include "sys/exec_plan.h"

namespace prefork::sys {

struct ForkResult {
  pid_t pid;  // −errno on failure
  int pidfd;
};

// Shared: the child runs in the parent's memory, which waits for its exec; no page table is copied.
enum class Memory { kShared, kPrivate };

// Runs `body(argument)` in a child, which ends with the returned code. Every signal must be blocked.
ForkResult ForkChild(Memory memory, int (*body)(void*), void* argument, Step* failed);

// exit_group(2), not declared as never returning: sanitizers hook those, and the child is on a stack they don't know.
void ExitNow(int code);

// What a child tells its parent over the pipe that its exec closes.
struct ChildReport {
  Step step;  // kNone: `value` is a pid
  int value;
};
void SendReport(int fd, ChildReport report);
// false: the other side closed its end without one, that is, its exec went well.
bool ReceiveReport(int fd, ChildReport* report);

// Both ends FD_CLOEXEC. 0 or −errno.
int MakePipe(Fd* read_end, Fd* write_end);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_FORK_H_
