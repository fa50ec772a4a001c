#include "sys/daemon.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "sys/fds.h"
#include "sys/fork.h"
#include "sys/result.h"
#include "sys/signals.h"
#include "sys/syscalls.h"

namespace prefork::sys {

namespace {

// The process in the middle: leads the session, is the daemon's parent until that has a pidfd, then ends.
struct Middle {
  ExecPlan* plan;
  int report_fd;
  int release_read_fd;
  int release_write_fd;
};

pid_t ForkInChild() {
#ifdef __linux__
  // Without the C library's fork handlers, which may take locks that some thread of the parent held.
  return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
#else
  return fork();
#endif
}

int RunMiddle(void* argument) {
  Middle* middle = static_cast<Middle*>(argument);
  close(middle->release_write_fd);
  pid_t pid = setsid();
  if (pid < 0) {
    SendReport(middle->report_fd, {Step::kSetsid, -errno});
    ExitNow(127);
  }
  pid = ForkInChild();
  if (pid == 0) {
    Step step;
    int error = middle->plan->Run(0, &step);
    SendReport(middle->report_fd, {step, error});
    ExitNow(127);
  }
  ChildReport report = pid < 0 ? ChildReport{Step::kClone, -errno} : ChildReport{Step::kNone, pid};
  SendReport(middle->report_fd, report);
  char end_of_file;
  (void)!Uninterrupted([&] { return read(middle->release_read_fd, &end_of_file, 1); });
  ExitNow(0);
  return 0;
}

// Reads what middle and daemon report until both have closed the pipe.
void FollowDaemon(int report_fd, Fd* release, SpawnResult* result) {
  ChildReport report;
  while (ReceiveReport(report_fd, &report)) {
    if (report.step != Step::kNone) {
      result->step = report.step;
      result->error = report.value;
    } else {
      result->pid = report.value;
      // The middle has not reaped it, so that the pid cannot be another's yet.
      int pidfd = PidfdOpen(result->pid);
      result->pidfd = pidfd < 0 ? -1 : pidfd;
    }
    release->Reset(-1);
  }
}

}  // namespace

SpawnResult SpawnDaemon(const SpawnSpec& spec) {
  SpawnResult result;
  result.step = Step::kSetpgid;
  result.error = spec.setpgid || spec.setsid || spec.death_signal != 0 ? -EINVAL : 0;
  if (result.error < 0) return result;
  ExecPlan plan(spec);
  result.error = plan.Prepare(&result.step);
  if (result.error < 0) return result;

  result.step = Step::kPipe;
  Fd report_read, report_write, release_read, release_write;
  result.error = MakePipe(&report_read, &report_write);
  if (result.error == 0) result.error = MakePipe(&release_read, &release_write);
  if (result.error == 0) result.error = plan.MoveClear(&report_write);
  if (result.error < 0) return result;

  Middle middle{&plan, report_write.get(), release_read.get(), release_write.get()};
  AllSignalsBlocked blocked;
  ForkResult forked = ForkChild(Memory::kPrivate, RunMiddle, &middle, &result.step);
  if (forked.pid < 0) {
    result.error = forked.pid;
    return result;
  }
  Fd middle_pidfd(forked.pidfd);
  report_write.Reset(-1);
  result.step = Step::kNone;
  FollowDaemon(report_read.get(), &release_write, &result);
  release_write.Reset(-1);
  Uninterrupted([&] { return waitpid(forked.pid, nullptr, 0); });

  if (result.error < 0 && result.pid > 0) {
    // Where this process is the subreaper the failed daemon is its child by now; elsewhere ECHILD.
    Uninterrupted([&] { return waitpid(result.pid, nullptr, 0); });
  }
  if (result.error < 0) {
    Fd failed(result.pidfd);
    result.pid = result.pidfd = -1;
  }
  return result;
}

int ReplaceProcess(const std::string& file, const std::vector<std::string>& args,
                   const std::vector<std::string>& env, const std::vector<int>& keep,
                   const std::vector<int>& blocked) {
  std::vector<char*> argv, envp;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  for (const std::string& line : env) envp.push_back(const_cast<char*>(line.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  // Node.js sets FD_CLOEXEC on 0 to 2 when it starts.
  std::vector<int> wanted = keep;
  wanted.insert(wanted.end(), {0, 1, 2});
  std::vector<int> cleared;
  int error = 0;
  for (size_t i = 0; i < wanted.size() && error == 0; i++) {
    int flags = fcntl(wanted[i], F_GETFD);
    if (flags < 0) {
      if (i < keep.size()) error = -errno;  // a closed standard descriptor is nothing to object to
    } else if (flags & FD_CLOEXEC) {
      error = SetCloexec(wanted[i], false);
      if (error == 0) cleared.push_back(wanted[i]);
    }
  }

  std::vector<int> former, unused;
  if (error == 0) error = ChangeSignalMask(MaskChange::kSet, blocked, &former);
  if (error == 0) {
    execve(file.c_str(), argv.data(), envp.data());
    error = -errno;
    ChangeSignalMask(MaskChange::kSet, former, &unused);
  }
  for (int fd : cleared) SetCloexec(fd, true);
  return error;
}

int NewSession() { return Checked(setsid()); }

int SetSubreaper(bool on) {
#ifdef __linux__
  return Checked(prctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0, 0, 0, 0));
#else
  (void)on;
  return -ENOSYS;
#endif
}

}  // namespace prefork::sys
