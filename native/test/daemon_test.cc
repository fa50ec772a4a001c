// Daemons, another program in the same process, sessions, adoption.
#include "sys/daemon.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

#include "check.h"
#include "sys/fork.h"
#include "sys/signals.h"

using namespace prefork::sys;

namespace {

SpawnSpec Shell(const std::string& script) {
  SpawnSpec spec;
  spec.file = "sh";
  spec.args = {"sh", "-c", script};
  spec.env = {"PATH=/usr/bin:/bin"};
  return spec;
}

}  // namespace

TEST(a_daemon_is_nobodys_child_and_leads_no_session) {
  Fd read_end, write_end;
  MakePipe(&read_end, &write_end);
  SpawnSpec spec = Shell("cut -d' ' -f1,4,6 /proc/$$/stat");
  spec.fds = {{write_end.get(), 1}};
  SpawnResult daemon = SpawnDaemon(spec);
  write_end.Reset(-1);
  CHECK_EQ(daemon.error, 0);
  long pid = 0, parent = 0, session = 0;
  std::istringstream(ReadAll(read_end.get())) >> pid >> parent >> session;
  CHECK_EQ(pid, static_cast<long>(daemon.pid));
  CHECK(parent != getpid());
  CHECK(session != pid && session != getsid(0));
  struct pollfd polled = {daemon.pidfd, POLLIN, 0};
  CHECK_EQ(poll(&polled, 1, 10000), 1);  // its end can be seen all the same
  close(daemon.pidfd);
}

TEST(a_daemon_that_fails_names_the_step) {
  SpawnSpec spec = Shell("");
  spec.file = "/nonexistent";
  SpawnResult daemon = SpawnDaemon(spec);
  CHECK_EQ(daemon.error, -ENOENT);
  CHECK(daemon.step == Step::kExecve && daemon.pid == -1 && daemon.pidfd == -1);
  spec = Shell("");
  spec.cwd = "/nonexistent";
  CHECK(SpawnDaemon(spec).step == Step::kChdir);
  spec = Shell("");
  spec.death_signal = SIGTERM;
  CHECK_EQ(SpawnDaemon(spec).error, -EINVAL);
}

TEST(a_subreaper_adopts_it_and_reaps_one_that_failed) {
  InProcess([] {
    CHECK_EQ(SetSubreaper(true), 0);
    SpawnSpec spec = Shell("");
    spec.file = "/nonexistent";
    for (int i = 0; i < 20; i++) CHECK_EQ(SpawnDaemon(spec).error, -ENOENT);
    CHECK(waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD);
    SpawnResult daemon = SpawnDaemon(Shell("exit 5"));
    CHECK_EQ(daemon.error, 0);
    int status;
    CHECK_EQ(waitpid(daemon.pid, &status, 0), daemon.pid);
    CHECK_EQ(WEXITSTATUS(status), 5);
  });
}

TEST(replaces_the_program_of_the_process) {
  Fd read_end, write_end;
  MakePipe(&read_end, &write_end);
  pid_t pid = fork();
  if (pid == 0) {
    Fd other(open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (int fd : {0, 1, 2}) fcntl(fd, F_SETFD, FD_CLOEXEC);
    dup2(write_end.get(), 1);
    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
    // A shell would change the mask again.
    ReplaceProcess("/bin/cat", {"cat", "/proc/self/status", "/proc/self/environ", "/proc/self/fd/" + std::to_string(other.get())},
                   {"A=b"}, {}, {SIGHUP, SIGTERM});
    _exit(1);
  }
  write_end.Reset(-1);
  std::string text = ReadAll(read_end.get());
  CHECK(text.find("\nPid:\t" + std::to_string(pid) + "\n") != std::string::npos);
  CHECK(text.find("SigBlk:\t0000000000004001\n") != std::string::npos);
  CHECK_EQ(text.substr(text.size() - 4), std::string("A=b\0", 4));
  int status;
  waitpid(pid, &status, 0);
  CHECK_EQ(WEXITSTATUS(status), 1);  // cat's own: the descriptor that was not kept is not there
}

TEST(leaves_all_as_it_was_when_the_exec_fails) {
  Fd kept(open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<int> before, after;
  ChangeSignalMask(MaskChange::kSet, {SIGUSR2}, &before);
  CHECK_EQ(ReplaceProcess("/nonexistent", {"x"}, {}, {kept.get()}, {SIGHUP}), -ENOENT);
  CHECK(fcntl(kept.get(), F_GETFD) & FD_CLOEXEC);
  ChangeSignalMask(MaskChange::kSet, before, &after);
  CHECK(after == std::vector<int>{SIGUSR2});
  CHECK_EQ(ReplaceProcess("/bin/true", {"x"}, {}, {kept.get(), 999}, {}), -EBADF);
  CHECK(fcntl(kept.get(), F_GETFD) & FD_CLOEXEC);
  CHECK_EQ(ReplaceProcess("/bin/true", {"x"}, {}, {}, {1000}), -EINVAL);
}

TEST(begins_a_session_once) {
  InProcess([] {
    CHECK_EQ(NewSession(), getpid());
    CHECK_EQ(NewSession(), -EPERM);
  });
}
