#include "sys/sigguard.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include <atomic>
#include <thread>

#define PREFORK_TEST_OWN_MAIN
#include "check.h"
#include "sys/signals.h"

using prefork::sys::ChangeSignalMask;
using prefork::sys::HoldSignals;
using prefork::sys::MaskChange;
using prefork::sys::ReleaseSignals;

extern "C" int prefork_release_signals_v1();

namespace {

std::atomic<int> handled{0};
std::atomic<bool> slow{false};

void OnSignal(int) {
  handled++;
  // As libuv's handler does: everything blocked, and over soon.
  for (int i = 0; slow.load() && i < 50; i++) usleep(1'000);
}

void Listen(int signal) {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_handler = OnSignal;
  sigfillset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

bool IsPending(int signal) {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, signal) == 1;
}

std::vector<int> Blocked() {
  std::vector<int> blocked, unused;
  ChangeSignalMask(MaskChange::kBlock, {}, &blocked);
  return blocked;
}

void Unblock(const std::vector<int>& signals) {
  std::vector<int> unused;
  ChangeSignalMask(MaskChange::kUnblock, signals, &unused);
}

// Threads that sleep until the end of the test.
class Sleepers {
 public:
  explicit Sleepers(int count) {
    sem_init(&end_, 0, 0);
    for (int i = 0; i < count; i++) {
      threads_.emplace_back([this] {
        while (sem_wait(&end_) < 0) continue;
      });
    }
  }
  ~Sleepers() {
    for (size_t i = 0; i < threads_.size(); i++) sem_post(&end_);
    for (std::thread& thread : threads_) thread.join();
    sem_destroy(&end_);
  }

 private:
  sem_t end_;
  std::vector<std::thread> threads_;
};

}  // namespace

TEST(HeldSignalsStayPendingWhateverThreadsThereAre) {
  Listen(SIGTERM);
  Listen(SIGHUP);
  Sleepers sleepers(4);
  handled = 0;
  CHECK_EQ(HoldSignals({SIGTERM, SIGHUP}, 2'000), 0);
  for (int i = 0; i < 200; i++) kill(getpid(), i % 2 == 0 ? SIGTERM : SIGHUP);
  CHECK(IsPending(SIGTERM));
  CHECK(IsPending(SIGHUP));
  CHECK_EQ(handled.load(), 0);
  Unblock({SIGTERM, SIGHUP});
  CHECK_EQ(handled.load(), 2);
}

TEST(AHandlerThatRunsInAnotherThreadHasEndedBeforeHoldReturns) {
  Listen(SIGTERM);
  Sleepers sleepers(2);
  handled = 0;
  slow = true;
  std::vector<int> unused;
  ChangeSignalMask(MaskChange::kBlock, {SIGTERM}, &unused);
  kill(getpid(), SIGTERM);  // a sleeper takes it
  while (handled.load() == 0) usleep(100);
  // Pending for that very thread as it seems, until its handler is over.
  CHECK_EQ(HoldSignals({SIGTERM}, 2'000), 0);
  slow = false;
  kill(getpid(), SIGTERM);
  CHECK(IsPending(SIGTERM));
  CHECK_EQ(handled.load(), 1);
  Unblock({SIGTERM});
  CHECK_EQ(handled.load(), 2);
}

TEST(AThreadThatDoesNotComeToItIsWaitedForOnlySoLong) {
  Listen(SIGTERM);
  std::atomic<bool> end{false};
  std::atomic<bool> begun{false};
  std::thread spinning([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    begun = true;
    while (!end.load()) continue;
  });
  while (!begun.load()) usleep(100);
  std::vector<int> before = Blocked();
  CHECK_EQ(HoldSignals({SIGTERM}, 20), -EAGAIN);
  CHECK(Blocked() == before);
  end = true;
  spinning.join();
  CHECK_EQ(HoldSignals({SIGTERM}, 2'000), 0);
  Unblock({SIGTERM});
}

TEST(OnlyPlainSignalsCanBeHeld) {
  for (int signal : {0, -1, 32, SIGKILL, SIGSTOP}) CHECK_EQ(HoldSignals({signal}, 100), -EINVAL);
}

TEST(WithoutAGuardThereIsNothingToRelease) { CHECK_EQ(ReleaseSignals(), 0); }

// What Node.js does at its start, in a process that was started under the guard.
static int LiveUnderTheGuard() {
  sigset_t set;
  sigemptyset(&set);
  pthread_sigmask(SIG_SETMASK, &set, nullptr);
  sigprocmask(SIG_SETMASK, &set, nullptr);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  std::vector<int> blocked = Blocked();
  CHECK(blocked == (std::vector<int>{SIGHUP, SIGUSR1, SIGTERM}));
  kill(getpid(), SIGTERM);
  Listen(SIGTERM);
  CHECK_EQ(handled.load(), 0);
  CHECK_EQ(prefork_release_signals_v1(), 3);
  CHECK_EQ(handled.load(), 1);
  CHECK(Blocked().empty());
  CHECK_EQ(prefork_release_signals_v1(), 0);
  return Failures() == 0 ? 0 : 1;
}

TEST(UnderTheGuardMasksThatAreSetLeaveItsSignalsBlocked) {
  pid_t pid = fork();
  if (pid == 0) {
    setenv("PREFORK_SIGNAL_GUARD", "1,10,15", 1);
    execl("/proc/self/exe", "sigguard_test", static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = -1;
  CHECK_EQ(waitpid(pid, &status, 0), pid);
  CHECK_EQ(status, 0);
}

int main() {
  if (getenv("PREFORK_SIGNAL_GUARD") != nullptr) return LiveUnderTheGuard();
  return RunAll();
}
