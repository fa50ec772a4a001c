#include "sys/fds.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "sys/result.h"

namespace prefork::sys {

int CloseFd(int fd) {
  // After EINTR the descriptor is gone all the same (Linux, macOS): closing again could hit another's.
  if (close(fd) == 0 || errno == EINTR) return 0;
  return -errno;
}

int DupFd(int fd, int at_least) { return Checked(fcntl(fd, F_DUPFD_CLOEXEC, at_least)); }

int Dup2Fd(int from, int to) {
#ifdef __linux__
  if (from != to) {
    int fd = Uninterrupted([&] { return dup3(from, to, O_CLOEXEC); });
    return Checked(fd);
  }
#else
  if (from != to && Uninterrupted([&] { return dup2(from, to); }) < 0) return -errno;
#endif
  int error = SetCloexec(to, true);
  return error < 0 ? error : to;
}

int SetCloexec(int fd, bool on) {
  int flags = fcntl(fd, F_GETFD);
  if (flags < 0) return -errno;
  int wanted = on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
  return wanted == flags ? 0 : Checked(fcntl(fd, F_SETFD, wanted));
}

int SetNonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  return (flags & O_NONBLOCK) ? 0 : Checked(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

int LockFd(int fd, Lock lock, bool block) {
  int op = lock == Lock::kExclusive ? LOCK_EX : lock == Lock::kShared ? LOCK_SH : LOCK_UN;
  return Checked(Uninterrupted([&] { return flock(fd, block ? op : op | LOCK_NB); }));
}

}  // namespace prefork::sys
