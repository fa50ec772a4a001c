#include "sys/pidfd_info.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

namespace prefork::sys {

#ifdef __linux__

namespace {

// struct pidfd_info of <linux/pidfd.h> in its first form (64 bytes); later kernels take it as well.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t pid, tgid, ppid;
  uint32_t ids[8];
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64, "the kernel knows it by its size");

constexpr uint64_t kInfoExit = uint64_t{1} << 3;
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);

}  // namespace

int PidfdExitStatus(int pidfd) {
  PidfdInfo info;
  memset(&info, 0, sizeof(info));
  info.mask = kInfoExit;
  if (ioctl(pidfd, kGetInfo, &info) < 0) {
    // ENOTTY, EINVAL: a kernel before 6.13. ESRCH: one before 6.15, which forgets who was reaped.
    return errno == ENOTTY || errno == EINVAL || errno == ESRCH ? -ENOTSUP : -errno;
  }
  return (info.mask & kInfoExit) != 0 ? info.exit_code : -EAGAIN;
}

#else

int PidfdExitStatus(int) { return -ENOTSUP; }

#endif

}  // namespace prefork::sys
