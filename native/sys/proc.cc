#include "sys/proc.h"

#ifdef __linux__

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/result.h"

namespace prefork::sys {

ProcDirectory::ProcDirectory(const char* path)
    : fd_(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)), error_(fd_.ok() ? 0 : -errno) {}

ssize_t ProcDirectory::Read(const char* name, char* buffer, size_t size) const {
  if (error_ < 0) return error_;
  Fd fd(openat(fd_.get(), name, O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return -errno;
  size_t length = 0;
  while (length < size) {
    ssize_t got = Uninterrupted([&] { return read(fd.get(), buffer + length, size - length); });
    if (got < 0) return -errno;
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  if (length == size) return -EOVERFLOW;
  buffer[length] = '\0';
  return static_cast<ssize_t>(length);
}

ProcLines::ProcLines(const char* path) : fd_(open(path, O_RDONLY | O_CLOEXEC)), error_(fd_ < 0 ? -errno : 0) {}

ProcLines::~ProcLines() {
  if (fd_ >= 0) close(fd_);
}

const char* ProcLines::Next() {
  for (;;) {
    char* newline = static_cast<char*>(memchr(buffer_ + start_, '\n', end_ - start_));
    if (newline != nullptr) {
      const char* line = buffer_ + start_;
      *newline = '\0';
      start_ = static_cast<size_t>(newline - buffer_) + 1;
      return line;
    }
    if (ended_ || error_ < 0) return nullptr;
    memmove(buffer_, buffer_ + start_, end_ - start_);
    end_ -= start_;
    start_ = 0;
    if (end_ == sizeof(buffer_)) {
      error_ = -EOVERFLOW;
      return nullptr;
    }
    ssize_t got = Uninterrupted([&] { return read(fd_, buffer_ + end_, sizeof(buffer_) - end_); });
    if (got < 0) error_ = -errno;
    if (got <= 0) ended_ = true;
    if (got > 0) end_ += static_cast<size_t>(got);
  }
}

int ProcDirectory::List(int* numbers, int capacity) const {
  // The kernel's own record: opendir(3) would allocate.
  struct Entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[1];
  };
  if (error_ < 0) return error_;
  if (lseek(fd_.get(), 0, SEEK_SET) < 0) return -errno;
  alignas(8) char buffer[4096];
  int count = 0;
  for (;;) {
    long got = syscall(SYS_getdents64, fd_.get(), buffer, sizeof(buffer));
    if (got < 0) return -errno;
    if (got == 0) return count;
    for (long at = 0; at < got;) {
      const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->length;
      if (entry->name[0] < '0' || entry->name[0] > '9') continue;
      int number = atoi(entry->name);
      if (count == capacity) return -EOVERFLOW;
      numbers[count++] = number;
    }
  }
}

int ReadActivity(const ProcDirectory& tasks, pid_t tid, ThreadActivity* activity) {
  char name[64];
  char text[256];
  snprintf(name, sizeof(name), "%d/syscall", tid);
  ssize_t length = tasks.Read(name, text, sizeof(text));
  if (length < 0) return static_cast<int>(length);
  ParseActivity(text, activity);
  return 0;
}

int ReadThreadStatus(const ProcDirectory& tasks, pid_t tid, ThreadStatus* status) {
  char name[64];
  char text[4096];
  snprintf(name, sizeof(name), "%d/status", tid);
  ssize_t length = tasks.Read(name, text, sizeof(text));
  if (length < 0) return static_cast<int>(length);
  return ParseThreadStatus(text, status);
}

}  // namespace prefork::sys

#endif  // __linux__
