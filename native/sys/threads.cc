#include "sys/threads.h"

#ifdef __linux__

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>

#include "sys/proc.h"
#include "sys/result.h"

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__LP64__)
#define PREFORK_CAN_REVIVE 1
#elif defined(__aarch64__) && defined(__GLIBC__) && defined(__LP64__)
#define PREFORK_CAN_REVIVE 1  // never run on such a machine so far
#endif

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#ifdef PREFORK_CAN_REVIVE
// glibc ≥ 2.35; absent before.
extern "C" {
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
}
#endif

namespace prefork::sys {

namespace {

constexpr int64_t kNsPerMs = 1'000'000;
constexpr uint64_t kEverySignal = ~((1ull << (SIGKILL - 1)) | (1ull << (SIGSTOP - 1)) | (3ull << 31));
constexpr size_t kReviveStackBytes = 16384;
constexpr unsigned kRseqAlign = 32;

enum State : int { kFree, kAsked, kParked };

// What a held thread left for its holder, and for its reviver in the child.
struct Slot {
  std::atomic<int> state{kFree};
  std::atomic<uint32_t> round{0};
  SleepingThread thread{};
  uint64_t program_counter = 0;  // as /proc had it, while it slept
  uint64_t blocked = 0;          // its signal mask
  bool at_rest = false;          // the handler found it just there
  void* frame = nullptr;         // where the stack pointer must be for rt_sigreturn
  void* thread_pointer = nullptr;
  int* tid_address = nullptr;    // the kernel clears it when the thread ends, for pthread_join
  void* robust_head = nullptr;
  size_t robust_bytes = 0;
  int saved_errno = 0;
  char name[16] = "";
};

Slot slots[kMaxThreads];
std::atomic<int> slot_count{0};
// 0: nobody is held. A thread stays in the handler for as long as this is the round that it was held in.
std::atomic<uint32_t> current_round{0};
uint32_t last_round = 0;
std::atomic<uint32_t> parked_count{0};
std::atomic<uint32_t> revived_count{0};
void* revive_stacks = nullptr;

int64_t NowNs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

long Futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const struct timespec* timeout) {
  return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
}

// false: the deadline has passed.
bool WaitUntilAtLeast(std::atomic<uint32_t>* word, uint32_t wanted, int64_t deadline_ns) {
  for (;;) {
    uint32_t value = word->load();
    if (value >= wanted) return true;
    int64_t left = deadline_ns - NowNs();
    if (left <= 0) return false;
    struct timespec timeout = {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
    Futex(word, FUTEX_WAIT, value, &timeout);
  }
}

int64_t CpuNs(clockid_t clock) {
  struct timespec used;
  clock_gettime(clock, &used);
  return static_cast<int64_t>(used.tv_sec) * 1'000'000'000 + used.tv_nsec;
}

// Of the process' threads but this one.
int64_t CpuOfOthersNs() { return CpuNs(CLOCK_PROCESS_CPUTIME_ID) - CpuNs(CLOCK_THREAD_CPUTIME_ID); }

// How long to wait for threads to come to rest. One that has had the processor for a good part of the time is busy; where they
// had to wait for it, with the machine taken by others or the process stopped, nothing is known yet, and they get ten times as much.
class Patience {
 public:
  explicit Patience(int timeout_ms)
      : timeout_ns_(timeout_ms * kNsPerMs), started_ns_(NowNs()), cpu_ns_(CpuOfOthersNs()) {}
  // `asleep`: the thread in the way needs no processor.
  bool IsOver(bool asleep) const {
    int64_t waited = NowNs() - started_ns_;
    if (waited < timeout_ns_) return false;
    return asleep || CpuOfOthersNs() - cpu_ns_ >= timeout_ns_ / 4 || waited >= 10 * timeout_ns_;
  }

 private:
  int64_t timeout_ns_;
  int64_t started_ns_;
  int64_t cpu_ns_;
};

void SleepBriefly() {
  struct timespec pause = {0, 200'000};
  nanosleep(&pause, nullptr);
}

int ParkSignal() {
  // Far from SIGRTMIN, which other libraries take. JavaScript cannot listen to real-time signals.
  return SIGRTMIN + 17;
}

#ifdef PREFORK_CAN_REVIVE

bool SleepsAt(const ucontext_t* context, const Slot& slot) {
#if defined(__x86_64__)
  uint64_t sp = static_cast<uint64_t>(context->uc_mcontext.gregs[REG_RSP]);
  uint64_t pc = static_cast<uint64_t>(context->uc_mcontext.gregs[REG_RIP]);
  constexpr uint64_t kSyscallBytes = 2;
#else
  uint64_t sp = context->uc_mcontext.sp;
  uint64_t pc = context->uc_mcontext.pc;
  constexpr uint64_t kSyscallBytes = 4;
#endif
  // The call was interrupted, or is about to be made again.
  return sp == slot.thread.stack_pointer && (pc == slot.program_counter || pc == slot.program_counter - kSyscallBytes);
}

// glibc keeps the tid in the thread's descriptor, which pthread_self() points to; the kernel knows where it was told.
int* FindTidAddress(pid_t tid) {
  int* address = nullptr;
  if (prctl(PR_GET_TID_ADDRESS, &address) == 0 && address != nullptr && *address == tid) return address;
  int* word = reinterpret_cast<int*>(pthread_self());
  for (int i = 0; i < 512; i++) {
    if (word[i] == tid) return word + i;
  }
  return nullptr;
}

Slot* FindSlot(pid_t tid, uint32_t round) {
  int count = slot_count.load();
  for (int i = 0; i < count; i++) {
    Slot& slot = slots[i];
    if (slot.thread.tid == tid && slot.round.load() == round && slot.state.load() == kAsked) return &slot;
  }
  return nullptr;
}

// Runs in the thread that is to be held. A signal of a round that was given up finds no slot, and does nothing.
void OnParkSignal(int, siginfo_t* info, void* raw_context) {
  uint32_t round = current_round.load();
  int saved_errno = errno;
  Slot* slot = round == 0 ? nullptr : FindSlot(static_cast<pid_t>(syscall(SYS_gettid)), round);
  if (slot == nullptr) {
    errno = saved_errno;
    return;
  }
  ucontext_t* context = static_cast<ucontext_t*>(raw_context);
  slot->at_rest = SleepsAt(context, *slot);
#if defined(__x86_64__)
  (void)info;
  slot->frame = context;  // the return address, at the frame's start, has been taken from the stack by then
#else
  slot->frame = info;  // the frame starts with it
#endif
  slot->thread_pointer = __builtin_thread_pointer();
  slot->tid_address = FindTidAddress(slot->thread.tid);
  if (syscall(SYS_get_robust_list, 0, &slot->robust_head, &slot->robust_bytes) < 0) slot->robust_head = nullptr;
  prctl(PR_GET_NAME, slot->name);
  slot->saved_errno = saved_errno;
  slot->state.store(kParked);
  parked_count.fetch_add(1);
  Futex(&parked_count, FUTEX_WAKE, 1, nullptr);
  while (current_round.load() == round) Futex(&current_round, FUTEX_WAIT, round, nullptr);
  errno = saved_errno;
}

unsigned RseqBytes() {
  // What glibc registers: 32, or the kernel's feature size rounded up to its alignment where that is more.
  constexpr unsigned long kFeatureSize = 27, kAlign = 28;  // AT_RSEQ_FEATURE_SIZE, AT_RSEQ_ALIGN
  unsigned long bytes = getauxval(kFeatureSize);
  unsigned long align = getauxval(kAlign);
  if (align < kRseqAlign) align = kRseqAlign;
  bytes = (bytes + align - 1) / align * align;
  return bytes < 32 ? 32 : static_cast<unsigned>(bytes);
}

bool UsesRseq() { return &__rseq_size != nullptr && &__rseq_offset != nullptr && __rseq_size != 0; }

void RegisterRseq(char* thread_pointer) {
#if defined(__x86_64__)
  constexpr unsigned kSignature = 0x53053053;
#else
  constexpr unsigned kSignature = 0xd428bc00;
#endif
  if (UsesRseq()) syscall(SYS_rseq, thread_pointer + __rseq_offset, RseqBytes(), 0, kSignature);
}

// The first code of a revived thread, on a stack of its own: tells the kernel again what it knew of the thread, and
// returns from the signal handler that the thread was held in: the kernel takes registers, mask and alternate stack
// from its frame.
int OnRevive(void* argument) {
  Slot* slot = static_cast<Slot*>(argument);
  RegisterRseq(static_cast<char*>(slot->thread_pointer));
  if (slot->robust_head != nullptr) syscall(SYS_set_robust_list, slot->robust_head, slot->robust_bytes);
  prctl(PR_SET_NAME, slot->name);
  void* frame = slot->frame;
  revived_count.fetch_add(1);
  Futex(&revived_count, FUTEX_WAKE, 1, nullptr);
  errno = slot->saved_errno;
#if defined(__x86_64__)
  __asm__ volatile("mov %0, %%rsp\n\tmov %1, %%eax\n\tsyscall\n\thlt" ::"r"(frame), "i"(SYS_rt_sigreturn) : "memory");
#else
  __asm__ volatile("mov sp, %0\n\tmov x8, %1\n\tsvc #0\n\tbrk #0" ::"r"(frame), "i"(SYS_rt_sigreturn) : "memory", "x8");
#endif
  __builtin_unreachable();
}

#endif  // PREFORK_CAN_REVIVE

Sleep KindOf(const ThreadActivity& activity) {
  switch (activity.number) {
    case SYS_futex:
      return Sleep::kFutex;
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
      return Sleep::kEpoll;
    default:
      return Sleep::kOther;
  }
}

// One that sleeps where the survey before saw it has the name and the mask that it had then: to read them takes as long as all the
// rest of a survey.
int ReadStatus(const ProcDirectory& tasks, pid_t tid, const ThreadActivity& activity, const Slot& before,
               ThreadStatus* status) {
  const SleepingThread& known = before.thread;
  bool same = known.tid == tid && known.stack_pointer == activity.stack_pointer && known.argument == activity.arguments[0] &&
              before.program_counter == activity.program_counter;
  if (!same) return ReadThreadStatus(tasks, tid, status);
  memcpy(status->name, known.name, sizeof(status->name));
  status->blocked = before.blocked;
  return 0;
}

}  // namespace

const SleepingThread& HeldThreads::at(int index) const { return slots[index].thread; }

// Fills the slots with the threads that there are. 0: all are at rest; 1: `trouble` is not yet.
int HeldThreads::Survey(bool any_sleep, ThreadTrouble* trouble) {
  int tids[kMaxThreads + 1];
  ProcDirectory tasks(kTasks);
  int found = tasks.List(tids, kMaxThreads + 1);
  if (found < 0) return found;
  pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
  count_ = 0;
  for (int i = 0; i < found; i++) {
    if (tids[i] == self) continue;
    ThreadActivity activity;
    ThreadStatus status;
    int error = ReadActivity(tasks, tids[i], &activity);
    if (error == 0) error = ReadStatus(tasks, tids[i], activity, slots[count_], &status);
    if (error == -ESRCH || error == -ENOENT) continue;
    if (error < 0) return error;
    bool at_rest = !activity.running && activity.number >= 0;
    Sleep sleep = KindOf(activity);
    if (!at_rest || (sleep == Sleep::kOther && !any_sleep)) {
      trouble->tid = tids[i];
      memcpy(trouble->name, status.name, sizeof(trouble->name));
      trouble->syscall = at_rest ? activity.number : -1;
      return 1;
    }
    Slot& slot = slots[count_++];
    slot.thread.tid = tids[i];
    memcpy(slot.thread.name, status.name, sizeof(slot.thread.name));
    slot.thread.sleep = sleep;
    slot.thread.argument = activity.arguments[0];
    slot.thread.blocks_every_signal = (status.blocked & kEverySignal) == kEverySignal;
    slot.thread.stack_pointer = activity.stack_pointer;
    slot.blocked = status.blocked;
    slot.program_counter = activity.program_counter;
    slot.state.store(kFree);
    bool blocks = (status.blocked >> (ParkSignal() - 1)) & 1;
    if (blocks && !slot.thread.blocks_every_signal) {
      trouble->tid = tids[i];
      memcpy(trouble->name, status.name, sizeof(trouble->name));
      trouble->syscall = activity.number;
      return -ENOTSUP;
    }
  }
  return 0;
}

#ifdef PREFORK_CAN_REVIVE

int HeldThreads::InstallHandler() {
  struct sigaction former;
  if (sigaction(ParkSignal(), nullptr, &former) < 0) return -errno;
  if ((former.sa_flags & SA_SIGINFO) && former.sa_sigaction == OnParkSignal) return 0;
  // Somebody else's signal: not ours to take.
  if ((former.sa_flags & SA_SIGINFO) || former.sa_handler != SIG_DFL) return -EBUSY;
  struct sigaction ours;
  memset(&ours, 0, sizeof(ours));
  ours.sa_sigaction = OnParkSignal;
  ours.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&ours.sa_mask);
  return Checked(sigaction(ParkSignal(), &ours, nullptr));
}

// Asks every surveyed thread into the handler. 0; 1: one was no longer at rest, or did not come in time.
int HeldThreads::Park(int64_t deadline_ns, ThreadTrouble* trouble) {
  pid_t process = getpid();
  if (++last_round == 0) last_round = 1;
  parked_count.store(0);
  slot_count.store(count_);
  for (int i = 0; i < count_; i++) {
    if (slots[i].thread.blocks_every_signal) continue;
    slots[i].round.store(last_round);
    slots[i].state.store(kAsked);
  }
  current_round.store(last_round);
  held_ = true;
  uint32_t asked = 0;
  bool all_there = true;
  for (int i = 0; i < count_; i++) {
    if (slots[i].thread.blocks_every_signal) continue;
    if (syscall(SYS_tgkill, process, slots[i].thread.tid, ParkSignal()) == 0) {
      asked++;
    } else if (errno == ESRCH) {
      all_there = false;
    } else {
      return -errno;
    }
  }
  if (!WaitUntilAtLeast(&parked_count, asked, deadline_ns)) {
    for (int i = 0; i < count_; i++) {
      if (slots[i].state.load() != kAsked) continue;
      trouble->tid = slots[i].thread.tid;
      memcpy(trouble->name, slots[i].thread.name, sizeof(trouble->name));
      trouble->syscall = -1;
    }
    return 1;
  }
  return all_there && Undisturbed() ? 0 : 1;
}

// Whether each thread was held just where the survey saw it asleep, and no new one has come.
bool HeldThreads::Undisturbed() {
  for (int i = 0; i < count_; i++) {
    if (slots[i].thread.blocks_every_signal) continue;
    if (!slots[i].at_rest || slots[i].tid_address == nullptr) return false;
  }
  int tids[kMaxThreads + 1];
  return ProcDirectory(kTasks).List(tids, kMaxThreads + 1) == count_ + 1;
}

int HeldThreads::Hold(int timeout_ms, bool any_sleep, ThreadTrouble* trouble) {
  int error = InstallHandler();
  if (error < 0) return error;
  if (revive_stacks == nullptr) {
    void* area = mmap(nullptr, kMaxThreads * kReviveStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) return -errno;
    revive_stacks = area;
  }
  Patience patience(timeout_ms);
  for (;;) {
    trouble->syscall = -1;
    int outcome = Survey(any_sleep, trouble);
    if (outcome == 0) outcome = Park(NowNs() + timeout_ms * kNsPerMs, trouble);
    if (outcome == 0) return 0;
    Release();
    if (outcome < 0) return outcome;
    if (patience.IsOver(trouble->syscall >= 0)) return -EAGAIN;
    SleepBriefly();
  }
}

void HeldThreads::Release() {
  if (!held_) return;
  held_ = false;
  current_round.store(0);
  Futex(&current_round, FUTEX_WAKE, INT32_MAX, nullptr);
}

int HeldThreads::Revive() {
  constexpr int kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                         CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  revived_count.store(0);
  uint32_t made = 0;
  for (int i = 0; i < count_; i++) {
    Slot& slot = slots[i];
    if (slot.thread.blocks_every_signal) continue;
    char* stack_top = static_cast<char*>(revive_stacks) + (i + 1) * kReviveStackBytes;
    if (clone(OnRevive, stack_top, kFlags, &slot, slot.tid_address, slot.thread_pointer, slot.tid_address) < 0) {
      return -errno;
    }
    made++;
  }
  held_ = false;
  current_round.store(0);
  // Their stacks here are used again by the next fork.
  constexpr int64_t kBoundMs = 10'000;
  return WaitUntilAtLeast(&revived_count, made, NowNs() + kBoundMs * kNsPerMs) ? 0 : -ETIMEDOUT;
}

const char* ReviveRefusal() {
  if (ParkSignal() > SIGRTMAX) return "no real-time signal is left";
  ThreadActivity activity;
  int error = ReadActivity(ProcDirectory(kTasks), static_cast<pid_t>(syscall(SYS_gettid)), &activity);
  if (error < 0) return "/proc/self/task/*/syscall cannot be read";
#if defined(__x86_64__)
  // A thread on a shadow stack cannot be made anew without the kernel's help. ARCH_SHSTK_STATUS; bit 0: in use.
  uint64_t features = 0;
  if (syscall(SYS_arch_prctl, 0x5005, &features) == 0 && (features & 1) != 0) return "shadow stacks are in use";
#else
  // PR_GET_SHADOW_STACK_STATUS
  uint64_t features = 0;
  if (prctl(74, &features, 0, 0, 0) == 0 && (features & 1) != 0) return "shadow stacks are in use";
#endif
  return nullptr;
}

#else  // PREFORK_CAN_REVIVE

int HeldThreads::InstallHandler() { return -ENOSYS; }
int HeldThreads::Park(int64_t, ThreadTrouble*) { return -ENOSYS; }
bool HeldThreads::Undisturbed() { return false; }
int HeldThreads::Hold(int, bool, ThreadTrouble*) { return -ENOSYS; }
void HeldThreads::Release() {}
int HeldThreads::Revive() { return -ENOSYS; }

const char* ReviveRefusal() {
#if !defined(__GLIBC__)
  return "the C library is not glibc";
#else
  return "neither x64 nor arm64";
#endif
}

#endif  // PREFORK_CAN_REVIVE

}  // namespace prefork::sys

#endif  // __linux__
