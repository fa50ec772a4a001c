#include "sys/spawn.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/children.h"
#include "sys/fork.h"
#include "sys/result.h"
#include "sys/signals.h"

namespace prefork::sys {

namespace {

struct Child {
  ExecPlan* plan;
  pid_t parent;
  int report_fd;
};

int RunChild(void* argument) {
  Child* child = static_cast<Child*>(argument);
  Step step;
  int error = child->plan->Run(child->parent, &step);
  SendReport(child->report_fd, {step, error});
  ExitNow(127);
  return 127;
}

}  // namespace

SpawnResult Spawn(const SpawnSpec& spec) {
  SpawnResult result;
  ExecPlan plan(spec);
  result.error = plan.Prepare(&result.step);
  if (result.error < 0) return result;

  result.step = Step::kPipe;
  Fd read_end, write_end;
  result.error = MakePipe(&read_end, &write_end);
  if (result.error == 0) result.error = plan.MoveClear(&write_end);
  if (result.error < 0) return result;

  Child child{&plan, getpid(), write_end.get()};
  // A change of credentials in shared memory would make the parent undumpable (PR_SET_DUMPABLE belongs to the
  // memory), and let a process of the new user at the parent's memory while it lasts.
  Memory memory = plan.changes_credentials() ? Memory::kPrivate : Memory::kShared;
  AllSignalsBlocked blocked;
  ForkResult forked = ForkChild(memory, RunChild, &child, &result.step);
  if (forked.pid < 0) {
    result.error = forked.pid;
    return result;
  }

  write_end.Reset(-1);
  ChildReport report;
  if (ReceiveReport(read_end.get(), &report)) {
    Fd pidfd(forked.pidfd);
    Uninterrupted([&] { return waitpid(forked.pid, nullptr, 0); });
    result.step = report.step;
    result.error = report.value;
    return result;
  }
  RegisterChild(forked.pid);
  result.pid = forked.pid;
  result.pidfd = forked.pidfd;
  result.step = Step::kNone;
  return result;
}

}  // namespace prefork::sys
