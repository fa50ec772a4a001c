// io_uring instances of event loops, which fork(2) would leave a process to share with its parent, memory included.
#ifndef PREFORK_SYS_LOOP_RINGS_H_
#define PREFORK_SYS_LOOP_RINGS_H_

#ifdef __linux__

#include <vector>

namespace prefork::sys {

// libuv, in Node 22 and later, has a ring in each loop, to batch its calls of epoll_ctl(2). uv_loop_fork() repairs that of one loop;
// Node has others, and its loop for tracing is run, by each process, on leaving. Of two that leave at once, each would find the
// other's entries in the ring that they share, and abort, or wait for ever for the completion that the other has taken.
class LoopRings {
 public:
  // Before the fork: `fds` are the io_uring descriptors of this process. Those that are no loop's are left alone. Looks through
  // the memory of the process for those that it has not seen yet. 0 or −errno.
  int Plan(const std::vector<int>& fds);
  // In the child: the loops go on without, one call at a time.
  void Drop() const;

 private:
  std::vector<struct LoopRing*> rings_;
};

}  // namespace prefork::sys

#endif  // __linux__

#endif  // PREFORK_SYS_LOOP_RINGS_H_
