#include "sys/notify.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sys/fd.h"
#include "sys/result.h"
#include "sys/sockets.h"

namespace prefork::sys {

int SendUnixDatagram(const std::string& path, const void* data, size_t bytes) {
  struct sockaddr_un name;
  memset(&name, 0, sizeof(name));
  if (path.empty() || bytes == 0) return -EINVAL;
  if (path.size() >= sizeof(name.sun_path)) return -ENAMETOOLONG;
  name.sun_family = AF_UNIX;
  memcpy(name.sun_path, path.data(), path.size());
  // An abstract name is as long as it says; a path ends with a zero byte.
  size_t length = offsetof(struct sockaddr_un, sun_path) + path.size() + (path[0] == '\0' ? 0 : 1);

  int opened = OpenSocket(AF_UNIX, SOCK_DGRAM);
  if (opened < 0) return opened;
  Fd fd(opened);
  return static_cast<int>(Checked(Uninterrupted([&] {
    // A datagram socket without a connection raises no SIGPIPE.
    return sendto(fd.get(), data, bytes, 0, reinterpret_cast<const struct sockaddr*>(&name),
                  static_cast<socklen_t>(length));
  })));
}

}  // namespace prefork::sys
