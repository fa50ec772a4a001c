// The texts of /proc, parsed: no file is read here, and nothing is allocated. Any text is safe, also one that no kernel writes.
#ifndef PREFORK_SYS_PROC_TEXT_H_
#define PREFORK_SYS_PROC_TEXT_H_

#ifdef __linux__

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

namespace prefork::sys {

// What a thread is doing, from /proc/self/task/T/syscall.
struct ThreadActivity {
  bool running;  // on a processor or about to be
  long number;   // of the system call that it sleeps in; −1: asleep, but in none (a page fault)
  uint64_t arguments[6];
  uint64_t stack_pointer;
  uint64_t program_counter;
};
void ParseActivity(const char* text, ThreadActivity* activity);

// Of /proc/self/task/T/status.
struct ThreadStatus {
  char name[16];
  uint64_t blocked;  // signal mask: bit n − 1 is signal n
};
// −ENOTSUP: it says nothing of the mask.
int ParseThreadStatus(const char* text, ThreadStatus* status);

// A line of /proc/self/maps.
struct Mapping {
  uint64_t start;
  uint64_t end;
  char permissions[5];  // rwxp, or - for what is not allowed; s: shared
  uint64_t offset;
  ino_t inode;
  const char* name;  // within the line; "" where it has none
};
bool ParseMapping(const char* line, Mapping* mapping);

// A line of an epoll descriptor's /proc/self/fdinfo: what it watches.
struct EpollTarget {
  int fd;
  uint32_t events;
  uint64_t data;
};
bool ParseEpollTarget(const char* line, EpollTarget* target);

// An eventfd's /proc/self/fdinfo.
struct EventfdInfo {
  uint64_t count;
  bool semaphore;
};
// −ENOTSUP: it says nothing of the count.
int ParseEventfdInfo(const char* text, EventfdInfo* info);

// The parent in /proc/P/stat, whatever the program's name holds; −1 where there is none.
pid_t ParseParent(const char* stat);

// The next pid of a list with spaces between, /proc/self/task/T/children, and moves on behind it; −1 at the end.
pid_t NextPid(const char** list);

// A line of /proc/net/unix: the path of a stream socket that is bound, but neither listens nor is connected. Null: it is none.
// Its line feed is cut off.
const char* ParseUnheardPath(char* line);

}  // namespace prefork::sys

#endif  // __linux__

#endif  // PREFORK_SYS_PROC_TEXT_H_
