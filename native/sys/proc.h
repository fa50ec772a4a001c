// What /proc says about this process, read without allocating.
#ifndef PREFORK_SYS_PROC_H_
#define PREFORK_SYS_PROC_H_

#ifdef __linux__

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sys/fd.h"
#include "sys/proc_text.h"

namespace prefork::sys {

// A directory of /proc that much is read from: "/proc/self" is looked up once. Errors come with the first use.
class ProcDirectory {
 public:
  explicit ProcDirectory(const char* path);
  int fd() const { return fd_.get(); }
  // The numbers that name its entries (tasks; descriptors, this one's included). Their count, or −errno; −EOVERFLOW beyond `capacity`.
  int List(int* numbers, int capacity) const;
  // The whole of a file in it up to size − 1 bytes, with a NUL. Its length, or −errno; −EOVERFLOW where it is longer.
  ssize_t Read(const char* name, char* buffer, size_t size) const;

 private:
  Fd fd_;
  int error_;
};

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

constexpr char kTasks[] = "/proc/self/task";

// Of a thread in `tasks`. 0, or −errno; −ESRCH or −ENOENT: it has ended.
int ReadActivity(const ProcDirectory& tasks, pid_t tid, ThreadActivity* activity);

int ReadThreadStatus(const ProcDirectory& tasks, pid_t tid, ThreadStatus* status);

}  // namespace prefork::sys

#endif  // __linux__

#endif  // PREFORK_SYS_PROC_H_
