// Makes system calls fail as an older kernel or a sandbox would, by a seccomp(2) filter, for the rest of the process.
#ifndef PREFORK_TEST_OLD_KERNEL_H_
#define PREFORK_TEST_OLD_KERNEL_H_

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "sys/syscalls.h"

struct Refusal {
  long number;
  int error;
  int argument = -1;  // which one decides; −1: always refused
  unsigned mask = 0;  // bits of it, any of which must be set
};

inline bool RefuseSyscalls(const std::vector<Refusal>& refusals) {
  std::vector<struct sock_filter> program;
  for (const Refusal& refusal : refusals) {
    bool conditional = refusal.argument >= 0;
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(refusal.number), 0,
                               static_cast<unsigned char>(conditional ? 3 : 1)));
    if (conditional) {
      unsigned offset = static_cast<unsigned>(offsetof(struct seccomp_data, args) + 8 * refusal.argument);
      program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, refusal.mask, 0, 1));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(refusal.error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  struct sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

#endif  // PREFORK_TEST_OLD_KERNEL_H_
