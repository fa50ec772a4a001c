// Statuses come back true and once, and nobody else's exit is taken.
#include "sys/reap.h"

#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>

#include "check.h"
#include "old_kernel.h"
#include "sys/children.h"
#include "sys/fd.h"
#include "sys/signals.h"

using namespace prefork::sys;

namespace {

// A child that does what `body` does; registered as the addon's own if `own`.
template <typename F>
pid_t Start(bool own, F body) {
  pid_t pid = fork();
  if (pid == 0) {
    ForgetAllChildren();
    body();
    _exit(0);
  }
  if (own) RegisterChild(pid);
  return pid;
}

void Forever() {
  for (;;) pause();
}

}  // namespace

TEST(reports_every_exit_code_by_pid_and_by_pidfd) {
  for (int code : {0, 1, 7, 127, 128, 255}) {
    for (bool by_pidfd : {false, true}) {
      pid_t pid = Start(true, [&] { _exit(code); });
      Fd pidfd(by_pidfd ? PidfdOpen(pid) : -1);
      WaitResult result;
      CHECK_EQ(WaitPid(pid, pidfd.get(), false, &result), 1);
      CHECK_EQ(result.pid, pid);
      CHECK(WIFEXITED(result.status));
      CHECK_EQ(WEXITSTATUS(result.status), code);
      CHECK(result.usage.ru_maxrss > 0);
      CHECK_EQ(WaitPid(pid, pidfd.get(), false, &result), -ECHILD);
    }
  }
}

TEST(reports_signals_and_core_dumps_alike_both_ways) {
  for (int signal_number : {SIGTERM, SIGKILL, SIGUSR1, SIGABRT}) {
    int statuses[2];
    for (bool by_pidfd : {false, true}) {
      pid_t pid = Start(true, [] { Forever(); });
      Fd pidfd(PidfdOpen(pid));
      CHECK_EQ(PidfdSendSignal(pidfd.get(), signal_number), 0);
      WaitResult result;
      CHECK_EQ(WaitPid(pid, by_pidfd ? pidfd.get() : -1, false, &result), 1);
      CHECK(WIFSIGNALED(result.status));
      CHECK_EQ(WTERMSIG(result.status), signal_number);
      statuses[by_pidfd] = result.status;
    }
    CHECK_EQ(statuses[0], statuses[1]);
  }
}

TEST(says_when_nothing_has_ended) {
  pid_t pid = Start(true, [] { Forever(); });
  Fd pidfd(PidfdOpen(pid));
  WaitResult result;
  CHECK_EQ(WaitPid(pid, pidfd.get(), true, &result), 0);
  CHECK_EQ(WaitPid(pid, -1, true, &result), 0);
  CHECK_EQ(WaitOwn(true, &result), 0);
  CHECK_EQ(WaitAny(true, &result), 0);
  CHECK_EQ(KillPid(pid, SIGKILL), 0);
  CHECK_EQ(WaitOwn(false, &result), 1);
  CHECK_EQ(result.pid, pid);
  CHECK_EQ(WaitOwn(true, &result), -ECHILD);
  CHECK_EQ(WaitAny(true, &result), -ECHILD);
}

TEST(refuses_pids_that_mean_many) {
  WaitResult result;
  CHECK_EQ(WaitPid(0, -1, true, &result), -EINVAL);
  CHECK_EQ(WaitPid(-1, -1, true, &result), -EINVAL);
  CHECK_EQ(WaitPid(getppid(), -1, true, &result), -ECHILD);
}

TEST(leaves_the_exits_of_others) {
  pid_t foreign = Start(false, [] {});
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(foreign), &info, WEXITED | WNOWAIT);  // it is a zombie now, and first in line
  pid_t own[3];
  for (pid_t& pid : own) pid = Start(true, [] { _exit(3); });
  for (int i = 0; i < 3; i++) {
    WaitResult result;
    CHECK_EQ(WaitOwn(false, &result), 1);
    CHECK(std::find(own, own + 3, result.pid) != own + 3);
    CHECK_EQ(WEXITSTATUS(result.status), 3);
  }
  WaitResult result;
  CHECK_EQ(WaitOwn(true, &result), -ECHILD);
  CHECK_EQ(WaitOwn(false, &result), -ECHILD);
  CHECK_EQ(WaitAny(false, &result), 1);
  CHECK_EQ(result.pid, foreign);
}

TEST(blocks_until_its_own_has_ended_while_others_are_dead) {
  for (bool with_pidfd : {true, false}) {
    InProcess([&] {
      pid_t foreign = Start(false, [] {});
      int release[2];
      CHECK_EQ(pipe2(release, O_CLOEXEC), 0);
      pid_t own = Start(true, [&] {
        close(release[1]);
        char byte;
        _exit(read(release[0], &byte, 1) == 0 ? 9 : 1);
      });
      // Ends the wait from outside, when that is well under way or not yet begun: both must do.
      pid_t helper = Start(false, [&] { usleep(50000); });
      close(release[1]);
      if (!with_pidfd) CHECK(RefuseSyscalls({{SYS_pidfd_open, ENOSYS}}));
      WaitResult result;
      CHECK_EQ(WaitOwn(false, &result), 1);
      CHECK_EQ(result.pid, own);
      CHECK_EQ(WaitOwn(false, &result), -ECHILD);
      close(release[0]);
      for (pid_t pid : {foreign, helper}) CHECK_EQ(WaitPid(pid, -1, false, &result), 1);
    });
  }
}

TEST(forgets_a_child_that_a_raw_wait_took) {
  pid_t pid = Start(true, [] {});
  CHECK_EQ(waitpid(pid, nullptr, 0), pid);
  CHECK(IsOwnChild(pid));
  WaitResult result;
  CHECK_EQ(WaitOwn(false, &result), -ECHILD);
  CHECK(!IsOwnChild(pid));
}

TEST(reports_stops_without_taking_an_exit) {
  StopResult stop;
  CHECK_EQ(WaitStopped(&stop), -ECHILD);
  pid_t pid = Start(true, [] { Forever(); });
  pid_t dead = Start(false, [] {});
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(dead), &info, WEXITED | WNOWAIT);
  CHECK_EQ(WaitStopped(&stop), 0);
  kill(pid, SIGSTOP);
  waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WNOWAIT);
  CHECK_EQ(WaitStopped(&stop), 1);
  CHECK(stop.pid == pid && stop.stopped && stop.signal == SIGSTOP);
  CHECK_EQ(WaitStopped(&stop), 0);
  kill(pid, SIGCONT);
  waitid(P_PID, static_cast<id_t>(pid), &info, WCONTINUED | WNOWAIT);
  CHECK_EQ(WaitStopped(&stop), 1);
  CHECK(stop.pid == pid && !stop.stopped);
  kill(pid, SIGKILL);
  WaitResult result;
  CHECK_EQ(WaitPid(pid, -1, false, &result), 1);
  CHECK_EQ(WaitPid(dead, -1, false, &result), 1);
}

TEST(lists_children_dead_and_adopted) {
  InProcess([] {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int pipe_fds[2];
    CHECK_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t middle = Start(false, [&] {
      pid_t orphan = fork();
      if (orphan == 0) Forever();
      if (write(pipe_fds[1], &orphan, sizeof(orphan)) < 0) _exit(1);
    });
    pid_t orphan = 0;
    CHECK_EQ(read(pipe_fds[0], &orphan, sizeof(orphan)), static_cast<ssize_t>(sizeof(orphan)));
    siginfo_t info;
    waitid(P_PID, static_cast<id_t>(middle), &info, WEXITED | WNOWAIT);
    std::vector<pid_t> children;
    CHECK_EQ(ListChildren(&children), 0);
    std::sort(children.begin(), children.end());
    std::vector<pid_t> expected = {middle, orphan};
    std::sort(expected.begin(), expected.end());
    CHECK(children == expected);
    WaitResult result;
    kill(orphan, SIGKILL);
    CHECK_EQ(WaitPid(orphan, -1, false, &result), 1);
    CHECK_EQ(WaitPid(middle, -1, false, &result), 1);
    CHECK_EQ(ListChildren(&children), 0);
    CHECK(children.empty());
  });
}

TEST(reaps_a_thousand_each_once) {
  std::vector<pid_t> pids;
  for (int i = 0; i < 1000; i++) pids.push_back(Start(true, [&] { _exit(i % 256); }));
  std::vector<int> seen(1000);
  WaitResult result;
  while (WaitOwn(false, &result) == 1) {
    auto found = std::find(pids.begin(), pids.end(), result.pid);
    CHECK(found != pids.end());
    size_t index = static_cast<size_t>(found - pids.begin());
    seen[index]++;
    CHECK_EQ(WEXITSTATUS(result.status), static_cast<int>(index % 256));
  }
  CHECK_EQ(std::count(seen.begin(), seen.end(), 1), 1000);
}
