// One descriptor that becomes readable when any of many does: epoll(7), or kqueue(2) on macOS (untested).
#ifndef PREFORK_SYS_POLLER_H_
#define PREFORK_SYS_POLLER_H_

#include <stddef.h>
#include <stdint.h>

namespace prefork::sys {

constexpr size_t kMaxPolledIds = 256;

// FD_CLOEXEC. −errno.
int CreatePollSet();
// Level-triggered readability. −EEXIST: it is in the set already.
int AddToPollSet(int set, int fd, uint64_t id);
// −ENOENT: it is not in the set.
int RemoveFromPollSet(int set, int fd);
// The ids that are readable now, at most kMaxPolledIds, without waiting. Their number, or −errno.
int ReadPollSet(int set, uint64_t* ids);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_POLLER_H_
