// The frozen process: it waits for commands, and forks a worker for each.
#ifndef PREFORK_SYS_FORKSERVER_H_
#define PREFORK_SYS_FORKSERVER_H_

#include <vector>

#include "sys/forkall.h"

namespace prefork::sys {

// What the manager sent for one worker: bytes that mean nothing here, and descriptors, all FD_CLOEXEC.
struct ForkCommand {
  std::vector<unsigned char> data;
  std::vector<int> fds;
};

constexpr int kServedChild = 1;

// Blocks, and forks one process for each packet that comes over `channel`, as `options` say. Each packet is answered, in
// order, by one packet of JSON: {"type":"forked","pid":N}, or {"type":"forkFailed","errno":−N,"step":S,"pid":N,
// "thread":T,"tid":N,"syscall":N}, where pid is that of a child that ended and is yet to be reaped, or 0.
// Returns kServedChild in each child, with what was sent for it, `channel` closed; in the server 0 once the other side has
// closed, or −errno of the channel.
int ServeForks(int channel, ForkallOptions options, ForkCommand* command);

// In a child of ServeForks that has come to where it serves: those that are forked later get the pages that it had to touch
// in one go. Count of pages, or −errno; 0 where that is known already.
int LearnHotPages();

}  // namespace prefork::sys

#endif  // PREFORK_SYS_FORKSERVER_H_
