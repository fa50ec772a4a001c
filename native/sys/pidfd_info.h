// How a process ended that is no child of this one.
#ifndef PREFORK_SYS_PIDFD_INFO_H_
#define PREFORK_SYS_PIDFD_INFO_H_

namespace prefork::sys {

// The raw wait status of the process behind a pidfd, whoever reaped it (PIDFD_GET_INFO, Linux 6.15). −EAGAIN: it lives,
// or its parent has not reaped it yet; −ENOTSUP: this kernel does not tell; else −errno.
int PidfdExitStatus(int pidfd);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_PIDFD_INFO_H_
