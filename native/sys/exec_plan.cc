#include "sys/exec_plan.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "sys/result.h"
#include "sys/signals.h"
#include "sys/syscalls.h"

namespace prefork::sys {

namespace {

constexpr char kListenPid[] = "LISTEN_PID=";
constexpr size_t kPidDigits = 20;
constexpr int kHighestTarget = 65535;

const std::string* FindVariable(const std::vector<std::string>& env, const char* prefix) {
  for (const std::string& line : env) {
    if (line.compare(0, strlen(prefix), prefix) == 0) return &line;
  }
  return nullptr;
}

// As execvp(3): a name with a slash is a path, any other is looked for along PATH.
std::vector<std::string> Candidates(const std::string& file, const std::vector<std::string>& env) {
  if (file.empty() || file.find('/') != std::string::npos) return {file};
  const std::string* line = FindVariable(env, "PATH=");
  std::string path = line != nullptr ? line->substr(5) : "/usr/local/bin:/usr/bin:/bin";
  std::vector<std::string> candidates;
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find(':', at), path.size());
    std::string directory = path.substr(at, end - at);
    candidates.push_back((directory.empty() ? "." : directory) + "/" + file);
    at = end + 1;
  }
  return candidates;
}

// Decimal digits of a pid; async-signal-safe.
void WritePid(char* at, pid_t pid) {
  char digits[kPidDigits];
  size_t length = 0;
  for (; pid > 0; pid /= 10) digits[length++] = static_cast<char>('0' + pid % 10);
  while (length > 0) *at++ = digits[--length];
  *at = '\0';
}

#ifdef __linux__

// The raw calls change this thread alone. The C library's ask every thread of the process to follow, which
// after a fork are not there, and after CLONE_VM are the parent's.
#ifdef SYS_setresuid32
constexpr long kSetresuid = SYS_setresuid32, kSetresgid = SYS_setresgid32, kSetgroups = SYS_setgroups32;
#else
constexpr long kSetresuid = SYS_setresuid, kSetresgid = SYS_setresgid, kSetgroups = SYS_setgroups;
#endif

int ChangeGroups(const std::vector<gid_t>& groups) {
  if (syscall(kSetgroups, groups.size(), groups.data()) < 0) return -errno;
  int count = getgroups(0, nullptr);
  if (count < 0) return -errno;
  return static_cast<size_t>(count) == groups.size() ? 0 : -EPERM;
}

int ChangeGroup(gid_t gid) {
  if (syscall(kSetresgid, gid, gid, gid) < 0) return -errno;
  gid_t real, effective, saved;
  if (getresgid(&real, &effective, &saved) < 0) return -errno;
  return real == gid && effective == gid && saved == gid ? 0 : -EPERM;
}

int ChangeUser(uid_t uid) {
  if (syscall(kSetresuid, uid, uid, uid) < 0) return -errno;
  uid_t real, effective, saved;
  if (getresuid(&real, &effective, &saved) < 0) return -errno;
  return real == uid && effective == uid && saved == uid ? 0 : -EPERM;
}

// FD_CLOEXEC on the descriptors that /proc/self/fd lists, without the C library's opendir, which allocates.
int MarkListedCloexec() {
  struct Entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[1];
  };
  int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return -errno;
  alignas(8) char buffer[4096];
  for (;;) {
    long got = syscall(SYS_getdents64, directory, buffer, sizeof(buffer));
    if (got <= 0) {
      int error = got < 0 ? -errno : 0;
      close(directory);
      return error;
    }
    for (long at = 0; at < got;) {
      const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->length;
      int fd = 0;
      const char* name = buffer + (at - entry->length) + offsetof(Entry, name);
      if (*name < '0' || *name > '9') continue;
      for (; *name >= '0' && *name <= '9'; name++) fd = fd * 10 + (*name - '0');
      fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
  }
}

#else  // macOS, untested

int ChangeGroups(const std::vector<gid_t>& groups) {
  return Checked(setgroups(static_cast<int>(groups.size()), groups.data()));
}

int ChangeGroup(gid_t gid) {
  if (setregid(gid, gid) < 0) return -errno;
  return getgid() == gid && getegid() == gid ? 0 : -EPERM;
}

int ChangeUser(uid_t uid) {
  if (setreuid(uid, uid) < 0) return -errno;
  return getuid() == uid && geteuid() == uid ? 0 : -EPERM;
}

#endif

}  // namespace

const char* StepName(Step step) {
  switch (step) {
    case Step::kNone: return "none";
    case Step::kPlacement: return "fds";
    case Step::kOpen: return "open";
    case Step::kDup: return "fcntl";
    case Step::kPipe: return "pipe2";
    case Step::kStack: return "mmap";
    case Step::kClone: return "clone";
    case Step::kSetsid: return "setsid";
    case Step::kSetpgid: return "setpgid";
    case Step::kSetrlimit: return "setrlimit";
    case Step::kChdir: return "chdir";
    case Step::kSetgroups: return "setgroups";
    case Step::kSetgid: return "setgid";
    case Step::kSetuid: return "setuid";
    case Step::kNoNewPrivs: return "prctl(PR_SET_NO_NEW_PRIVS)";
    case Step::kDeathSignal: return "prctl(PR_SET_PDEATHSIG)";
    case Step::kGetppid: return "getppid";
    case Step::kCloseRange: return "close_range";
    case Step::kDup2: return "dup2";
    case Step::kExecve: return "execve";
  }
  return "unknown";
}

ExecPlan::ExecPlan(const SpawnSpec& spec)
    : spec_(spec), candidates_(Candidates(spec.file, spec.env)), env_(spec.env) {
  for (const std::string& arg : spec.args) argv_.push_back(const_cast<char*>(arg.c_str()));
  argv_.push_back(nullptr);
  for (std::string& line : env_) {
    if (line == kListenPid) line.append(kPidDigits + 1, '\0');
    envp_.push_back(&line[0]);
    if (line.size() > sizeof(kListenPid) && line.compare(0, sizeof(kListenPid), kListenPid, sizeof(kListenPid)) == 0) {
      listen_pid_ = &line[sizeof(kListenPid) - 1];
    }
  }
  envp_.push_back(nullptr);
}

int ExecPlan::Prepare(Step* failed) {
  std::set<int> targets;
  *failed = Step::kPlacement;
  for (const auto& [source, target] : spec_.fds) {
    if (target < 0 || target > kHighestTarget || !targets.insert(target).second) return -EINVAL;
    if (source < 0) return -EBADF;
    highest_target_ = std::max(highest_target_, target);
  }

  *failed = Step::kDup;
  for (const auto& [source, target] : spec_.fds) {
    // Moved out of the way in the parent, so that the child's placements cannot overwrite one another.
    int clear = source;
    if (source <= highest_target_) {
      clear = fcntl(source, F_DUPFD_CLOEXEC, highest_target_ + 1);
      if (clear < 0) return -errno;
      moved_.emplace_back(clear);
    } else if (fcntl(source, F_GETFD) < 0) {
      return -errno;
    }
    placements_.emplace_back(clear, target);
  }

  *failed = Step::kOpen;
  Fd null;
  for (int target = 0; target <= 2; target++) {
    if (targets.count(target)) continue;
    if (!null.ok()) {
      null.Reset(open("/dev/null", O_RDWR | O_CLOEXEC));
      if (!null.ok()) return -errno;
      int error = MoveClear(&null);
      if (error < 0) return error;
    }
    placements_.emplace_back(null.get(), target);
  }
  if (null.ok()) moved_.push_back(std::move(null));

  struct rlimit limit;
  fd_limit_ = 1 << 20;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < static_cast<rlim_t>(fd_limit_)) {
    fd_limit_ = static_cast<int>(limit.rlim_cur);
  }
  return 0;
}

int ExecPlan::MoveClear(Fd* fd) const {
  if (fd->get() > highest_target_) return 0;
  int moved = fcntl(fd->get(), F_DUPFD_CLOEXEC, highest_target_ + 1);
  if (moved < 0) return -errno;
  fd->Reset(moved);
  return 0;
}

int ExecPlan::Run(pid_t parent, Step* failed) {
  ResetDispositions();
  if (spec_.ignore_sigpipe) Ignore(SIGPIPE);
  int error = EnterProcessGroup(failed);
  if (error == 0) error = ApplyLimits(failed);
  if (error == 0) error = DropPrivileges(failed);
  if (error == 0) error = ArmDeathSignal(parent, failed);
  if (error == 0) error = PlaceDescriptors(failed);
  if (error == 0) error = Exec(failed);
  return error;
}

int ExecPlan::EnterProcessGroup(Step* failed) const {
  *failed = Step::kSetsid;
  if (spec_.setsid && setsid() < 0) return -errno;
  *failed = Step::kSetpgid;
  if (spec_.setpgid && setpgid(0, 0) < 0) return -errno;
  return 0;
}

int ExecPlan::ApplyLimits(Step* failed) const {
  *failed = Step::kSetrlimit;
  for (const ResourceLimit& entry : spec_.limits) {
    // The type of the first parameter is an enumeration in glibc for C++.
    if (setrlimit(static_cast<decltype(RLIMIT_CORE)>(entry.resource), &entry.limit) < 0) return -errno;
  }
  if (spec_.umask) umask(*spec_.umask);
  *failed = Step::kChdir;
  return spec_.cwd ? Checked(chdir(spec_.cwd->c_str())) : 0;
}

int ExecPlan::DropPrivileges(Step* failed) const {
  *failed = Step::kSetgroups;
  int error = spec_.groups ? ChangeGroups(*spec_.groups) : 0;
  if (error < 0) return error;
  *failed = Step::kSetgid;
  error = spec_.gid ? ChangeGroup(*spec_.gid) : 0;
  if (error < 0) return error;
  *failed = Step::kSetuid;
  error = spec_.uid ? ChangeUser(*spec_.uid) : 0;
  if (error < 0) return error;
#ifdef __linux__
  *failed = Step::kNoNewPrivs;
  if (spec_.no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  return 0;
#else
  *failed = Step::kNoNewPrivs;
  return spec_.no_new_privs ? -ENOTSUP : 0;
#endif
}

// After the change of user, which clears it.
int ExecPlan::ArmDeathSignal(pid_t parent, Step* failed) const {
  *failed = Step::kDeathSignal;
  if (spec_.death_signal == 0) return 0;
#ifdef __linux__
  if (prctl(PR_SET_PDEATHSIG, spec_.death_signal, 0, 0, 0) < 0) return -errno;
  *failed = Step::kGetppid;
  // It died before the signal was armed: nobody would ever send it.
  return parent != 0 && getppid() != parent ? -ESRCH : 0;
#else
  (void)parent;
  return -ENOTSUP;
#endif
}

int ExecPlan::PlaceDescriptors(Step* failed) const {
  *failed = Step::kCloseRange;
  int error = MarkAllCloexec();
  if (error < 0) return error;
  *failed = Step::kDup2;
  for (const auto& [source, target] : placements_) {
    // dup2 clears FD_CLOEXEC on the copy: on exactly these.
    if (Uninterrupted([&, s = source, t = target] { return dup2(s, t); }) < 0) return -errno;
  }
  return 0;
}

int ExecPlan::MarkAllCloexec() const {
#ifdef __linux__
  if (RawCloseRange(0, ~0u, kCloseRangeCloexec) == 0) return 0;
  if (MarkListedCloexec() == 0) return 0;
#endif
  for (int fd = 0; fd < fd_limit_; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);  // EBADF where none is open
  return 0;
}

int ExecPlan::Exec(Step* failed) {
  *failed = Step::kExecve;
  if (listen_pid_ != nullptr) WritePid(listen_pid_, getpid());
  UnblockAll();
  bool denied = false;
  int error = ENOENT;
  for (const std::string& path : candidates_) {
    execve(path.c_str(), argv_.data(), envp_.data());
    error = errno;
    if (error == EACCES) denied = true;
    if (error != EACCES && error != ENOENT && error != ENOTDIR) return -error;
  }
  return denied ? -EACCES : -error;
}

}  // namespace prefork::sys
