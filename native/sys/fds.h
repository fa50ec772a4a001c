// Descriptors: flags, duplication, locks.
#ifndef PREFORK_SYS_FDS_H_
#define PREFORK_SYS_FDS_H_

namespace prefork::sys {

int CloseFd(int fd);
// dup to the lowest free number ≥ at_least, FD_CLOEXEC.
int DupFd(int fd, int at_least);
// dup2 whose result is FD_CLOEXEC, also when `from` is `to`.
int Dup2Fd(int from, int to);
int SetCloexec(int fd, bool on);
int SetNonblocking(int fd);

enum class Lock { kExclusive, kShared, kUnlock };
// flock(2): −EWOULDBLOCK where it is held and `block` is false.
int LockFd(int fd, Lock lock, bool block);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_FDS_H_
