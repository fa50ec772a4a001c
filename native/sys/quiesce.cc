#include "quiesce.h"

#include <errno.h>

#ifdef __linux__
#include <linux/filter.h>
#include <sys/socket.h>
#endif

#include "result.h"

namespace prefork::sys {

int DropSyn(int fd) {
#ifdef __linux__
  // socket(7) SO_ATTACH_FILTER; on a TCP listener the packet begins with the TCP header, and byte 13 holds its flags.
  constexpr unsigned kFlagsOffset = 13;
  constexpr unsigned kSyn = 0x02;
  constexpr unsigned kAck = 0x10;
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlagsOffset),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kSyn | kAck),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kSyn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
  };
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  return Checked(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
#else
  (void)fd;
  return -ENOTSUP;
#endif
}

}  // namespace prefork::sys
