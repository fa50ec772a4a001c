// What a child does between fork and exec, prepared in the parent so that the child only makes system calls.
#ifndef PREFORK_SYS_EXEC_PLAN_H_
#define PREFORK_SYS_EXEC_PLAN_H_

#include <sys/resource.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sys/fd.h"

namespace prefork::sys {

struct ResourceLimit {
  int resource;
  struct rlimit limit;
};

struct SpawnSpec {
  std::string file;               // without a slash: looked for along PATH of `env`
  std::vector<std::string> args;  // argv[0] included
  std::vector<std::string> env;   // KEY=value; "LISTEN_PID=" gets the child's pid
  std::optional<std::string> cwd;
  std::vector<std::pair<int, int>> fds;  // source here, number there; 0 to 2 not named are /dev/null
  bool setsid = false;
  bool setpgid = false;
  std::optional<mode_t> umask;
  std::vector<ResourceLimit> limits;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<std::vector<gid_t>> groups;
  int death_signal = 0;
  bool no_new_privs = false;
  bool ignore_sigpipe = false;  // the program begins with SIGPIPE ignored
};

// What failed, as the child reports it over a pipe and the parent to its caller.
enum class Step : int {
  kNone,
  kPlacement,
  kOpen,
  kDup,
  kPipe,
  kStack,
  kClone,
  kSetsid,
  kSetpgid,
  kSetrlimit,
  kChdir,
  kSetgroups,
  kSetgid,
  kSetuid,
  kNoNewPrivs,
  kDeathSignal,
  kGetppid,
  kCloseRange,
  kDup2,
  kExecve,
};
const char* StepName(Step step);

class ExecPlan {
 public:
  explicit ExecPlan(const SpawnSpec& spec);
  ExecPlan(const ExecPlan&) = delete;
  ExecPlan& operator=(const ExecPlan&) = delete;

  // Opens and duplicates what must stand before the fork. 0 or −errno, with the step that failed.
  int Prepare(Step* failed);

  // A descriptor that no placement will overwrite, in place of `fd`, which is closed if it had to be moved.
  int MoveClear(Fd* fd) const;

  // In the child, with every signal blocked. Async-signal-safe. Returns only on failure, −errno.
  // `parent`: who has to be alive still; 0: does not matter.
  int Run(pid_t parent, Step* failed);

  // Whether the child will change user or group.
  bool changes_credentials() const { return spec_.uid.has_value() || spec_.gid.has_value(); }

 private:
  int EnterProcessGroup(Step* failed) const;
  int ApplyLimits(Step* failed) const;
  int DropPrivileges(Step* failed) const;
  int ArmDeathSignal(pid_t parent, Step* failed) const;
  int PlaceDescriptors(Step* failed) const;
  int Exec(Step* failed);
  int MarkAllCloexec() const;

  const SpawnSpec& spec_;
  std::vector<std::string> candidates_;  // paths to try, in order
  std::vector<char*> argv_;
  std::vector<std::string> env_;
  std::vector<char*> envp_;
  char* listen_pid_ = nullptr;  // where in the environment the pid goes
  int highest_target_ = 2;
  std::vector<std::pair<int, int>> placements_;  // every source > highest_target_
  std::vector<Fd> moved_;
  int fd_limit_ = 0;
};

}  // namespace prefork::sys

#endif  // PREFORK_SYS_EXEC_PLAN_H_
