#include "sys/pidfd_info.h"

#include <errno.h>
#include <signal.h>

#include "check.h"
#include "sys/signals.h"

using prefork::sys::PidfdExitStatus;
using prefork::sys::PidfdOpen;

namespace {

// The status that another process' child left, told after that process has reaped it.
int StatusOfGrandchild(void (*end)()) {
  int ready[2], go[2];
  if (pipe(ready) < 0 || pipe(go) < 0) return -errno;
  pid_t parent = fork();
  if (parent == 0) {
    pid_t child = fork();
    if (child == 0) {
      char byte;
      (void)!read(go[0], &byte, 1);
      end();
    }
    (void)!write(ready[1], &child, sizeof(child));
    waitpid(child, nullptr, 0);
    _exit(0);
  }
  pid_t child = -1;
  (void)!read(ready[0], &child, sizeof(child));
  int pidfd = PidfdOpen(child);
  int alive = PidfdExitStatus(pidfd);
  (void)!write(go[1], "x", 1);
  waitpid(parent, nullptr, 0);
  int status = PidfdExitStatus(pidfd);
  for (int fd : {ready[0], ready[1], go[0], go[1], pidfd}) close(fd);
  // An older kernel says so in both cases.
  CHECK(alive == -EAGAIN || (alive == -ENOTSUP && status == -ENOTSUP));
  return status;
}

}  // namespace

TEST(TellsHowAProcessEndedThatIsNoChild) {
  int exited = StatusOfGrandchild([] { _exit(7); });
  CHECK(exited == 7 << 8 || exited == -ENOTSUP);
  int killed = StatusOfGrandchild([] { raise(SIGKILL); });
  CHECK(killed == SIGKILL || killed == -ENOTSUP);
}

TEST(RefusesWhatIsNoPidfd) {
  CHECK_EQ(PidfdExitStatus(-1), -EBADF);
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK_EQ(PidfdExitStatus(fd), -ENOTSUP);
  close(fd);
}
