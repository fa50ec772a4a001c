// TCP and UDP sockets and their names.
#include "sys/sockets.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "check.h"
#include "sys/fd.h"

using namespace prefork::sys;

namespace {

InetSpec At(const char* address, int port = 0) {
  InetSpec spec;
  spec.address = address;
  spec.port = port;
  return spec;
}

int Option(int fd, int level, int option) {
  int value = -1;
  socklen_t length = sizeof(value);
  getsockopt(fd, level, option, &value, &length);
  return value;
}

SockName NameOf(const Fd& fd) {
  SockName name;
  CHECK_EQ(GetSockName(fd.get(), &name), 0);
  return name;
}

}  // namespace

TEST(listens_on_ipv4) {
  Fd fd(ListenInet(At("127.0.0.1")));
  CHECK(fd.ok());
  CHECK(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
  CHECK(fcntl(fd.get(), F_GETFL) & O_NONBLOCK);
  CHECK_EQ(Option(fd.get(), SOL_SOCKET, SO_REUSEADDR), 1);
  CHECK_EQ(Option(fd.get(), SOL_SOCKET, SO_REUSEPORT), 0);
  SockName name = NameOf(fd);
  CHECK(name.family == SockName::Family::kIpv4 && name.type == SockName::Type::kStream);
  CHECK_EQ(name.address, std::string("127.0.0.1"));
  CHECK(name.port > 0 && name.listening);
  CHECK_EQ(ListenInet(At("127.0.0.1", name.port)), -EADDRINUSE);
}

TEST(listens_on_ipv6_with_and_without_ipv4) {
  Fd probe(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe.ok()) return;
  for (bool only : {true, false}) {
    InetSpec spec = At("::");
    spec.ipv6_only = only;
    Fd fd(ListenInet(spec));
    CHECK_EQ(Option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY), only ? 1 : 0);
    SockName name = NameOf(fd);
    CHECK(name.family == SockName::Family::kIpv6);
    CHECK_EQ(name.address, std::string("::"));
    Fd v4(ListenInet(At("0.0.0.0", name.port)));
    CHECK_EQ(v4.ok(), only);
  }
}

TEST(binds_udp_to_itself_alone) {
  InetSpec spec = At("127.0.0.1");
  spec.udp = true;
  Fd fd(ListenInet(spec));
  SockName name = NameOf(fd);
  CHECK(name.type == SockName::Type::kDgram && !name.listening && name.port > 0);
  spec.port = name.port;
  CHECK_EQ(ListenInet(spec), -EADDRINUSE);
}

TEST(shares_a_port_where_both_ask) {
  InetSpec spec = At("127.0.0.1");
  spec.reuse_port = true;
  Fd first(ListenInet(spec));
  spec.port = NameOf(first).port;
  Fd second(ListenInet(spec));
  CHECK(second.ok());
  spec.reuse_port = false;
  CHECK_EQ(ListenInet(spec), -EADDRINUSE);
}

TEST(refuses_what_is_no_address) {
  CHECK_EQ(ListenInet(At("localhost")), -EINVAL);
  CHECK_EQ(ListenInet(At("256.0.0.1")), -EINVAL);
  CHECK_EQ(ListenInet(At("")), -EINVAL);
  CHECK_EQ(ListenInet(At("127.0.0.1", 65536)), -EINVAL);
  CHECK_EQ(ListenInet(At("127.0.0.1", -1)), -EINVAL);
  CHECK_EQ(ListenInet(At("192.0.2.1")), -EADDRNOTAVAIL);
}

TEST(refuses_privileged_ports_to_others) {
  if (getuid() != 0) return;
  if (atoi(ReadFileText("/proc/sys/net/ipv4/ip_unprivileged_port_start").c_str()) <= 1) return;
  InProcess([] {
    CHECK_EQ(setresuid(65534, 65534, 65534), 0);
    CHECK_EQ(ListenInet(At("127.0.0.1", 1)), -EACCES);
  });
}

TEST(names_only_sockets) {
  SockName name;
  CHECK_EQ(GetSockName(-1, &name), -EBADF);
  Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK_EQ(GetSockName(file.get(), &name), -ENOTSOCK);
  Fd netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (netlink.ok()) CHECK_EQ(GetSockName(netlink.get(), &name), -EAFNOSUPPORT);
}

TEST(knows_its_peer) {
  int ends[2];
  CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Fd a(ends[0]), b(ends[1]);
  PeerCred cred;
  CHECK_EQ(GetPeerCred(a.get(), &cred), 0);
  CHECK_EQ(cred.pid, getpid());
  CHECK_EQ(cred.uid, getuid());
  Fd alone(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_EQ(GetPeerCred(alone.get(), &cred), -ENOTCONN);
}
