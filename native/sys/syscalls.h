// System calls that the C library may lack a wrapper for, or whose wrapper does more than the call.
#ifndef PREFORK_SYS_SYSCALLS_H_
#define PREFORK_SYS_SYSCALLS_H_

#include <sys/types.h>

#ifdef __linux__
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// The same numbers on every architecture that Node runs on.
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

namespace prefork::sys {

constexpr unsigned kCloseRangeCloexec = 1u << 2;
constexpr int kIdTypePidfd = 3;  // P_PIDFD: an enumerator in some C libraries, absent in others
constexpr size_t kKernelSigsetBytes = 8;

inline long RawPidfdOpen(pid_t pid) { return syscall(SYS_pidfd_open, pid, 0); }

inline long RawCloseRange(unsigned first, unsigned last, unsigned flags) {
  return syscall(SYS_close_range, first, last, flags);
}

// waitid(2) with the fifth argument that the C library hides.
inline long RawWaitid(int type, id_t id, siginfo_t* info, int options, struct rusage* usage) {
  return syscall(SYS_waitid, type, id, info, options, usage);
}

}  // namespace prefork::sys
#endif  // __linux__

#endif  // PREFORK_SYS_SYSCALLS_H_
