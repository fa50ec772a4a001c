// Sockets other than Unix listeners: TCP and UDP, names, peers.
#ifndef PREFORK_SYS_SOCKETS_H_
#define PREFORK_SYS_SOCKETS_H_

#include <sys/types.h>

#include <string>

namespace prefork::sys {

// A new socket, FD_CLOEXEC and non-blocking. −errno.
int OpenSocket(int family, int type);

struct InetSpec {
  bool udp = false;
  std::string address;  // numeric, IPv4 or IPv6
  int port = 0;
  int backlog = 511;
  bool reuse_port = false;
  bool ipv6_only = false;
};

// A bound socket, listening unless UDP. −EINVAL: not a numeric address.
int ListenInet(const InetSpec& spec);

struct SockName {
  enum class Family { kIpv4, kIpv6, kUnix } family;
  enum class Type { kStream, kDgram, kSeqpacket } type;
  std::string address;
  int port = 0;
  bool listening = false;
};

// −ENOTSOCK, −EAFNOSUPPORT for another family.
int GetSockName(int fd, SockName* name);

struct PeerCred {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};
// Who was at the other end of a Unix socket when it was connected.
int GetPeerCred(int fd, PeerCred* cred);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_SOCKETS_H_
