#include "sys/shm.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/fds.h"
#include "sys/result.h"
#include "sys/syscalls.h"

namespace prefork::sys {

#ifdef __linux__

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1U
#define MFD_ALLOW_SEALING 2U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

int CreateMemfd(const char* name, int64_t bytes) {
  if (bytes < 0) return -EINVAL;
  // Not executable where the kernel can say so (Linux 6.3): some systems demand it.
  long opened = syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (opened < 0 && errno == EINVAL) opened = syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (opened < 0) return -errno;
  Fd fd(static_cast<int>(opened));
  if (ftruncate(fd.get(), bytes) < 0) return -errno;
  return fd.Release();
}

int AddSeals(int fd, unsigned seals) {
  int flags = 0;
  if (seals & kSealSeal) flags |= F_SEAL_SEAL;
  if (seals & kSealShrink) flags |= F_SEAL_SHRINK;
  if (seals & kSealGrow) flags |= F_SEAL_GROW;
  if (seals & kSealWrite) flags |= F_SEAL_WRITE;
  return Checked(fcntl(fd, F_ADD_SEALS, flags));
}

#else  // macOS, untested: a file without a name, which cannot be sealed

int CreateMemfd(const char*, int64_t bytes) {
  if (bytes < 0) return -EINVAL;
  char path[] = "/tmp/prefork-shm-XXXXXX";
  Fd fd(mkstemp(path));
  if (!fd.ok()) return -errno;
  unlink(path);
  int error = SetCloexec(fd.get(), true);
  if (error < 0) return error;
  if (ftruncate(fd.get(), bytes) < 0) return -errno;
  return fd.Release();
}

int AddSeals(int, unsigned) { return -ENOSYS; }

#endif

int MapShared(int fd, int64_t offset, size_t bytes, bool writable, void** address) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -errno;
  if (offset < 0 || bytes == 0) return -EINVAL;
  if (offset > status.st_size || bytes > static_cast<uint64_t>(status.st_size - offset)) return -ENXIO;
  int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* mapped = mmap(nullptr, bytes, protection, MAP_SHARED, fd, offset);
  if (mapped == MAP_FAILED) return -errno;
  *address = mapped;
  return 0;
}

int Unmap(void* address, size_t bytes) { return Checked(munmap(address, bytes)); }

}  // namespace prefork::sys
