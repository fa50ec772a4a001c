#include "sys/sockets.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/fds.h"
#include "sys/result.h"

namespace prefork::sys {

namespace {

int TurnOn(int fd, int level, int option, int value = 1) {
  return Checked(setsockopt(fd, level, option, &value, sizeof(value)));
}

// getaddrinfo(3) only for what it parses, a scope such as %eth0 included: it asks nobody.
int ParseInet(const std::string& address, int port, struct sockaddr_storage* name, socklen_t* length) {
  if (port < 0 || port > 65535) return -EINVAL;
  struct addrinfo hints;
  memset(&hints, 0, sizeof(hints));
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  struct addrinfo* found = nullptr;
  int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return error == EAI_MEMORY ? -ENOMEM : -EINVAL;
  memcpy(name, found->ai_addr, found->ai_addrlen);
  *length = found->ai_addrlen;
  freeaddrinfo(found);
  return 0;
}

int SetInetOptions(int fd, int family, const InetSpec& spec) {
  // Not for UDP, where SO_REUSEADDR lets two sockets have one address, and the second takes all.
  int error = spec.udp ? 0 : TurnOn(fd, SOL_SOCKET, SO_REUSEADDR);
  if (error == 0 && spec.reuse_port) error = TurnOn(fd, SOL_SOCKET, SO_REUSEPORT);
  if (error == 0 && family == AF_INET6) error = TurnOn(fd, IPPROTO_IPV6, IPV6_V6ONLY, spec.ipv6_only);
  return error;
}

void NameUnix(const struct sockaddr_un& name, socklen_t length, std::string* address) {
  size_t bytes = length > offsetof(struct sockaddr_un, sun_path) ? length - offsetof(struct sockaddr_un, sun_path) : 0;
  if (bytes == 0) {
    address->clear();
  } else if (name.sun_path[0] == '\0') {
    address->assign(name.sun_path, bytes);  // Linux's abstract names, zero bytes and all
  } else {
    address->assign(name.sun_path, strnlen(name.sun_path, bytes));
  }
}

int NameInet(const struct sockaddr_storage& name, socklen_t length, std::string* address) {
  char host[NI_MAXHOST];
  int error = getnameinfo(reinterpret_cast<const struct sockaddr*>(&name), length, host, sizeof(host), nullptr, 0, NI_NUMERICHOST);
  if (error != 0) return -EINVAL;
  *address = host;
  return 0;
}

int GetOption(int fd, int option, int* value) {
  socklen_t length = sizeof(*value);
  return Checked(getsockopt(fd, SOL_SOCKET, option, value, &length));
}

}  // namespace

int OpenSocket(int family, int type) {
#ifdef __linux__
  return Checked(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
#else
  Fd fd(socket(family, type, 0));
  if (!fd.ok()) return -errno;
  int error = SetCloexec(fd.get(), true);
  if (error == 0) error = SetNonblocking(fd.get());
  return error < 0 ? error : fd.Release();
#endif
}

int ListenInet(const InetSpec& spec) {
  struct sockaddr_storage name;
  socklen_t length;
  int error = ParseInet(spec.address, spec.port, &name, &length);
  if (error < 0) return error;
  int opened = OpenSocket(name.ss_family, spec.udp ? SOCK_DGRAM : SOCK_STREAM);
  if (opened < 0) return opened;
  Fd fd(opened);
  error = SetInetOptions(fd.get(), name.ss_family, spec);
  if (error < 0) return error;
  if (bind(fd.get(), reinterpret_cast<struct sockaddr*>(&name), length) < 0) return -errno;
  if (!spec.udp && listen(fd.get(), spec.backlog) < 0) return -errno;
  return fd.Release();
}

int GetSockName(int fd, SockName* out) {
  struct sockaddr_storage name;
  socklen_t length = sizeof(name);
  memset(&name, 0, sizeof(name));
  if (getsockname(fd, reinterpret_cast<struct sockaddr*>(&name), &length) < 0) return -errno;

  int error = 0;
  switch (name.ss_family) {
    case AF_UNIX:
      out->family = SockName::Family::kUnix;
      NameUnix(reinterpret_cast<struct sockaddr_un&>(name), length, &out->address);
      break;
    case AF_INET:
      out->family = SockName::Family::kIpv4;
      out->port = ntohs(reinterpret_cast<struct sockaddr_in&>(name).sin_port);
      error = NameInet(name, length, &out->address);
      break;
    case AF_INET6:
      out->family = SockName::Family::kIpv6;
      out->port = ntohs(reinterpret_cast<struct sockaddr_in6&>(name).sin6_port);
      error = NameInet(name, length, &out->address);
      break;
    default:
      return -EAFNOSUPPORT;
  }
  if (error < 0) return error;

  int type;
  error = GetOption(fd, SO_TYPE, &type);
  if (error < 0) return error;
  out->type = type == SOCK_STREAM  ? SockName::Type::kStream
              : type == SOCK_DGRAM ? SockName::Type::kDgram
                                   : SockName::Type::kSeqpacket;
  int accepting = 0;
  out->listening = GetOption(fd, SO_ACCEPTCONN, &accepting) == 0 && accepting != 0;
  return 0;
}

int GetPeerCred(int fd, PeerCred* cred) {
#ifdef __linux__
  struct ucred peer;
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return -errno;
  if (peer.pid == 0) return -ENOTCONN;
  *cred = {peer.pid, peer.uid, peer.gid};
  return 0;
#else
  uid_t uid;
  gid_t gid;
  if (getpeereid(fd, &uid, &gid) < 0) return -errno;
  pid_t pid = 0;
  socklen_t length = sizeof(pid);
  if (getsockopt(fd, 0 /* SOL_LOCAL */, 2 /* LOCAL_PEERPID */, &pid, &length) < 0) return -errno;
  *cred = {pid, uid, gid};
  return 0;
#endif
}

}  // namespace prefork::sys
