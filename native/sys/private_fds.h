// Descriptors that are a process' own business, but that fork(2) would leave it to share with its parent.
#ifndef PREFORK_SYS_PRIVATE_FDS_H_
#define PREFORK_SYS_PRIVATE_FDS_H_

#ifdef __linux__

#include <stdint.h>
#include <sys/types.h>

#include <vector>

#include "sys/loop_rings.h"
#include "sys/proc.h"

namespace prefork::sys {

// What must be replaced in a child by a copy that only it has: every epoll instance with what is registered in it,
// every eventfd with its count, and given pipes with what is in them. The rings of event loops are let go of.
class PrivateFds {
 public:
  // Before the fork, with the other threads held. `skip`: an epoll descriptor that is seen to otherwise, or −1.
  // `pipes`: read end, write end, … of pipes whose both ends this process alone uses. 0 or −errno.
  int Plan(int skip, const std::vector<int>& pipes);
  // In the child: puts the copies in the places of the shared ones. 0 or −errno.
  int Replace() const;

 private:
  struct Registration {
    int fd;
    uint32_t events;
    uint64_t data;
  };
  struct Epoll {
    int fd;
    bool cloexec;
    std::vector<Registration> registrations;
  };
  struct Eventfd {
    int fd;
    int flags;
    uint64_t count;
  };
  struct Pipe {
    int ends[2];
    int flags[2];
    std::vector<char> content;
  };

  int AddEpoll(int fd, int flags);
  int AddEventfd(const ProcDirectory& infos, int fd, int flags);
  int AddPipe(int read_end, int write_end);

  std::vector<Epoll> epolls_;
  std::vector<Eventfd> eventfds_;
  std::vector<Pipe> pipes_;
  LoopRings rings_;
};

// Where libuv keeps the two descriptors of the pipe that is its lock for signal handling: the only pipe with one byte
// in it, both ends of which this process has, blocking and FD_CLOEXEC, whose numbers stand side by side in the static
// memory of a loaded object. Null where there is none. Looks once; later calls verify.
const int* FindSignalLockPipe();

}  // namespace prefork::sys

#endif  // __linux__

#endif  // PREFORK_SYS_PRIVATE_FDS_H_
