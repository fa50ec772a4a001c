// Flags, copies, locks, and the signal mask.
#include "sys/fds.h"

#include <signal.h>

#include "check.h"
#include "sys/fd.h"
#include "sys/signals.h"

using namespace prefork::sys;

static bool HasCloexec(int fd) { return fcntl(fd, F_GETFD) & FD_CLOEXEC; }

TEST(sets_and_clears_cloexec) {
  Fd fd(open("/dev/null", O_RDONLY));
  CHECK(!HasCloexec(fd.get()));
  CHECK_EQ(SetCloexec(fd.get(), true), 0);
  CHECK(HasCloexec(fd.get()));
  CHECK_EQ(SetCloexec(fd.get(), true), 0);
  CHECK_EQ(SetCloexec(fd.get(), false), 0);
  CHECK(!HasCloexec(fd.get()));
  CHECK_EQ(SetCloexec(-1, true), -EBADF);
}

TEST(copies) {
  Fd fd(open("/dev/null", O_RDONLY));
  Fd copy(DupFd(fd.get(), 100));
  CHECK(copy.get() >= 100 && HasCloexec(copy.get()));
  CHECK_EQ(DupFd(-1, 0), -EBADF);
  CHECK_EQ(DupFd(fd.get(), 1 << 30), -EINVAL);
  CHECK_EQ(Dup2Fd(fd.get(), copy.get()), copy.get());
  CHECK(HasCloexec(copy.get()));
  CHECK_EQ(Dup2Fd(fd.get(), fd.get()), fd.get());
  CHECK(HasCloexec(fd.get()));
  CHECK_EQ(Dup2Fd(999, 5), -EBADF);
  CHECK_EQ(Dup2Fd(999, 999), -EBADF);
}

TEST(closes_once) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK_EQ(CloseFd(fd), 0);
  CHECK_EQ(CloseFd(fd), -EBADF);
}

TEST(locks) {
  TempDirectory directory;
  std::string path = directory / "lock";
  Fd a(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)), b(open(path.c_str(), O_RDWR | O_CLOEXEC));
  CHECK_EQ(LockFd(a.get(), Lock::kShared, false), 0);
  CHECK_EQ(LockFd(b.get(), Lock::kShared, false), 0);
  CHECK_EQ(LockFd(b.get(), Lock::kExclusive, false), -EWOULDBLOCK);
  CHECK_EQ(LockFd(b.get(), Lock::kUnlock, false), 0);
  CHECK_EQ(LockFd(a.get(), Lock::kExclusive, true), 0);
  CHECK_EQ(LockFd(b.get(), Lock::kShared, false), -EWOULDBLOCK);
  a.Reset(-1);
  CHECK_EQ(LockFd(b.get(), Lock::kExclusive, true), 0);
}

TEST(changes_the_mask) {
  std::vector<int> former;
  CHECK_EQ(ChangeSignalMask(MaskChange::kSet, {}, &former), 0);
  CHECK_EQ(ChangeSignalMask(MaskChange::kBlock, {SIGUSR1, SIGRTMIN}, &former), 0);
  CHECK(former.empty());
  CHECK_EQ(ChangeSignalMask(MaskChange::kUnblock, {SIGUSR1}, &former), 0);
  CHECK_EQ(former.size(), 2u);
  CHECK_EQ(ChangeSignalMask(MaskChange::kSet, {SIGUSR2}, &former), 0);
  CHECK_EQ(former.size(), 1u);
  CHECK_EQ(ChangeSignalMask(MaskChange::kSet, {}, &former), 0);
  CHECK_EQ(former[0], SIGUSR2);
  CHECK_EQ(ChangeSignalMask(MaskChange::kBlock, {0}, &former), -EINVAL);
  CHECK_EQ(ChangeSignalMask(MaskChange::kBlock, {1000}, &former), -EINVAL);
}

TEST(blocks_everything_for_a_scope) {
  sigset_t now;
  {
    AllSignalsBlocked blocked;
    sigprocmask(SIG_BLOCK, nullptr, &now);
    CHECK(sigismember(&now, SIGTERM) && sigismember(&now, SIGRTMAX));
  }
  sigprocmask(SIG_BLOCK, nullptr, &now);
  CHECK(!sigismember(&now, SIGTERM));
}

TEST(signals_processes) {
  CHECK_EQ(KillPid(getpid(), 0), 0);
  CHECK_EQ(KillPid(0x3fffffff, 0), -ESRCH);
  Fd self(PidfdOpen(getpid()));
  CHECK(self.ok() && HasCloexec(self.get()));
  CHECK_EQ(PidfdSendSignal(self.get(), 0), 0);
  CHECK_EQ(PidfdSendSignal(-1, 0), -EBADF);
  CHECK_EQ(PidfdOpen(0x3fffffff), -ESRCH);
  CHECK_EQ(PidfdOpen(0), -EINVAL);
}
