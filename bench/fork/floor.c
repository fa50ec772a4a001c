// floor MAPPINGS BYTES COUNT: forks COUNT times with BYTES resident in MAPPINGS private mappings, and prints how long each
// fork(2) took, in nanoseconds, as JSON. The child ends at once. No program with such memory can fork faster.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  long mappings = atol(argv[1]);
  long page = sysconf(_SC_PAGESIZE);
  long bytes = atol(argv[2]) / mappings / page * page;
  for (long i = 0; i < mappings; i++) {
    // A page that cannot be read between two of them, so that the kernel does not join them.
    char* at = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect(at + bytes, page, PROT_NONE) < 0) return 1;
    madvise(at, bytes, MADV_NOHUGEPAGE);
    memset(at, 1, bytes);
  }
  printf("[");
  fflush(stdout);
  for (long i = 0; i < atol(argv[3]); i++) {
    long long start = now_ns();
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    if (pid < 0) return 1;
    long long took = now_ns() - start;
    waitpid(pid, NULL, 0);
    printf("%s%lld", i == 0 ? "" : ",", took);
    fflush(stdout);
  }
  printf("]\n");
  return 0;
}
