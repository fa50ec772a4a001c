#include "sys/features.h"

#include <sys/wait.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/result.h"
#include "sys/shm.h"
#include "sys/signals.h"
#include "sys/syscalls.h"

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

namespace prefork::sys {

Features DetectFeatures() {
  Features features = {};
  Fd memory(CreateMemfd("prefork-probe", 0));
  features.memfd = memory.ok();
#ifdef __linux__
  features.platform = "linux";
  Fd self(PidfdOpen(getpid()));
  features.pidfd = self.ok();
  siginfo_t info;
  // ECHILD, since a process is not its own child; EINVAL from a kernel that does not know the type.
  features.waitid_pidfd = self.ok() &&
                          RawWaitid(kIdTypePidfd, static_cast<id_t>(self.get()), &info, WEXITED | WNOHANG, nullptr) < 0 &&
                          errno == ECHILD;
  features.close_range = RawCloseRange(~0u, ~0u, kCloseRangeCloexec) == 0;
#else
  features.platform = "darwin";
  features.memfd = false;
#endif
#if defined(__GLIBC__)
  features.libc = std::string("glibc ") + gnu_get_libc_version();
#elif defined(__linux__)
  features.libc = "musl";
#else
  features.libc = "libSystem";
#endif
  return features;
}

}  // namespace prefork::sys
