// What /proc says about this process, read without allocating.
#ifndef PREFORK_SYS_PROC_H_
#define PREFORK_SYS_PROC_H_

#ifdef __linux__

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sys/proc_text.h"

namespace prefork::sys {

// The whole of a /proc file up to size − 1 bytes, with a NUL. Its length, or −errno; −EOVERFLOW where it is longer.
ssize_t ReadProcFile(const char* path, char* buffer, size_t size);

// Lines of a /proc file that may be long. Next() gives null at its end; the line lives until the next call.
class ProcLines {
 public:
  explicit ProcLines(const char* path);
  ~ProcLines();
  ProcLines(const ProcLines&) = delete;
  ProcLines& operator=(const ProcLines&) = delete;
  const char* Next();
  // 0, or −errno of the open or of a read.
  int error() const { return error_; }

 private:
  int fd_;
  int error_;
  size_t start_ = 0;
  size_t end_ = 0;
  bool ended_ = false;
  char buffer_[8192];
};

// The numbers that name the entries of a directory (tasks; descriptors, the one that reads the directory included).
// Their count, or −errno; −EOVERFLOW beyond `capacity`.
int ListNumbers(const char* directory, int* numbers, int capacity);

// 0, or −errno; −ESRCH or −ENOENT: it has ended.
int ReadActivity(pid_t tid, ThreadActivity* activity);

int ReadThreadStatus(pid_t tid, ThreadStatus* status);

}  // namespace prefork::sys

#endif  // __linux__

#endif  // PREFORK_SYS_PROC_H_
