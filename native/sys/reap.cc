#include "sys/reap.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "sys/children.h"
#include "sys/fd.h"
#include "sys/result.h"
#include "sys/signals.h"
#include "sys/syscalls.h"

namespace prefork::sys {

namespace {

// wait4(2), any pid it takes.
int Wait4(pid_t pid, bool no_hang, WaitResult* result) {
  pid_t got = Uninterrupted(
      [&] { return wait4(pid, &result->status, no_hang ? WNOHANG : 0, &result->usage); });
  if (got < 0) return -errno;
  if (got == 0) return 0;
  result->pid = got;
  ForgetChild(got);
  return 1;
}

#ifdef __linux__

int RawStatus(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

int WaitPidfd(int pidfd, bool no_hang, WaitResult* result) {
  siginfo_t info;
  info.si_pid = 0;
  int options = WEXITED | (no_hang ? WNOHANG : 0);
  long returned = Uninterrupted([&] {
    return RawWaitid(kIdTypePidfd, static_cast<id_t>(pidfd), &info, options, &result->usage);
  });
  if (returned < 0) return -errno;
  if (info.si_pid == 0) return 0;
  result->pid = info.si_pid;
  result->status = RawStatus(info);
  ForgetChild(info.si_pid);
  return 1;
}

#endif

// Reaps one of `pids` if any has ended. −ECHILD: none of them is a child any more.
int PollChildren(const std::vector<pid_t>& pids, WaitResult* result) {
  bool alive = false;
  for (pid_t pid : pids) {
    int got = Wait4(pid, true, result);
    if (got == 1) return 1;
    if (got == 0) alive = true;
    if (got == -ECHILD) ForgetChild(pid);  // reaped by a raw wait of somebody's
  }
  return alive ? 0 : -ECHILD;
}

// Sleeps until one of `pids` has probably ended: by pidfd, or where there are none for `pause_ms`.
void AwaitOneOf(const std::vector<pid_t>& pids, int pause_ms) {
  std::vector<Fd> fds;
  std::vector<struct pollfd> polled;
  for (pid_t pid : pids) {
    Fd fd(PidfdOpen(pid));
    if (!fd.ok()) break;
    polled.push_back({fd.get(), POLLIN, 0});
    fds.push_back(std::move(fd));
  }
  bool all = fds.size() == pids.size();
  poll(polled.data(), static_cast<nfds_t>(polled.size()), all ? -1 : pause_ms);
}

}  // namespace

int WaitPid(pid_t pid, int pidfd, bool no_hang, WaitResult* result) {
#ifdef __linux__
  if (pidfd >= 0) {
    int got = WaitPidfd(pidfd, no_hang, result);
    if (got != -EINVAL || pid <= 0) return got;  // Linux 5.3 has pidfds but cannot wait by them
  }
#else
  (void)pidfd;
#endif
  if (pid <= 0) return -EINVAL;
  return Wait4(pid, no_hang, result);
}

int WaitOwn(bool no_hang, WaitResult* result) {
#ifdef __linux__
  // One look tells which has ended in most cases, without a call for each child. It takes nothing away.
  siginfo_t info;
  info.si_pid = 0;
  if (RawWaitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT, nullptr) == 0 && info.si_pid > 0 &&
      IsOwnChild(info.si_pid)) {
    int got = Wait4(info.si_pid, true, result);
    if (got == 1) return got;
  }
#endif
  for (int pause_ms = 1;; pause_ms = std::min(pause_ms * 2, 50)) {
    std::vector<pid_t> pids = OwnChildren();
    int got = PollChildren(pids, result);
    if (got != 0 || no_hang) return got;
    AwaitOneOf(pids, pause_ms);
  }
}

int WaitAny(bool no_hang, WaitResult* result) { return Wait4(-1, no_hang, result); }

int WaitStopped(StopResult* result) {
  siginfo_t info;
  memset(&info, 0, sizeof(info));
  if (waitid(P_ALL, 0, &info, WSTOPPED | WCONTINUED | WNOHANG) < 0) return -errno;
  if (info.si_pid == 0) return 0;
  result->pid = info.si_pid;
  result->signal = info.si_status;
  result->stopped = info.si_code != CLD_CONTINUED;
  return 1;
}

}  // namespace prefork::sys
