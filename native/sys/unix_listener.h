// Listening Unix sockets: mode and owner without a moment in which too many may connect, and the removal of a
// stale socket file that never takes one that somebody serves on.
#ifndef PREFORK_SYS_UNIX_LISTENER_H_
#define PREFORK_SYS_UNIX_LISTENER_H_

#include <sys/types.h>

#include <optional>
#include <string>

namespace prefork::sys {

struct UnixSpec {
  std::string path;  // a leading zero byte: Linux's abstract namespace
  int backlog = 511;
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
};

// A listening stream socket. −EADDRINUSE: served by somebody, or just being opened; −ENOTSOCK: the path is
// something else than a socket, which is left alone; −ENAMETOOLONG: beyond the 107 bytes (macOS: 103) that fit.
int ListenUnix(const UnixSpec& spec);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_UNIX_LISTENER_H_
