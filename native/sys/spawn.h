// fork and exec in one step, with everything that a worker needs done between the two.
#ifndef PREFORK_SYS_SPAWN_H_
#define PREFORK_SYS_SPAWN_H_

#include "sys/exec_plan.h"

namespace prefork::sys {

struct SpawnResult {
  pid_t pid = -1;
  int pidfd = -1;  // FD_CLOEXEC; −1 where the kernel has none
  int error = 0;   // −errno; 0: it runs
  Step step = Step::kNone;
};

// A child that fails before its exec is reaped here and leaves nothing behind.
SpawnResult Spawn(const SpawnSpec& spec);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_SPAWN_H_
