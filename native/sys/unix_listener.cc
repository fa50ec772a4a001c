#include "sys/unix_listener.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/fds.h"
#include "sys/proc_text.h"
#include "sys/result.h"
#include "sys/sockets.h"

namespace prefork::sys {

namespace {

constexpr int kMaxAttempts = 3;
constexpr int kLockAttempts = 200;
constexpr useconds_t kLockPauseUs = 5000;

struct Name {
  struct sockaddr_un address;
  socklen_t length;
  const struct sockaddr* get() const { return reinterpret_cast<const struct sockaddr*>(&address); }
};

bool IsAbstract(const std::string& path) { return path[0] == '\0'; }

int MakeName(const std::string& path, Name* name) {
  memset(&name->address, 0, sizeof(name->address));
  if (path.empty()) return -EINVAL;
  if (path.size() >= sizeof(name->address.sun_path)) return -ENAMETOOLONG;
#ifndef __linux__
  if (IsAbstract(path)) return -EINVAL;
#endif
  name->address.sun_family = AF_UNIX;
  memcpy(name->address.sun_path, path.data(), path.size());
  size_t terminator = IsAbstract(path) ? 0 : 1;
  name->length = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + path.size() + terminator);
  return 0;
}

// Two managers that find the same stale file must not both remove it, or the second removes the first's new one.
// A lock on the directory needs no file of its own. It is held for microseconds: whoever keeps it for a second is a
// stranger. Without it (or in a directory that may be searched but not read) the other precautions stand alone.
Fd LockDirectoryOf(const std::string& path) {
  size_t slash = path.rfind('/');
  std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  Fd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int attempt = 0; fd.ok() && attempt < kLockAttempts; attempt++) {
    if (LockFd(fd.get(), Lock::kExclusive, false) != -EWOULDBLOCK) break;
    usleep(kLockPauseUs);
  }
  return fd;
}

// Whether some process has that name bound without listening yet: a connect cannot tell that from a stale file.
bool IsBeingOpened(const std::string& path) {
#ifdef __linux__
  FILE* list = fopen("/proc/net/unix", "re");
  if (list == nullptr) return false;
  char line[512];
  bool found = false;
  while (!found && fgets(line, sizeof(line), list) != nullptr) {
    const char* unheard = ParseUnheardPath(line);
    found = unheard != nullptr && path == unheard;
  }
  fclose(list);
  return found;
#else
  (void)path;
  return false;
#endif
}

// 0: nobody serves on that file; −EADDRINUSE: somebody does, or it cannot be told.
int ProbeStale(const std::string& path, const Name& name) {
  int opened = OpenSocket(AF_UNIX, SOCK_STREAM);
  if (opened < 0) return opened;
  Fd fd(opened);
  // Anything but ECONNREFUSED means a live one: EAGAIN a full backlog, EPROTOTYPE another type of socket.
  if (connect(fd.get(), name.get(), name.length) == 0) return -EADDRINUSE;
  if (errno == ENOENT) return 0;
  if (errno != ECONNREFUSED) return -EADDRINUSE;
  return IsBeingOpened(path) ? -EADDRINUSE : 0;
}

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_ctime == b.st_ctime;
}

// 0: the path is free now.
int RemoveStale(const std::string& path, const Name& name) {
  struct stat before, after;
  if (lstat(path.c_str(), &before) < 0) return errno == ENOENT ? 0 : -errno;
  if (!S_ISSOCK(before.st_mode)) return -ENOTSOCK;
  int error = ProbeStale(path, name);
  if (error < 0) return error;
  if (lstat(path.c_str(), &after) < 0) return errno == ENOENT ? 0 : -errno;
  if (!SameFile(before, after)) return -EADDRINUSE;
  if (unlink(path.c_str()) < 0 && errno != ENOENT) return -errno;
  return 0;
}

// On a descriptor, so that a symbolic link put in the file's place is not followed.
int ChangeMode(int path_fd, mode_t mode) {
  struct stat status;
  if (fstat(path_fd, &status) < 0) return -errno;
  if ((status.st_mode & 07777) == mode) return 0;
#ifdef __linux__
  return Checked(chmod(("/proc/self/fd/" + std::to_string(path_fd)).c_str(), mode));
#else
  return Checked(fchmod(path_fd, mode));
#endif
}

// Nobody can connect before listen(2), and the owner comes before the mode.
int SetAccess(const UnixSpec& spec) {
  if (!spec.mode && !spec.uid && !spec.gid) return 0;
#ifdef __linux__
  Fd fd(open(spec.path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.ok()) return -errno;
  struct stat status;
  if (fstat(fd.get(), &status) < 0) return -errno;
  if (!S_ISSOCK(status.st_mode)) return -ENOTSOCK;
  uid_t uid = spec.uid.value_or(static_cast<uid_t>(-1));
  gid_t gid = spec.gid.value_or(static_cast<gid_t>(-1));
  if ((spec.uid || spec.gid) && fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH) < 0) return -errno;
  return spec.mode ? ChangeMode(fd.get(), *spec.mode) : 0;
#else
  uid_t uid = spec.uid.value_or(static_cast<uid_t>(-1));
  gid_t gid = spec.gid.value_or(static_cast<gid_t>(-1));
  if ((spec.uid || spec.gid) && lchown(spec.path.c_str(), uid, gid) < 0) return -errno;
  return spec.mode ? Checked(lchmod(spec.path.c_str(), *spec.mode)) : 0;
#endif
}

int BindReplacingStale(int fd, const std::string& path, const Name& name) {
  for (int attempt = 0; attempt < kMaxAttempts; attempt++) {
    if (bind(fd, name.get(), name.length) == 0) return 0;
    if (errno != EADDRINUSE) return -errno;
    if (IsAbstract(path)) break;
    int error = RemoveStale(path, name);
    if (error < 0) return error;
  }
  return -EADDRINUSE;
}

}  // namespace

int ListenUnix(const UnixSpec& spec) {
  Name name;
  int error = MakeName(spec.path, &name);
  if (error < 0) return error;
  int opened = OpenSocket(AF_UNIX, SOCK_STREAM);
  if (opened < 0) return opened;
  Fd fd(opened);

  if (IsAbstract(spec.path)) {
    error = BindReplacingStale(fd.get(), spec.path, name);
    if (error == 0) error = Checked(listen(fd.get(), spec.backlog));
    return error < 0 ? error : fd.Release();
  }

#ifdef __linux__
  // The file is made with the socket's own mode less the umask: never with more than was asked for, and the umask,
  // which belongs to every thread of the process, stays as it is.
  if (spec.mode && fchmod(fd.get(), *spec.mode & 0700) < 0) return -errno;
#endif
  Fd lock = LockDirectoryOf(spec.path);
  error = BindReplacingStale(fd.get(), spec.path, name);
  if (error < 0) return error;
  error = SetAccess(spec);
  if (error == 0) error = Checked(listen(fd.get(), spec.backlog));
  if (error < 0) {
    unlink(spec.path.c_str());
    return error;
  }
  return fd.Release();
}

}  // namespace prefork::sys
