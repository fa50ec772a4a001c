// Kills what it is told to, and keeps the time: reads pids from stdin, one a line; a while after each, when the
// waiter waits, notes CLOCK_MONOTONIC and sends SIGKILL. At the end of its input it prints the times, in nanoseconds, so
// that nothing but the exit itself wakes the waiter in between.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { kMaxTrials = 100000, kSettleNs = 3000000 };

static long long NowNs(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(void) {
  static long long times[kMaxTrials];
  const struct timespec settle = {0, kSettleNs};
  int count = 0, pid;
  while (count < kMaxTrials && scanf("%d", &pid) == 1 && pid > 0) {
    nanosleep(&settle, NULL);
    times[count++] = NowNs();
    if (kill(pid, SIGKILL) < 0) return 1;
  }
  for (int i = 0; i < count; i++) printf("%lld\n", times[i]);
  return 0;
}
