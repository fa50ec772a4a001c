#include "sys/fork.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sys/fds.h"
#include "sys/result.h"
#include "sys/signals.h"
#include "sys/syscalls.h"

namespace prefork::sys {

namespace {

ForkResult PlainFork(int (*body)(void*), void* argument, Step* failed) {
  *failed = Step::kClone;
  pid_t pid = fork();
  if (pid == 0) ExitNow(body(argument));
  if (pid < 0) return {-errno, -1};
  int pidfd = PidfdOpen(pid);
  return {pid, pidfd < 0 ? -1 : pidfd};
}

#ifdef __linux__

constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kGuardBytes = 64 * 1024;  // the largest page

class Stack {
 public:
  Stack() : base_(mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {
    if (ok()) mprotect(base_, kGuardBytes, PROT_NONE);
  }
  ~Stack() {
    if (ok()) munmap(base_, kGuardBytes + kStackBytes);
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  bool ok() const { return base_ != MAP_FAILED; }
  void* top() const { return static_cast<char*>(base_) + kGuardBytes + kStackBytes; }

 private:
  void* base_;
};

#endif

}  // namespace

ForkResult ForkChild(Memory memory, int (*body)(void*), void* argument, Step* failed) {
#ifdef __linux__
  *failed = Step::kStack;
  Stack stack;
  if (!stack.ok()) return {-errno, -1};
  *failed = Step::kClone;
  int flags = CLONE_PIDFD | SIGCHLD | (memory == Memory::kShared ? CLONE_VM | CLONE_VFORK : 0);
  int pidfd = -1;
  pid_t pid = clone(body, stack.top(), flags, argument, &pidfd);
  if (pid > 0) {
    // Before Linux 5.2 the flag is ignored.
    if (pidfd < 0) pidfd = PidfdOpen(pid);
    return {pid, pidfd < 0 ? -1 : pidfd};
  }
  // Some sandboxes know fork alone.
  if (errno != EINVAL && errno != ENOSYS && errno != EPERM) return {-errno, -1};
#else
  (void)memory;
#endif
  return PlainFork(body, argument, failed);
}

void ExitNow(int code) {
#ifdef __linux__
  syscall(SYS_exit_group, code);
#else
  _exit(code);
#endif
}

void SendReport(int fd, ChildReport report) {
  // Smaller than PIPE_BUF, so never in part. With the parent gone there is nobody to tell.
  (void)!Uninterrupted([&] { return write(fd, &report, sizeof(report)); });
}

bool ReceiveReport(int fd, ChildReport* report) {
  return Uninterrupted([&] { return read(fd, report, sizeof(*report)); }) ==
         static_cast<ssize_t>(sizeof(*report));
}

int MakePipe(Fd* read_end, Fd* write_end) {
  int ends[2];
#ifdef __linux__
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
#else
  if (pipe(ends) < 0) return -errno;
  SetCloexec(ends[0], true);
  SetCloexec(ends[1], true);
#endif
  read_end->Reset(ends[0]);
  write_end->Reset(ends[1]);
  return 0;
}

}  // namespace prefork::sys
