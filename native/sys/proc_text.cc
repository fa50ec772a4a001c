#include "sys/proc_text.h"

#ifdef __linux__

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace prefork::sys {

void ParseActivity(const char* text, ThreadActivity* activity) {
  memset(activity, 0, sizeof(*activity));
  activity->running = strncmp(text, "running", 7) == 0;
  if (activity->running) return;
  char* at;
  activity->number = strtol(text, &at, 10);
  // "-1 SP PC" where it sleeps outside of a system call.
  if (activity->number >= 0) {
    for (uint64_t& argument : activity->arguments) argument = strtoull(at, &at, 16);
  }
  activity->stack_pointer = strtoull(at, &at, 16);
  activity->program_counter = strtoull(at, &at, 16);
}

int ParseThreadStatus(const char* text, ThreadStatus* status) {
  memset(status, 0, sizeof(*status));
  if (strncmp(text, "Name:\t", 6) == 0) {
    size_t bytes = strcspn(text + 6, "\n");
    memcpy(status->name, text + 6, bytes < 15 ? bytes : 15);
  }
  const char* blocked = strstr(text, "\nSigBlk:");
  if (blocked == nullptr) return -ENOTSUP;
  status->blocked = strtoull(blocked + 8, nullptr, 16);
  return 0;
}

namespace {

// A number up to `ends_with`, which is passed over. sscanf(3) takes ten times as long, and a fork reads hundreds of lines.
bool TakeNumber(const char** at, unsigned base, char ends_with, uint64_t* number) {
  const char* first = *at;
  uint64_t value = 0;
  for (;; (*at)++) {
    char c = **at;
    unsigned digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : base;
    if (digit >= base) break;
    value = value * base + digit;
  }
  *number = value;
  return *at != first && *(*at) == ends_with && (*at)++;
}

}  // namespace

bool ParseMapping(const char* line, Mapping* mapping) {
  uint64_t inode;
  const char* at = line;
  if (!TakeNumber(&at, 16, '-', &mapping->start) || !TakeNumber(&at, 16, ' ', &mapping->end)) return false;
  if (mapping->start > mapping->end || strnlen(at, 5) < 5 || at[4] != ' ') return false;
  memcpy(mapping->permissions, at, 4);
  mapping->permissions[4] = '\0';
  at += 5;
  if (!TakeNumber(&at, 16, ' ', &mapping->offset)) return false;
  at = strchr(at, ' ');  // past the device
  if (at == nullptr || !TakeNumber(&++at, 10, ' ', &inode)) return false;
  mapping->inode = static_cast<ino_t>(inode);
  mapping->name = at + strspn(at, " ");
  return true;
}

bool ParseEpollTarget(const char* line, EpollTarget* target) {
  unsigned events;
  unsigned long long data;
  if (sscanf(line, "tfd: %d events: %x data: %llx", &target->fd, &events, &data) != 3) return false;
  target->events = events;
  target->data = data;
  return true;
}

int ParseEventfdInfo(const char* text, EventfdInfo* info) {
  const char* count = strstr(text, "eventfd-count:");
  if (count == nullptr) return -ENOTSUP;
  const char* semaphore = strstr(text, "eventfd-semaphore:");
  info->count = strtoull(count + 14, nullptr, 16);
  info->semaphore = semaphore != nullptr && strtol(semaphore + 18, nullptr, 10) != 0;
  return 0;
}

pid_t ParseParent(const char* stat) {
  const char* after = strrchr(stat, ')');
  int parent = -1;
  if (after == nullptr || sscanf(after, ") %*c %d", &parent) != 1) return -1;
  return parent;
}

pid_t NextPid(const char** list) {
  char* end;
  long pid = strtol(*list, &end, 10);
  if (end == *list || pid < 0 || pid > INT32_MAX) return -1;
  *list = end;
  return static_cast<pid_t>(pid);
}

const char* ParseUnheardPath(char* line) {
  unsigned flags, state;
  int at = 0;
  line[strcspn(line, "\n")] = '\0';
  // Num: RefCount Protocol Flags Type St Inode Path. A connection's state is 3, a listener's flags are not 0.
  if (sscanf(line, "%*s %*s %*s %x %*s %x %*s %n", &flags, &state, &at) != 2 || at == 0) return nullptr;
  return flags == 0 && state == 1 ? line + at : nullptr;
}

}  // namespace prefork::sys

#endif  // __linux__
