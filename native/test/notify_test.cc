// Datagrams to a Unix socket by its name.
#include "sys/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "check.h"
#include "sys/fd.h"

using namespace prefork::sys;

namespace {

// A receiver without a name of its own choosing: Linux gives it a free abstract one.
Fd Receiver(std::string* name) {
  Fd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sa_family_t family = AF_UNIX;
  CHECK_EQ(bind(fd.get(), reinterpret_cast<struct sockaddr*>(&family), sizeof(family)), 0);
  struct sockaddr_un address;
  socklen_t length = sizeof(address);
  CHECK_EQ(getsockname(fd.get(), reinterpret_cast<struct sockaddr*>(&address), &length), 0);
  name->assign(address.sun_path, length - offsetof(struct sockaddr_un, sun_path));
  return fd;
}

int Send(const std::string& path, const std::string& text) { return SendUnixDatagram(path, text.data(), text.size()); }

}  // namespace

TEST(arrives_in_one_piece) {
  std::string name;
  Fd receiver = Receiver(&name);
  CHECK_EQ(Send(name, "READY=1\nSTATUS=x"), 16);
  char buffer[64];
  CHECK_EQ(static_cast<int>(recv(receiver.get(), buffer, sizeof(buffer), 0)), 16);
  CHECK_EQ(std::string(buffer, 16), std::string("READY=1\nSTATUS=x"));
}

TEST(says_what_is_wrong) {
  CHECK_EQ(Send("/nonexistent/socket", "x"), -ENOENT);
  CHECK_EQ(Send(std::string(1, '\0') + "prefork-nobody", "x"), -ECONNREFUSED);
  CHECK_EQ(Send(std::string(200, 'a'), "x"), -ENAMETOOLONG);
  CHECK_EQ(Send("", "x"), -EINVAL);
  CHECK_EQ(Send("/tmp/x", ""), -EINVAL);
}

TEST(does_not_wait_for_a_full_queue) {
  std::string name;
  Fd receiver = Receiver(&name);
  int sent = 0;
  int result = 1;
  // net.unix.max_dgram_qlen is far below.
  while (result > 0 && sent++ < 100000) result = Send(name, "x");
  CHECK_EQ(result, -EAGAIN);
}
