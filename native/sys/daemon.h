// Leaving one's place in the process tree: a session, adoption, a daemon, another program in the same process.
#ifndef PREFORK_SYS_DAEMON_H_
#define PREFORK_SYS_DAEMON_H_

#include <string>
#include <vector>

#include "sys/spawn.h"

namespace prefork::sys {

// Double fork with setsid, then exec: the process is nobody's child but init's (or the next subreaper's). Unlike
// daemon(3) the caller stays what it is, since the threads of a Node.js process do not outlive a plain fork.
// The pidfd stands for the daemon without a race. setsid is implied; setpgid and a death signal are refused.
SpawnResult SpawnDaemon(const SpawnSpec& spec);

// execve(2) of this process. `keep`: descriptors whose FD_CLOEXEC is cleared, 0 to 2 besides; `blocked`: the
// signals, and no others, blocked afterwards. Returns only on failure, −errno, with everything as it was.
int ReplaceProcess(const std::string& file, const std::vector<std::string>& args,
                   const std::vector<std::string>& env, const std::vector<int>& keep,
                   const std::vector<int>& blocked);

int NewSession();
// PR_SET_CHILD_SUBREAPER: orphans among the descendants become children of this process.
int SetSubreaper(bool on);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_DAEMON_H_
