// Each step between fork and exec, those that fail included, and what a child does and does not inherit.
#define PREFORK_TEST_OWN_MAIN
#include "sys/spawn.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <map>

#include "check.h"
#include "old_kernel.h"
#include "sys/children.h"
#include "sys/fork.h"
#include "sys/reap.h"

using namespace prefork::sys;

namespace {

constexpr uid_t kNobody = 65534;

SpawnSpec Program(std::vector<std::string> args) {
  SpawnSpec spec;
  spec.file = args[0];
  spec.args = std::move(args);
  spec.env = {"PATH=/usr/bin:/bin"};
  return spec;
}

SpawnSpec Shell(const std::string& script) { return Program({"/bin/sh", "-c", script}); }

int ReapStatus(const SpawnResult& spawned) {
  WaitResult result;
  CHECK_EQ(WaitPid(spawned.pid, spawned.pidfd, false, &result), 1);
  CHECK_EQ(result.pid, spawned.pid);
  if (spawned.pidfd >= 0) close(spawned.pidfd);
  return result.status;
}

// What it writes to descriptor 1.
std::string Output(SpawnSpec spec) {
  Fd read_end, write_end;
  MakePipe(&read_end, &write_end);
  spec.fds.emplace_back(write_end.get(), 1);
  SpawnResult spawned = Spawn(spec);
  write_end.Reset(-1);
  if (spawned.error < 0) {
    Report(__FILE__, __LINE__, std::string("spawn: ") + StepName(spawned.step) + ": " + strerror(-spawned.error));
    return "";
  }
  std::string text = ReadAll(read_end.get());
  CHECK_EQ(ReapStatus(spawned), 0);
  return text;
}

void CheckFails(const SpawnSpec& spec, Step step, int error) {
  std::string before = OpenFds();
  SpawnResult spawned = Spawn(spec);
  CHECK_EQ(std::string(StepName(spawned.step)), std::string(StepName(step)));
  CHECK_EQ(spawned.error, error);
  CHECK_EQ(spawned.pid, -1);
  CHECK_EQ(OpenFds(), before);
  CHECK(waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD);
}

std::string Identity(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0) return "closed";
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

// In the child: "number identity" for every open descriptor, written to the last one.
int ListFds() {
  std::string list;
  std::string open = OpenFds();
  int last = 0;
  std::istringstream numbers(open);
  for (int fd; numbers >> fd;) {
    list += std::to_string(fd) + " " + Identity(fd) + "\n";
    last = fd > last ? fd : last;
  }
  return write(last, list.data(), list.size()) == static_cast<ssize_t>(list.size()) ? 0 : 1;
}

// Spawns with those placements, given as numbers of this process, and checks that exactly they arrive.
void CheckPlacement(std::vector<std::pair<int, int>> fds) {
  Fd read_end, write_end;
  MakePipe(&read_end, &write_end);
  fds.emplace_back(write_end.get(), 50);
  std::map<int, std::string> expected;
  Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; fd <= 2; fd++) expected[fd] = Identity(null.get());
  for (const auto& [source, target] : fds) expected[target] = Identity(source);
  std::string text;
  for (const auto& [fd, identity] : expected) text += std::to_string(fd) + " " + identity + "\n";

  SpawnSpec spec = Program({"/proc/self/exe", "list-fds"});
  spec.fds = fds;
  SpawnResult spawned = Spawn(spec);
  CHECK_EQ(spawned.error, 0);
  write_end.Reset(-1);
  CHECK_EQ(ReadAll(read_end.get()), text);
  if (spawned.pid > 0) CHECK_EQ(ReapStatus(spawned), 0);
}

}  // namespace

TEST(runs_and_reports_the_status) {
  SpawnResult spawned = Spawn(Shell("exit 7"));
  CHECK(spawned.pidfd >= 0);
  CHECK(fcntl(spawned.pidfd, F_GETFD) & FD_CLOEXEC);
  CHECK(IsOwnChild(spawned.pid));
  CHECK_EQ(ReapStatus(spawned), 7 << 8);
  CHECK(!IsOwnChild(spawned.pid));
}

TEST(finds_programs_along_the_path) {
  TempDirectory directory;
  CHECK_EQ(Output(Program({"echo", "a b", ""})), std::string("a b \n"));
  CHECK_EQ(close(open((directory / "tool").c_str(), O_CREAT | O_WRONLY, 0600)), 0);
  SpawnSpec spec = Program({"tool"});
  spec.env = {"PATH=/nonexistent:" + directory.path() + "::/usr/bin"};
  CheckFails(spec, Step::kExecve, -EACCES);  // rather than the ENOENT of the last
  spec.file = "no-such-tool";
  CheckFails(spec, Step::kExecve, -ENOENT);
  spec.file = "";
  CheckFails(spec, Step::kExecve, -ENOENT);
  spec = Program({"sh", "-c", "exit 0"});
  spec.env = {};
  CHECK_EQ(ReapStatus(Spawn(spec)), 0);  // the default path
}

TEST(names_the_step_of_execve) {
  TempDirectory directory;
  std::string script = directory / "script";
  int fd = open(script.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
  CHECK_EQ(write(fd, "exit 0\n", 7), 7);
  close(fd);
  CheckFails(Program({script}), Step::kExecve, -ENOEXEC);
  CheckFails(Program({"/nonexistent"}), Step::kExecve, -ENOENT);
  CheckFails(Program({"/etc/passwd/x"}), Step::kExecve, -ENOTDIR);
  CheckFails(Program({"/etc/passwd"}), Step::kExecve, -EACCES);
  CheckFails(Program({"/bin/sh", std::string(10 << 20, 'x')}), Step::kExecve, -E2BIG);
}

TEST(names_the_other_steps_that_fail) {
  SpawnSpec spec = Shell("exit 0");
  spec.cwd = "/nonexistent";
  CheckFails(spec, Step::kChdir, -ENOENT);

  spec = Shell("exit 0");
  spec.setsid = spec.setpgid = true;  // the leader of a session cannot leave its group
  CheckFails(spec, Step::kSetpgid, -EPERM);

  spec = Shell("exit 0");
  spec.limits = {{RLIMIT_CORE, {2, 1}}};  // soft above hard
  CheckFails(spec, Step::kSetrlimit, -EINVAL);

  spec = Shell("exit 0");
  spec.death_signal = 1000;
  CheckFails(spec, Step::kDeathSignal, -EINVAL);

  spec = Shell("exit 0");
  spec.fds = {{1, 5}, {2, 5}};
  CheckFails(spec, Step::kPlacement, -EINVAL);
  spec.fds = {{1, -1}};
  CheckFails(spec, Step::kPlacement, -EINVAL);
  spec.fds = {{-1, 5}};
  CheckFails(spec, Step::kPlacement, -EBADF);
  spec.fds = {{999, 5}};
  CheckFails(spec, Step::kDup, -EBADF);
  spec.fds = {{999, 1000}};
  CheckFails(spec, Step::kDup, -EBADF);
}

TEST(names_the_steps_of_credentials) {
  if (getuid() != 0) return;
  InProcess([] {
    CHECK_EQ(setresuid(kNobody, kNobody, kNobody), 0);
    SpawnSpec spec = Shell("exit 0");
    spec.groups = std::vector<gid_t>{1};
    CheckFails(spec, Step::kSetgroups, -EPERM);
    spec = Shell("exit 0");
    spec.gid = 1;
    CheckFails(spec, Step::kSetgid, -EPERM);
    spec = Shell("exit 0");
    spec.uid = 1;
    CheckFails(spec, Step::kSetuid, -EPERM);
    spec = Shell("exit 0");
    spec.limits = {{RLIMIT_NPROC, {RLIM_INFINITY, RLIM_INFINITY}}};
    struct rlimit now;
    getrlimit(RLIMIT_NPROC, &now);
    if (now.rlim_max != RLIM_INFINITY) CheckFails(spec, Step::kSetrlimit, -EPERM);
  });
}

TEST(reports_want_of_processes_and_descriptors) {
  InProcess([] {
    struct rlimit few = {16, 16};
    setrlimit(RLIMIT_NOFILE, &few);
    std::vector<int> opened;
    for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) opened.push_back(fd);
    CheckFails(Shell("exit 0"), Step::kOpen, -EMFILE);
    // One more free each time: open and the copy above the targets, the pipe, the pidfd.
    for (size_t free = 1; free <= 5; free++) {
      close(opened[opened.size() - free]);
      SpawnResult spawned = Spawn(Shell("exit 0"));
      if (spawned.error < 0) {
        CHECK_EQ(spawned.error, -EMFILE);
        CHECK(spawned.step == Step::kOpen || spawned.step == Step::kDup || spawned.step == Step::kPipe ||
              spawned.step == Step::kClone);
      } else {
        CHECK_EQ(ReapStatus(spawned), 0);
        CHECK(free >= 4);
        return;
      }
    }
    Report(__FILE__, __LINE__, "five free descriptors should be enough");
  });
  if (getuid() != 0) return;
  InProcess([] {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_NPROC, &none);
    CHECK_EQ(setresuid(kNobody, kNobody, kNobody), 0);
    CheckFails(Shell("exit 0"), Step::kClone, -EAGAIN);
  });
}

TEST(sees_a_dead_parent) {
  // ExecPlan is asked for a parent that this process does not have.
  InProcess([] {
    SpawnSpec spec = Shell("exit 0");
    spec.death_signal = SIGTERM;
    ExecPlan plan(spec);
    Step step;
    CHECK_EQ(plan.Prepare(&step), 0);
    CHECK_EQ(plan.Run(getpid(), &step), -ESRCH);
    CHECK(step == Step::kGetppid);
  });
}

TEST(places_descriptors_that_overlap) {
  Fd a(open("/etc/passwd", O_RDONLY | O_CLOEXEC)), b(open("/etc/group", O_RDONLY | O_CLOEXEC));
  Fd c(open("/", O_RDONLY | O_CLOEXEC));
  int x = a.get(), y = b.get(), z = c.get();
  CheckPlacement({{x, y}, {y, x}});
  CheckPlacement({{x, y}, {y, z}, {z, x}});
  CheckPlacement({{x, x}, {y, y}, {z, z}});
  CheckPlacement({{x, 0}, {y, 1}, {z, 2}});
  CheckPlacement({{x, 1}, {y, 0}, {x, 2}, {x, y}, {z, 3}});
  // Over whatever the error pipe, /dev/null and the temporary copies could get.
  std::vector<std::pair<int, int>> many;
  for (int target = 3; target < 40; target++) many.emplace_back(target % 2 ? x : y, target);
  CheckPlacement(many);
}

TEST(passes_nothing_else) {
  std::vector<Fd> leaky;
  for (int i = 0; i < 20; i++) leaky.emplace_back(open("/dev/null", O_RDONLY));
  Fd far(fcntl(leaky[0].get(), F_DUPFD, 900));
  CheckPlacement({});
  CheckPlacement({{leaky[3].get(), 7}});
  CHECK_EQ(fcntl(far.get(), F_GETFD), 0);  // this process's own flags are untouched
}

TEST(resets_signals) {
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGRTMAX, SIG_IGN);
  signal(SIGUSR1, [](int) {});
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  sigaddset(&blocked, SIGRTMIN);
  sigprocmask(SIG_SETMASK, &blocked, &before);
  std::string status = Output(Program({"/bin/cat", "/proc/self/status"}));
  for (const char* line : {"SigBlk:\t0000000000000000\n", "SigIgn:\t0000000000000000\n", "SigCgt:\t0000000000000000\n"}) {
    CHECK(status.find(line) != std::string::npos);
  }
  sigset_t after;
  sigprocmask(SIG_SETMASK, &before, &after);
  CHECK(sigismember(&after, SIGUSR2) && !sigismember(&after, SIGTERM));
  for (int signal_number : {SIGINT, SIGPIPE, SIGRTMAX, SIGUSR1}) signal(signal_number, SIG_DFL);
}

TEST(tells_the_child_its_own_pid) {
  SpawnSpec spec = Shell("echo $$ $LISTEN_PID $OTHER");
  spec.env = {"LISTEN_PIDX=1", "LISTEN_PID=", "OTHER=LISTEN_PID="};
  std::string text = Output(spec);
  std::istringstream words(text);
  std::string pid, listen_pid, other;
  words >> pid >> listen_pid >> other;
  CHECK_EQ(pid, listen_pid);
  CHECK_EQ(other, std::string("LISTEN_PID="));
  spec.env = {"LISTEN_PID=12"};
  CHECK(Output(spec).find(" 12\n") != std::string::npos);
}

TEST(applies_directory_umask_limits_and_session) {
  SpawnSpec spec = Shell("pwd; umask; ulimit -n; ulimit -c; cut -d' ' -f5,6 /proc/$$/stat; echo $$");
  spec.cwd = "/usr";
  spec.umask = 0027;
  spec.limits = {{RLIMIT_NOFILE, {77, 88}}, {RLIMIT_CORE, {0, 0}}};
  spec.setsid = true;
  std::string text = Output(spec);
  std::istringstream lines(text);
  std::string pwd, mask;
  long files, core, group, session, pid;
  lines >> pwd >> mask >> files >> core >> group >> session >> pid;
  CHECK_EQ(pwd, std::string("/usr"));
  CHECK_EQ(mask, std::string("0027"));
  CHECK_EQ(files, 77L);
  CHECK_EQ(core, 0L);
  CHECK_EQ(group, pid);
  CHECK_EQ(session, pid);

  spec = Shell("cut -d' ' -f5,6 /proc/$$/stat; echo $$");
  spec.setpgid = true;
  std::istringstream again(Output(spec));
  again >> group >> session >> pid;
  CHECK_EQ(group, pid);
  CHECK_EQ(session, static_cast<long>(getsid(0)));
}

TEST(drops_privileges_without_harm_to_the_parent) {
  if (getuid() != 0) return;
  SpawnSpec spec = Program({"/bin/grep", "-E", "^(Uid|Gid|Groups|CapPrm|NoNewPrivs)", "/proc/self/status"});
  spec.uid = spec.gid = kNobody;
  spec.groups = std::vector<gid_t>{1, 2};
  spec.no_new_privs = true;
  std::string text = Output(spec);
  CHECK(text.find("Uid:\t65534\t65534\t65534\t65534\n") != std::string::npos);
  CHECK(text.find("Gid:\t65534\t65534\t65534\t65534\n") != std::string::npos);
  CHECK(text.find("Groups:\t1 2 \n") != std::string::npos);
  CHECK(text.find("CapPrm:\t0000000000000000\n") != std::string::npos);
  CHECK(text.find("NoNewPrivs:\t1\n") != std::string::npos);
  CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
  CHECK_EQ(getuid(), 0u);
}

TEST(dies_with_its_parent_also_as_another_user) {
  for (bool drop : {false, true}) {
    if (drop && getuid() != 0) continue;
    Fd read_end, write_end;
    MakePipe(&read_end, &write_end);
    InProcess([&] {
      SpawnSpec spec = Program({"sleep", "1000"});
      spec.fds = {{write_end.get(), 1}};
      spec.death_signal = SIGKILL;
      if (drop) spec.uid = spec.gid = kNobody;
      CHECK_EQ(Spawn(spec).error, 0);
    });
    write_end.Reset(-1);
    CHECK_EQ(ReadAll(read_end.get()), std::string());  // end of file: it has died, the alarm would end a wait
  }
}

TEST(works_on_older_kernels_and_in_sandboxes) {
  const std::vector<std::vector<Refusal>> kernels = {
      {{SYS_close_range, ENOSYS}},
      {{SYS_close_range, EINVAL}, {SYS_pidfd_open, ENOSYS}},
      {{SYS_close_range, EPERM}, {SYS_getdents64, ENOSYS}},
      {{SYS_clone, EPERM, 0, CLONE_PIDFD}},
      {{SYS_clone, EINVAL, 0, CLONE_PIDFD}, {SYS_pidfd_open, ENOSYS}},
      {{SYS_waitid, EINVAL}},
  };
  for (const auto& kernel : kernels) {
    InProcess([&] {
      Fd leaky(open("/dev/null", O_RDONLY));
      Fd read_end, write_end;
      MakePipe(&read_end, &write_end);
      CHECK(RefuseSyscalls(kernel));
      SpawnSpec spec = Shell("for fd in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && echo open $fd; done; exit 3");
      spec.fds = {{write_end.get(), 1}, {write_end.get(), 5}};
      SpawnResult spawned = Spawn(spec);
      CHECK_EQ(spawned.error, 0);
      write_end.Reset(-1);
      CHECK_EQ(ReadAll(read_end.get()), std::string("open 5\n"));
      CHECK_EQ(ReapStatus(spawned), 3 << 8);
      CheckFails(Program({"/nonexistent"}), Step::kExecve, -ENOENT);
    });
  }
}

TEST(leaves_nothing_behind_after_many) {
  for (int i = 0; i < 200; i++) {
    SpawnResult good = Spawn(Program({"/bin/true"}));
    CHECK_EQ(ReapStatus(good), 0);
    SpawnResult bad = Spawn(Program({"/nonexistent"}));
    CHECK_EQ(bad.error, -ENOENT);
  }
  CHECK(OwnChildren().empty());
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "list-fds") == 0) return ListFds();
  return RunAll();
}
