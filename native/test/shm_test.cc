// Memory files, seals, mappings.
#include "sys/shm.h"

#include <sys/mman.h>

#include "check.h"
#include "old_kernel.h"
#include "sys/fd.h"
#include "sys/features.h"

using namespace prefork::sys;

TEST(shares_memory) {
  Fd fd(CreateMemfd("test", 8192));
  CHECK(fd.ok());
  CHECK(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
  void *a, *b;
  CHECK_EQ(MapShared(fd.get(), 0, 8192, true, &a), 0);
  CHECK_EQ(MapShared(fd.get(), 4096, 4096, false, &b), 0);
  static_cast<char*>(a)[4096] = 'x';
  CHECK_EQ(static_cast<char*>(b)[0], 'x');
  CHECK_EQ(Unmap(a, 8192), 0);
  CHECK_EQ(Unmap(b, 4096), 0);
}

TEST(refuses_mappings_that_would_end_the_process) {
  Fd fd(CreateMemfd("test", 4096));
  void* address;
  CHECK_EQ(MapShared(fd.get(), 0, 4097, true, &address), -ENXIO);
  CHECK_EQ(MapShared(fd.get(), 8192, 1, true, &address), -ENXIO);
  CHECK_EQ(MapShared(fd.get(), 0, 0, true, &address), -EINVAL);
  CHECK_EQ(MapShared(fd.get(), 1, 100, true, &address), -EINVAL);
  CHECK_EQ(MapShared(-1, 0, 1, true, &address), -EBADF);
  CHECK_EQ(CreateMemfd("test", -1), -EINVAL);
}

TEST(seals) {
  Fd fd(CreateMemfd("test", 4096));
  void* address;
  CHECK_EQ(MapShared(fd.get(), 0, 4096, true, &address), 0);
  CHECK_EQ(AddSeals(fd.get(), kSealWrite), -EBUSY);
  CHECK_EQ(AddSeals(fd.get(), kSealShrink | kSealGrow), 0);
  CHECK(ftruncate(fd.get(), 0) < 0 && errno == EPERM);
  CHECK(ftruncate(fd.get(), 8192) < 0 && errno == EPERM);
  CHECK_EQ(Unmap(address, 4096), 0);
  CHECK_EQ(AddSeals(fd.get(), kSealWrite | kSealSeal), 0);
  CHECK(pwrite(fd.get(), "x", 1, 0) < 0 && errno == EPERM);
  CHECK_EQ(AddSeals(fd.get(), kSealGrow), -EPERM);
  CHECK_EQ(MapShared(fd.get(), 0, 4096, true, &address), -EPERM);
}

TEST(works_without_the_newest_flag) {
  InProcess([] {
    CHECK(RefuseSyscalls({{SYS_memfd_create, EINVAL, 1, 8}}));
    Fd fd(CreateMemfd("test", 4096));
    CHECK(fd.ok());
    CHECK_EQ(AddSeals(fd.get(), kSealShrink), 0);
  });
}

TEST(detects_what_the_kernel_can) {
  Features features = DetectFeatures();
  CHECK(features.memfd && features.pidfd && features.waitid_pidfd && features.close_range);
  CHECK_EQ(features.platform, std::string("linux"));
  CHECK(!features.libc.empty());
  InProcess([] {
    CHECK(RefuseSyscalls({{SYS_close_range, ENOSYS}, {SYS_waitid, EINVAL}, {SYS_memfd_create, ENOSYS}}));
    Features old = DetectFeatures();
    CHECK(old.pidfd && !old.waitid_pidfd && !old.close_range && !old.memfd);
  });
  InProcess([] {
    CHECK(RefuseSyscalls({{SYS_pidfd_open, EPERM}}));
    Features old = DetectFeatures();
    CHECK(!old.pidfd && !old.waitid_pidfd);
  });
}
