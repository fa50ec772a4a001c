// The floor: a C program that blocks in waitpid(2). waitpid <killer> <trials>: prints the time from SIGKILL to its return
// in microseconds, a JSON array.
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long NowNs(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// Starts the killer with pipes for its stdin and stdout.
static pid_t StartKiller(char *path, FILE **to, FILE **from) {
  int in[2], out[2];
  if (pipe(in) < 0 || pipe(out) < 0) exit(1);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    close(in[0]), close(in[1]), close(out[0]), close(out[1]);
    execl(path, path, (char *)NULL);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  *to = fdopen(in[1], "w");
  *from = fdopen(out[0], "r");
  return pid;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int trials = atoi(argv[2]);
  long long *ended = calloc((size_t)trials, sizeof(*ended));
  FILE *to, *from;
  pid_t killer = StartKiller(argv[1], &to, &from);
  char *const arguments[] = {"sleep", "1000", NULL};
  char *const environment[] = {NULL};
  for (int i = 0; i < trials; i++) {
    pid_t pid;
    int status;
    if (posix_spawn(&pid, "/bin/sleep", NULL, NULL, arguments, environment) != 0) return 1;
    fprintf(to, "%d\n", pid);
    fflush(to);
    if (waitpid(pid, &status, 0) != pid) return 1;
    ended[i] = NowNs();
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) return 1;
  }
  fclose(to);
  for (int i = 0; i < trials; i++) {
    long long killed;
    if (fscanf(from, "%lld", &killed) != 1) return 1;
    printf("%s%.1f", i == 0 ? "[" : ",", (double)(ended[i] - killed) / 1000);
  }
  printf("]\n");
  waitpid(killer, NULL, 0);
  free(ended);
  return 0;
}
