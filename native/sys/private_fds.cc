#include "sys/private_fds.h"

#ifdef __linux__

#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/result.h"

namespace prefork::sys {

namespace {

// The descriptors that are open.
template <typename F>
int ForEachFd(F visit) {
  std::vector<int> fds(512);
  int count;
  ProcDirectory directory("/proc/self/fd");
  while ((count = directory.List(fds.data(), static_cast<int>(fds.size()))) == -EOVERFLOW) {
    fds.resize(fds.size() * 4);
  }
  if (count < 0) return count;
  for (int i = 0; i < count; i++) {
    if (fds[i] == directory.fd()) continue;
    struct stat info;
    if (fstat(fds[i], &info) < 0) continue;  // closed meanwhile
    int error = visit(directory, fds[i], info);
    if (error < 0) return error;
  }
  return 0;
}

// What a descriptor without a file is: "anon_inode:[eventfd]", say. Only those are looked up: it takes longer than fstat(2).
bool ReadAnonymous(const ProcDirectory& fds, int fd, const struct stat& info, char* target, size_t size) {
  if ((info.st_mode & S_IFMT) != 0) return false;
  char name[16];
  snprintf(name, sizeof(name), "%d", fd);
  ssize_t length = readlinkat(fds.fd(), name, target, size - 1);
  target[length < 0 ? 0 : length] = '\0';
  return length > 0;
}

int StatusFlags(int fd) { return fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE); }
int CloexecFlag(int fd) { return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0; }

// Puts `copy` in the place of `fd`, and closes it under its own number.
int Supplant(int copy, int fd, int cloexec) {
  if (copy < 0) return -errno;
  int error = dup3(copy, fd, cloexec) < 0 ? -errno : 0;
  close(copy);
  return error;
}

// Both ends of one pipe, this process' own?
bool IsPipe(int read_end, int write_end) {
  struct stat a, b;
  return fstat(read_end, &a) == 0 && fstat(write_end, &b) == 0 && S_ISFIFO(a.st_mode) && a.st_ino == b.st_ino &&
         a.st_dev == b.st_dev && (fcntl(read_end, F_GETFL) & O_ACCMODE) == O_RDONLY &&
         (fcntl(write_end, F_GETFL) & O_ACCMODE) == O_WRONLY;
}

int BytesIn(int pipe) {
  int bytes = 0;
  return ioctl(pipe, FIONREAD, &bytes) < 0 ? -errno : bytes;
}

bool LooksLikeLock(int read_end, int write_end) {
  return IsPipe(read_end, write_end) && ((fcntl(read_end, F_GETFL) | fcntl(write_end, F_GETFL)) & O_NONBLOCK) == 0 &&
         CloexecFlag(read_end) != 0 && CloexecFlag(write_end) != 0 && BytesIn(read_end) == 1;
}

struct PairSearch {
  std::vector<std::pair<int, int>> pairs;
  const int* found;
};

// Looks through the writable memory of one loaded object for one of the pairs, side by side.
int SearchObject(struct dl_phdr_info* object, size_t, void* argument) {
  PairSearch* search = static_cast<PairSearch*>(argument);
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0) continue;
    const int* at = reinterpret_cast<const int*>((object->dlpi_addr + segment.p_vaddr + 3) & ~ElfW(Addr){3});
    const int* end = reinterpret_cast<const int*>((object->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~ElfW(Addr){3});
    for (; at + 1 < end; at++) {
      if (at[0] <= 2 || at[1] <= 2) continue;
      for (const auto& pair : search->pairs) {
        if (at[0] == pair.first && at[1] == pair.second) {
          search->found = at;
          return 1;
        }
      }
    }
  }
  return 0;
}

}  // namespace

int PrivateFds::AddEpoll(int fd, int flags) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
  ProcLines lines(path);
  Epoll epoll = {fd, (flags & O_CLOEXEC) != 0, {}};
  while (const char* line = lines.Next()) {
    EpollTarget target;
    if (ParseEpollTarget(line, &target)) epoll.registrations.push_back({target.fd, target.events, target.data});
  }
  if (lines.error() < 0) return lines.error();
  epolls_.push_back(std::move(epoll));
  return 0;
}

int PrivateFds::AddEventfd(const ProcDirectory& infos, int fd, int flags) {
  char name[16];
  char text[1024];
  snprintf(name, sizeof(name), "%d", fd);
  ssize_t length = infos.Read(name, text, sizeof(text));
  if (length < 0) return static_cast<int>(length);
  EventfdInfo info;
  int error = ParseEventfdInfo(text, &info);
  if (error < 0) return error;
  if (info.semaphore) flags |= EFD_SEMAPHORE;
  eventfds_.push_back({fd, flags & (EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE), info.count});
  return 0;
}

int PrivateFds::AddPipe(int read_end, int write_end) {
  if (!IsPipe(read_end, write_end)) return -EINVAL;
  Pipe pipe = {{read_end, write_end},
               {StatusFlags(read_end) | CloexecFlag(read_end), StatusFlags(write_end) | CloexecFlag(write_end)},
               {}};
  int bytes = BytesIn(read_end);
  if (bytes < 0) return bytes;
  if (bytes > 0) {
    // tee(2) reads without taking.
    int copy[2];
    if (pipe2(copy, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
    Fd copy_read(copy[0]), copy_write(copy[1]);
    ssize_t teed = tee(read_end, copy_write.get(), static_cast<size_t>(bytes), SPLICE_F_NONBLOCK);
    if (teed != bytes) return teed < 0 ? -errno : -EAGAIN;
    pipe.content.resize(static_cast<size_t>(bytes));
    if (read(copy_read.get(), pipe.content.data(), pipe.content.size()) != bytes) return -EIO;
  }
  pipes_.push_back(std::move(pipe));
  return 0;
}

int PrivateFds::Plan(int skip, const std::vector<int>& pipes) {
  std::vector<int> rings;
  ProcDirectory infos("/proc/self/fdinfo");
  int error = ForEachFd([&](const ProcDirectory& fds, int fd, const struct stat& info) {
    char target[64];
    if (fd == skip || !ReadAnonymous(fds, fd, info, target, sizeof(target))) return 0;
    if (strcmp(target, "anon_inode:[io_uring]") == 0) rings.push_back(fd);
    if (strcmp(target, "anon_inode:[eventpoll]") == 0) return AddEpoll(fd, CloexecFlag(fd));
    if (strcmp(target, "anon_inode:[eventfd]") == 0) return AddEventfd(infos, fd, StatusFlags(fd) | CloexecFlag(fd));
    return 0;
  });
  if (error == 0) error = rings_.Plan(rings);
  for (size_t i = 0; error == 0 && i + 1 < pipes.size(); i += 2) error = AddPipe(pipes[i], pipes[i + 1]);
  return error;
}

int PrivateFds::Replace() const {
  rings_.Drop();
  for (const Eventfd& event : eventfds_) {
    int copy = eventfd(0, event.flags);
    if (copy >= 0 && event.count != 0) {
      // Written whole: a semaphore's count too.
      if (write(copy, &event.count, sizeof(event.count)) < 0) return -errno;
    }
    int error = Supplant(copy, event.fd, event.flags & O_CLOEXEC);
    if (error < 0) return error;
  }
  for (const Pipe& pipe : pipes_) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    if (!pipe.content.empty() && write(ends[1], pipe.content.data(), pipe.content.size()) < 0) return -errno;
    for (int i = 0; i < 2; i++) {
      if ((pipe.flags[i] & O_NONBLOCK) != 0 && fcntl(ends[i], F_SETFL, O_NONBLOCK) < 0) return -errno;
      int error = Supplant(ends[i], pipe.ends[i], pipe.flags[i] & O_CLOEXEC);
      if (error < 0) return error;
    }
  }
  for (const Epoll& epoll : epolls_) {
    int error = Supplant(epoll_create1(EPOLL_CLOEXEC), epoll.fd, epoll.cloexec ? O_CLOEXEC : 0);
    if (error < 0) return error;
  }
  // Now that all that they may watch has been replaced, each other included.
  for (const Epoll& epoll : epolls_) {
    for (const Registration& registration : epoll.registrations) {
      struct epoll_event event;
      event.events = registration.events;
      event.data.u64 = registration.data;
      // One that was registered and then closed here, but is open elsewhere, cannot be had again.
      if (epoll_ctl(epoll.fd, EPOLL_CTL_ADD, registration.fd, &event) < 0 && errno != EBADF && errno != EEXIST) {
        return -errno;
      }
    }
  }
  return 0;
}

const int* FindSignalLockPipe() {
  static const int* known = nullptr;
  if (known != nullptr) return LooksLikeLock(known[0], known[1]) ? known : nullptr;
  struct Pipe {
    int fd;
    ino_t inode;
    bool reads;
  };
  std::vector<Pipe> pipes;
  int error = ForEachFd([&](const ProcDirectory&, int fd, const struct stat& info) {
    if (S_ISFIFO(info.st_mode)) pipes.push_back({fd, info.st_ino, (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY});
    return 0;
  });
  if (error < 0) return nullptr;
  PairSearch search = {{}, nullptr};
  for (const Pipe& a : pipes) {
    if (!a.reads) continue;
    for (const Pipe& b : pipes) {
      if (!b.reads && a.inode == b.inode && LooksLikeLock(a.fd, b.fd)) search.pairs.push_back({a.fd, b.fd});
    }
  }
  if (!search.pairs.empty()) dl_iterate_phdr(SearchObject, &search);
  known = search.found;
  return known;
}

}  // namespace prefork::sys

#endif  // __linux__
